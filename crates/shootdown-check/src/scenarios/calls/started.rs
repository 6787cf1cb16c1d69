//! Calls that nobody waits for at once: they are run once, whatever happens to their interrupt.

use shootdown::{Counter, CpuId, Machine, call};
use shootdown_sim::smp::Config;

use super::script::{COUNT, assert_counted, call, count, mask_and_unmask, only};
use crate::{reach::Reach, scenario::Scenario};

pub(in super::super) static STARTED: Scenario = Scenario {
    name: "started_call",
    goal: "A call that is not waited for at once is lost with its interrupt, or run twice.",
    method: "CPU 0 begins a call to CPU 1 and waits for it later; CPU 1 masks interrupts for a moment; timers tick.",
    machine: Config { loses_masked_kicks: true, ticks: true, ..Config::with_cpus(2) },
    main: |m| match m.cpu() {
        CpuId(0) => {
            let started = call::start(m, &only(1), COUNT);
            started.wait(m);
            assert_counted(m, 1, 1);
        }
        _ => mask_and_unmask(m),
    },
    work: count,
    reaches: &[Reach::Counted(Counter::RescuedCall)],
    ..Scenario::BLANK
};

pub(in super::super) static BOTH_KINDS: Scenario = Scenario {
    name: "started_and_waited",
    goal: "A handler's call of one kind destroys the one of the other kind that it interrupted.",
    method: "CPU 0 calls CPU 1; its handler, which CPU 1 brings about, begins another call to CPU 1.",
    machine: Config::with_cpus(2),
    main: |m| call(m, 1 - m.cpu().0),
    handler: |m| {
        if m.cpu() == CpuId(0) {
            let _unwatched = call::start(m, &only(1), COUNT);
        }
        call::handle_kick(m);
    },
    work: |m, work| {
        count(m, work);
        assert_counted(m, 1, 1);
    },
    reaches: &[Reach::Counted(Counter::Call)],
    ..STARTED
};
