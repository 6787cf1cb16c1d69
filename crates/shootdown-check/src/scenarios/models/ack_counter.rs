//! A model of shootdowns whose answers are counted, after the public sources of a microkernel of 2026 in Rust.
//!
//! A CPU that leaves runs the request that it finds, and counts. Whoever sent it looks at the members again after it has
//! raised the flag, so that it does not wait for those that left; their answers are in the count all the same, and stand in
//! for those of others. Completion must be a set and not a number.

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use shootdown::{CpuId, Invalidate, Machine, Modify, Shared, VpnRange, residency};
use shootdown_sim::smp::Config;

use super::{
    super::script::{PAGE_0, unmap},
    script::{cpus, free, kick, setup, unhook_locally},
};
use crate::{machine::Sim, scenario::Scenario};

const LEAVER: CpuId = CpuId(1);

pub(super) static ACK_COUNTER: Scenario = Scenario {
    name: "model_ack_counter_3cpu",
    goal: "The answer of a CPU that has left counts for one that has not answered.",
    method: "CPU 0 unmaps a page with a counter of answers, CPU 1 leaves the address space, CPU 2 uses the page.",
    machine: cpus(3),
    setup: |m| {
        setup(m);
        state(m).update(m, Modify::Or(member(m.cpu())), AcqRel);
    },
    main: |m| match m.cpu() {
        CpuId(0) => unmap_counting(m),
        LEAVER => {
            m.stop_user();
            state(m).update(m, Modify::And(!member(LEAVER)), AcqRel);
            answer(m);
            m.load_root(None);
        }
        _ => m.access(PAGE_0),
    },
    handler: answer,
    ..Scenario::BLANK
};

/// The same with the library.
pub(in super::super) static OURS: Scenario = Scenario {
    name: "unmap_leave_3cpu",
    goal: "The answer of a CPU that has left counts for one that has not answered.",
    method: "CPU 0 unmaps a page, CPU 1 leaves the address space, CPU 2 uses the page.",
    machine: Config::with_cpus(3),
    setup,
    main: |m| match m.cpu() {
        CpuId(0) => unmap(m, VpnRange::from_len(PAGE_0, 1)),
        LEAVER => {
            m.stop_user();
            residency::leave(m);
        }
        _ => m.access(PAGE_0),
    },
    ..Scenario::BLANK
};

/// Members in the low bits; above them, who is wanted.
fn state(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(0)
}

fn n_answers(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(1)
}

const fn member(cpu: CpuId) -> u64 {
    1 << cpu.0
}

const fn wanted(cpu: CpuId) -> u64 {
    1 << (8 + cpu.0)
}

fn unmap_counting(m: &Sim) {
    unhook_locally(m);
    let mut n_asked = 0;
    for cpu in [CpuId(1), CpuId(2)] {
        if state(m).load(m, Acquire) & member(cpu) == 0 {
            continue;
        }
        state(m).update(m, Modify::Or(wanted(cpu)), AcqRel);
        kick(m, cpu);
        if state(m).load(m, Acquire) & member(cpu) != 0 {
            n_asked += 1;
        }
    }
    m.spin(|m| (n_answers(m).load(m, Acquire) >= n_asked).then_some(()));
    free(m);
}

fn answer(m: &Sim) {
    let was = state(m).modify(m, Modify::And(!wanted(m.cpu())), AcqRel);
    if was & wanted(m.cpu()) != 0 {
        m.invalidate(Invalidate::All);
        n_answers(m).update(m, Modify::Add(1), AcqRel);
    }
}
