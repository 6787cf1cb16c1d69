//! How many states there are: pinned where arithmetic gives the number, bounded where it does not.

use shootdown::{CpuId, Machine, Modify};
use shootdown_check::{Scenario, Sim, graph, scenarios};
use shootdown_sim::smp::Config;
use std::sync::atomic::Ordering::SeqCst;

/// CPU n makes n + 2 indivisible changes of a word of its own.
fn count_alone(m: &Sim) {
    let CpuId(number) = m.cpu();
    for _ in 0..number + 2 {
        m.scratch(usize::from(number)).update(m, Modify::Add(1), SeqCst);
    }
}

static TWO_ALONE: Scenario = Scenario { name: "two_alone", main: count_alone, ..Scenario::BLANK };

static THREE_ALONE: Scenario =
    Scenario { name: "three_alone", machine: Config::with_cpus(3), main: count_alone, ..Scenario::BLANK };

/// CPUs that have nothing to do with each other span a grid: each is at one of its steps, or at its end.
#[test]
fn independent_cpus_span_a_grid() {
    for (scenario, steps) in [(&TWO_ALONE, &[2, 3][..]), (&THREE_ALONE, &[2, 3, 4])] {
        let report = graph::check(scenario, &[], graph::Limits::default());
        let n_states: usize = steps.iter().map(|n_steps| n_steps + 1).product();
        // In each dimension one transition less than states, times the states of all others.
        let n_transitions: usize = steps.iter().map(|n_steps| n_steps * n_states / (n_steps + 1)).sum();
        assert_eq!((report.n_states, report.n_transitions), (n_states, n_transitions), "{report}");
        assert!(report.is_proof());
    }
}

/// Two changes each of one word: what matters is only how often it was changed, by whom.
static TWO_ON_ONE_WORD: Scenario = Scenario {
    name: "two_on_one_word",
    main: |m| {
        for _ in 0..2 {
            m.scratch(0).update(m, Modify::Add(1), SeqCst);
        }
    },
    ..Scenario::BLANK
};

#[test]
fn what_came_before_is_forgotten_where_it_makes_no_difference() {
    let report = graph::check(&TWO_ON_ONE_WORD, &[], graph::Limits::default());
    assert_eq!((report.n_states, report.n_transitions), (9, 12), "{report}");
}

/// A scenario that outgrows this carries more than one idea; see `Scenario`.
const MOST_STATES: usize = 900_000;
// A set of CPUs in several words is read in several steps.
const MOST_STATES_OF_ALL: usize = if cfg!(feature = "many-words") { 6_500_000 } else { 6_000_000 };

/// Where there are many states, so that room for more of them does not count much.
const MANY_STATES: usize = 100_000;
const MOST_BYTES_A_STATE: usize = 50;
const MOST_BYTES_A_STATE_WITHOUT_DOOM: usize = 35;

#[test]
fn every_scenario_holds_and_stays_small() {
    let limits = graph::Limits { max_states: MOST_STATES, ..graph::Limits::default() };
    let n_states: usize = scenarios::ALL
        .into_iter()
        .map(|scenario| {
            let report = graph::check(scenario, &[], limits);
            assert!(report.is_exhausted, "{} has more than {MOST_STATES} states", scenario.name);
            assert!(report.is_proof(), "{report}");
            println!("{:<32} {:>8} states, {:?}", scenario.name, report.n_states, report.memory);
            if report.n_states > MANY_STATES {
                assert!(report.memory.n_bytes <= report.n_states * MOST_BYTES_A_STATE, "{report}");
                let without_doom = report.memory.n_bytes_without_doom;
                assert!(without_doom <= report.n_states * MOST_BYTES_A_STATE_WITHOUT_DOOM, "{report}");
            }
            report.n_states
        })
        .sum();
    assert!(n_states <= MOST_STATES_OF_ALL, "{n_states} states of all scenarios");
}
