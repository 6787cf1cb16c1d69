//! A model of unmapping that frees before other CPUs are told, after the public sources of several kernels in Rust, where
//! the frame goes back in the loop that clears the entries and the interrupts are sent after it.
//!
//! In the same script, `unmap_2cpu`, ours frees last.

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{CpuId, Invalidate, Machine};

use super::{
    super::script::PAGE_0,
    script::{cpus, free, kick, setup, unhook_locally},
};
use crate::scenario::Scenario;

pub(super) static EARLY_FREE: Scenario = Scenario {
    name: "model_early_free_2cpu",
    goal: "A frame is freed before other CPUs are told that its translation has gone.",
    method: "CPU 0 unmaps a page, frees its frame, and then has CPU 1 flush, which touches the page twice.",
    machine: cpus(2),
    setup,
    main: |m| {
        if m.cpu() == CpuId(0) {
            unhook_locally(m);
            free(m);
            kick(m, CpuId(1));
            m.spin(|m| (m.scratch(0).load(m, Acquire) == 1).then_some(()));
        } else {
            m.access(PAGE_0);
            m.access(PAGE_0);
        }
    },
    handler: |m| {
        m.invalidate(Invalidate::All);
        m.scratch(0).store(m, 1, Release);
    },
    ..Scenario::BLANK
};
