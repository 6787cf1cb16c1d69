//! Scripts that can never come to their end are found, each with its kind. They are wrong on purpose and use no fix.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use shootdown::{CpuId, CpuSet, Machine, Masked, Modify};
use shootdown_check::{
    Doom, Failure, Scenario, Sim,
    graph::{self, Limits},
    live,
};
use shootdown_sim::smp::Config;

/// Each CPU kicks the other and waits, deaf, until the other's handler has run: what hung Alpha.
static DEAF_TO_EACH_OTHER: Scenario = Scenario {
    name: "deaf_to_each_other",
    goal: "Two CPUs wait for each other's interrupt handlers.",
    method: "Both mask interrupts, kick the other, and wait without serving anything.",
    main: |m| {
        let _masked = Masked::new(m);
        call_other(m);
    },
    handler: |m| m.scratch(here(m)).store(m, 1, Release),
    ..Scenario::BLANK
};

/// The same with interrupts open, which is right.
static HEARING_EACH_OTHER: Scenario = Scenario { name: "hearing_each_other", main: call_other, ..DEAF_TO_EACH_OTHER };

/// CPU 0 waits for CPU 1's handler and nobody kicks CPU 1.
static NEVER_KICKED: Scenario = Scenario {
    name: "never_kicked",
    main: |m| {
        if here(m) == 0 {
            wait_for_handler(m, 1);
        }
    },
    ..DEAF_TO_EACH_OTHER
};

/// The same with timers that tick and do nothing.
static TICKS_ONLY: Scenario =
    Scenario { name: "ticks_only", machine: Config { ticks: true, ..Scenario::BLANK.machine }, ..NEVER_KICKED };

/// The same with timers that do the handler's work.
static TICKS_POLL: Scenario = Scenario { name: "ticks_poll", tick: NEVER_KICKED.handler, ..TICKS_ONLY };

/// Each CPU waits for its own number in a word that both write.
static EACH_FOR_ITSELF: Scenario = Scenario {
    name: "each_for_itself",
    main: |m| {
        m.spin(|m| {
            let was = m.scratch(0).modify(m, Modify::Swap(here(m) as u64), Relaxed);
            (was == 7).then_some(())
        });
    },
    ..DEAF_TO_EACH_OTHER
};

/// A panic in the middle of a masked section, under guards.
static PANICS: Scenario = Scenario {
    name: "panics",
    main: |m| {
        let _masked = Masked::new(m);
        assert!(m.scratch(0).modify(m, Modify::Add(1), Relaxed) == 0, "CPU {} came second", here(m));
    },
    ..DEAF_TO_EACH_OTHER
};

fn here(m: &Sim) -> usize {
    usize::from(m.cpu().0)
}

fn call_other(m: &Sim) {
    let other = 1 - here(m);
    m.kick(&CpuSet::only(CpuId(other as u16)));
    wait_for_handler(m, other);
}

fn wait_for_handler(m: &Sim, cpu: usize) {
    m.spin(|m| (m.scratch(cpu).load(m, Acquire) == 1).then_some(()));
}

fn assert_doomed(scenario: &'static Scenario, doom: Doom, n_acts: usize) {
    let report = graph::check(scenario, &[], Limits::default());
    assert!(report.is_exhausted);
    let finding = report.finding.expect("the scenario is doomed");
    assert_eq!(finding.failure, Failure::Doomed(doom));
    assert_eq!(finding.trace.n_acts(), n_acts, "{}", finding.trace);

    let searched = live::search(scenario, &[], 1, 1_000);
    assert_eq!(searched.finding.map(|finding| finding.failure), Some(Failure::Doomed(doom)));
}

#[test]
fn two_deaf_cpus_are_doomed_as_soon_as_both_have_masked() {
    assert_doomed(&DEAF_TO_EACH_OTHER, Doom::Deadlock, 2);
}

#[test]
fn two_cpus_that_hear_each_other_come_to_their_end() {
    let report = graph::check(&HEARING_EACH_OTHER, &[], Limits::default());
    assert!(report.is_proof(), "{report}");
}

#[test]
fn a_kick_that_is_never_sent_dooms_the_waiter() {
    assert_doomed(&NEVER_KICKED, Doom::LostKick, 0);
}

#[test]
fn ticks_save_a_waiter_only_if_they_do_what_it_waits_for() {
    let report = graph::check(&TICKS_ONLY, &[], Limits::default());
    assert_eq!(report.finding.map(|finding| finding.failure), Some(Failure::Doomed(Doom::LostKick)));
    let report = graph::check(&TICKS_POLL, &[], Limits::default());
    assert!(report.is_proof(), "{report}");
    assert_eq!(live::search(&TICKS_POLL, &[], 1, 1_000).finding, None);
}

#[test]
fn two_cpus_that_undo_each_others_work_are_a_livelock() {
    assert_doomed(&EACH_FOR_ITSELF, Doom::Livelock, 0);
}

#[test]
fn a_panic_is_a_failure_with_its_message_and_place() {
    let finding = graph::check(&PANICS, &[], Limits::default()).finding.expect("the second CPU panics");
    let Failure::Panic(CpuId(1), panic) = &finding.failure else {
        panic!("{}", finding.failure);
    };
    assert_eq!(panic.message, "CPU 1 came second");
    assert!(panic.place.contains("doomed.rs:"), "{}", panic.place);
    assert!(matches!(live::search(&PANICS, &[], 1, 1).finding.map(|f| f.failure), Some(Failure::Panic(..))));
}
