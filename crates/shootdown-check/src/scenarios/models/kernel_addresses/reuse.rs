//! A model of an allocator of kernel addresses that knows of no TLBs: what is given back is free (R-VM4).
//!
//! It is enough for who never uses an address twice. With the flush before the address is free, `model_address_purge_2cpu`, it
//! is enough for all.

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{CpuId, Machine};
use shootdown_sim::smp::Access;

use super::{
    super::script::cpus,
    script::{NEW, OLD, PAGE, flush, forget, map, setup_without_user, unmap},
};
use crate::scenario::Scenario;

/// The shortest trace: CPU 1 remembers the page as it was, is given the address, and goes to the frame that was freed.
pub(in super::super) static AT_ONCE: Scenario = Scenario {
    name: "model_address_reuse_2cpu",
    goal: "A kernel address is used again before all CPUs have forgotten what was there.",
    method: "CPU 0 unmaps a page, frees its frame, maps another one there, has all CPUs forget all in the end, and hands the \
             address to CPU 1 before.",
    machine: cpus(2),
    setup: setup_without_user,
    main: |m| {
        let is_handed_out = m.scratch(1);
        if m.cpu() == CpuId(0) {
            unmap(m, PAGE);
            m.free_frame_of_owner(OLD);
            map(m, PAGE, NEW);
            is_handed_out.store(m, 1, Release);
            flush(m);
        } else {
            m.spin(|m| (is_handed_out.load(m, Acquire) == 1).then_some(()));
            assert!(m.tries(PAGE, Access::Read), "the page is mapped");
        }
    },
    handler: forget,
    ..Scenario::BLANK
};
