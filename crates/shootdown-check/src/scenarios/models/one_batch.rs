//! A model of reclaim that has one batch for each CPU, which whoever begins to reclaim initializes (R-TLBUBC-NEST): Linux
//! until 2016, where reclaim for a memory group went into global reclaim to write a page out.
//!
//! Ours has a batch for each caller; in the same script, `reclaim_nested`, the outer one flushes.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use shootdown::{CpuId, Invalidate, Machine};

use super::{
    super::script::PAGE_0,
    script::{cpus, free, kick, setup, unhook_locally},
};
use crate::{machine::Sim, scenario::Scenario};

pub(super) static ONE_BATCH: Scenario = Scenario {
    name: "model_one_batch_2cpu",
    goal: "Reclaim that comes on top of reclaim makes the outer one forget that it owes a flush.",
    method: "CPU 0 takes a page away, then reclaims once more and finds nothing, and finishes both; CPU 1 uses the page.",
    machine: cpus(2),
    setup,
    main: |m| {
        if m.cpu() == CpuId(0) {
            begin(m);
            unhook_locally(m);
            set_flush_required(m, true);
            // To write the page out.
            begin(m);
            flush_if_required(m);
            flush_if_required(m);
            free(m);
        } else {
            m.access(PAGE_0);
        }
    },
    handler: |m| {
        m.invalidate(Invalidate::All);
        m.scratch(1).store(m, 1, Release);
    },
    ..Scenario::BLANK
};

fn begin(m: &Sim) {
    set_flush_required(m, false);
}

fn set_flush_required(m: &Sim, required: bool) {
    m.scratch(0).store(m, u64::from(required), Relaxed);
}

fn flush_if_required(m: &Sim) {
    if m.scratch(0).load(m, Relaxed) != 0 {
        set_flush_required(m, false);
        kick(m, CpuId(1));
        m.spin(|m| (m.scratch(1).load(m, Acquire) == 1).then_some(()));
    }
}
