//! Calls that nobody waits for at once: they are run once, whatever happens to their interrupt.

use std::sync::atomic::Ordering::Relaxed;

use shootdown::{
    Counter, CpuId, Fix, Machine,
    call::{self, Notice, Work},
};
use shootdown_sim::smp::Config;

use super::script::{COUNT, assert_counted, call, count, mask_and_unmask, only};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

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

pub(in super::super) static HANDED_OVER: Scenario = Scenario {
    name: "call_hands_over",
    goal: "What the caller wrote before a call is not there for the target, or what the target wrote not for the caller.",
    method: "CPU 0 begins two calls to CPU 1 that double a word, waits for them, and makes one more that it waits for at once.",
    machine: Config::with_cpus(2),
    main: |m| {
        if m.cpu() == CpuId(0) {
            m.owned().set(m, 1);
            let _first = call::start(m, &only(1), DOUBLE);
            let second = call::start(m, &only(1), DOUBLE);
            second.wait(m);
            m.owned().set(m, m.owned().get(m) + 1);
            call::on_each(m, &only(1), DOUBLE);
            assert_eq!(m.owned().get(m), 10);
        }
    },
    work: |m, _| m.owned().set(m, 2 * m.owned().get(m)),
    reaches: &[Reach::Counted(Counter::Call)],
    ..STARTED
};

/// Work on a word that the call hands over, and its answer back.
const DOUBLE: Work = Work { number: 1, arguments: [0; 4] };

pub(in super::super) static NOTICED: Scenario = Scenario {
    name: "notice_hands_over",
    goal: "A notice is lost with its interrupt, or what was written before it is not there for who hears it.",
    method: "CPU 0 writes a word and gives CPU 1 a notice, which masks interrupts for a moment; timers tick.",
    main: |m| match m.cpu() {
        CpuId(0) => {
            m.owned().set(m, 1);
            call::notify(m, &only(1), Notice::Reschedule);
            call::wait(m, |m| (m.scratch(1).load(m, Relaxed) == 1).then_some(()));
        }
        _ => mask_and_unmask(m),
    },
    noticed: |m, notice| {
        assert_eq!(notice, Notice::Reschedule);
        m.scratch(1).store(m, m.owned().get(m), Relaxed);
    },
    reaches: &[Reach::Counted(Counter::RescuedReschedule)],
    proves: &[Proof::of(Fix::PollOnExit, "lost-kick")],
    ..STARTED
};
