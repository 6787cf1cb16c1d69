//! Where a search is cut, and what several threads change about one: nothing.

use shootdown_check::{
    Limit, Scenario,
    graph::{self, Limits},
    scenarios, suite,
};

fn scenario(name: &str) -> &'static Scenario {
    scenarios::by_name(name).expect("the scenario exists")
}

#[test]
fn a_search_ends_before_it_takes_more_memory_than_it_may() {
    for n_threads in [1, 3] {
        let limits = Limits { max_bytes: 1 << 20, ..Limits::default() };
        let report = graph::check_on(n_threads, scenario("full_flush"), &[], limits);
        assert_eq!(report.cut_at, Some(Limit::Bytes(1 << 20)));
        assert!(!report.is_exhausted && !report.is_proof() && report.finding.is_none());
        assert!((1 << 19..=1 << 20).contains(&report.memory.n_bytes), "{report}");
        assert!(report.to_string().contains("cut at the limit of 1 MiB"), "{report}");
    }
}

#[test]
fn a_failure_that_comes_before_the_limit_is_found() {
    let scenario = scenario("full_flush");
    for proof in scenario.proves {
        let report = graph::check(scenario, &[proof.fix], Limits::default());
        let limits = Limits { max_bytes: report.memory.n_bytes, ..Limits::default() };
        assert_eq!(graph::check(scenario, &[proof.fix], limits), report);
    }
}

/// Few enough for a test, enough for threads to be used.
const FEW_STATES: usize = 100_000;

#[test]
fn several_threads_come_to_the_same_as_one() {
    let limits = Limits { max_states: FEW_STATES, ..Limits::default() };
    for case in suite::cases() {
        let alone = case.check(limits).report;
        for n_threads in [2, 5] {
            assert_eq!(case.check_on(n_threads, limits).report, alone);
        }
    }
}
