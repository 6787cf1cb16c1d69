//! Where a search is cut.

use shootdown_check::{
    Limit, Scenario,
    graph::{self, Limits},
    scenarios,
};

fn scenario(name: &str) -> &'static Scenario {
    scenarios::by_name(name).expect("the scenario exists")
}

#[test]
fn a_search_ends_before_it_takes_more_memory_than_it_may() {
    let limits = Limits { max_bytes: 1 << 20, ..Limits::default() };
    let report = graph::check(scenario("full_flush"), &[], limits);
    assert_eq!(report.cut_at, Some(Limit::Bytes(1 << 20)));
    assert!(!report.is_exhausted && !report.is_proof() && report.finding.is_none());
    assert!((1 << 19..=1 << 20).contains(&report.memory.n_bytes), "{report}");
    assert!(report.to_string().contains("cut at the limit of 1 MiB"), "{report}");
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
