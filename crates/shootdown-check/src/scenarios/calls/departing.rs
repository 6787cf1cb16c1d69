//! A CPU departs, or comes back, while it is called (R-IPI6): it answers, or is not waited for.

use shootdown::{Counter, CpuId, Fix, Machine, call};

use super::{
    super::script::TWO_LATE_CPUS,
    script::{COUNT, assert_counted, count},
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static DEPARTING: Scenario = Scenario {
    name: "departing",
    goal: "A CPU departs without an answer to a call, and its sender waits forever.",
    method: "CPU 0 calls all others while CPU 1 departs.",
    machine: TWO_LATE_CPUS,
    setup: call::arrive,
    main: |m| match m.cpu() {
        CpuId(0) => call::on_others(m, COUNT),
        _ => go(m),
    },
    work: count,
    cpus_come_and_go: true,
    reaches: &[Reach::Counted(Counter::Kick)],
    proves: &[Proof::of(Fix::LookAgainAfterPosting, "deadlock"), Proof::of(Fix::AnswerOnDeparture, "deadlock")],
    ..Scenario::BLANK
};

pub(in super::super) static COMING_BACK: Scenario = Scenario {
    name: "coming_back",
    goal: "A call that is posted while its target is away is neither taken back nor answered when it has come back.",
    method: "CPU 0 calls all others while CPU 1 departs and arrives again.",
    main: |m| match m.cpu() {
        CpuId(0) => call::on_others(m, COUNT),
        _ => {
            go(m);
            call::arrive(m);
            m.restore(0);
        }
    },
    proves: &[],
    ..DEPARTING
};

pub(in super::super) static EARLY_BOOT: Scenario = Scenario {
    name: "early_boot",
    goal: "The only CPU there is calls all, and waits for one that has not arrived.",
    method: "CPU 0 calls all, itself too, while CPU 1 arrives for the first time.",
    setup: |_| {},
    main: |m| match m.cpu() {
        CpuId(0) => {
            call::on_all(m, COUNT);
            assert_counted(m, 0, 1);
        }
        _ => call::arrive(m),
    },
    proves: &[],
    ..DEPARTING
};

/// Departs; interrupts stay masked.
fn go(m: &Sim) {
    m.mask();
    call::depart(m);
}
