//! A model of shootdowns through a queue of fixed size, after the public sources of a research kernel in Rust.
//!
//! A request that finds the queue full is dropped, and its sender waits for the answer. Ours has a slot for each sender; in
//! the same script, `two_senders`, both are answered.

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use shootdown::{CpuId, Invalidate, Machine, Modify, Shared};

use super::script::{cpus, kick};
use crate::{machine::Sim, scenario::Scenario};

const TARGET: CpuId = CpuId(2);

pub(super) static BOUNDED_QUEUE: Scenario = Scenario {
    name: "model_bounded_queue_3cpu",
    goal: "A request that finds the queue full is dropped, and its sender waits forever.",
    method: "CPU 0 and CPU 1 both call CPU 2, whose queue has room for one.",
    machine: cpus(3),
    main: |m| {
        if m.cpu() != TARGET {
            let request = u64::from(m.cpu().0) + 1;
            queue(m).update(m, Modify::CompareExchange { old: 0, new: request }, AcqRel);
            kick(m, TARGET);
            m.spin(|m| (answered(m).load(m, Acquire) & request != 0).then_some(()));
        }
    },
    handler: |m| {
        let request = queue(m).modify(m, Modify::Swap(0), AcqRel);
        if request != 0 {
            m.invalidate(Invalidate::All);
            answered(m).update(m, Modify::Or(request), AcqRel);
        }
    },
    ..Scenario::BLANK
};

/// Who waits in the queue: 0 if nobody does.
fn queue(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(0)
}

/// Whose requests were run, as bits.
fn answered(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(1)
}
