//! Tags run out and are given anew (R-ASID-ROLL, M29): nothing may be left under them, and old ones are none.

use shootdown::{Attributes, CpuId, Fix, Machine, Stale, Tagging};

use super::{
    super::script::{PAGE_0, return_to_user, use_one_of_two},
    script::TWO_TAGGED_CPUS,
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static ROLL_OVER: Scenario = Scenario {
    name: "tag_roll_over",
    goal: "An address space is loaded under a tag that has another one's translations.",
    method: "CPU 0 flushes everything twice, so that CPU 1, which has two tags and is in another address space, runs out of \
             them while it runs; then CPU 1 goes back to the first one.",
    machine: TWO_TAGGED_CPUS,
    setup: |m| {
        use_one_of_two(m);
        if m.cpu() == CpuId(0) {
            let frame = m.alloc_frame();
            let mapped = m.other_space().lock(m).map(PAGE_0, frame, Attributes::USER_READ);
            mapped.expect("the machine has frames for the tables");
        } else {
            m.access(PAGE_0);
            m.other_space().switch_to(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            flush_twice(m);
        } else {
            m.stop_user();
            return_to_user(m);
            m.access(PAGE_0);
        }
    },
    tagging: Tagging::Numbered,
    reaches: &[Reach::Counted(shootdown::Counter::FlushEverything)],
    proves: &[
        Proof::of(Fix::DropAllAtRollOver, "foreign-tag"),
        Proof::of(Fix::LeaveBeforeRollOver, "foreign-tag"),
        Proof::of(Fix::CheckTagRound, "foreign-tag"),
    ],
    ..Scenario::BLANK
};

fn flush_twice(m: &Sim) {
    for _ in 0..2 {
        m.other_space().flush(m, Stale::EVERYTHING);
    }
}
