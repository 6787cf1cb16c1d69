//! Random searches: what each strategy finds, the same for the same seed, and short in the end.

use shootdown::Fix;
use shootdown_check::{
    Scenario,
    graph::{self, Limits},
    live::{self, Strategy},
    scenarios,
};

const SEEDS: u64 = 5;
const N_RUNS: usize = 3_000;

fn scenario(name: &str) -> &'static Scenario {
    scenarios::by_name(name).expect("the scenario exists")
}

/// How many runs the search needs, in the middle of the seeds; nothing if most find nothing.
fn median_runs(strategy: Strategy, scenario: &'static Scenario, fix: Fix) -> Option<usize> {
    let runs = (0..SEEDS).map(|seed| {
        let searched = live::search_with(&[strategy], scenario, &[fix], seed, N_RUNS);
        searched.finding.map_or(usize::MAX, |_| searched.n_runs)
    });
    let mut runs: Vec<usize> = runs.collect();
    runs.sort_unstable();
    Some(runs[runs.len() / 2]).filter(|runs| *runs < usize::MAX)
}

#[test]
fn every_strategy_finds_something_and_the_portfolio_everything() {
    let mut n_found = [0; Strategy::ALL.len()];
    for scenario in scenarios::ALL {
        for proof in scenario.proves.iter().filter(|proof| !proof.is_narrow) {
            let medians = Strategy::ALL.map(|strategy| median_runs(strategy, scenario, proof.fix));
            let text = medians.map(|runs| runs.map_or_else(|| "-".to_owned(), |runs| runs.to_string()));
            println!("{} without {}: runs needed {}", scenario.name, proof.fix.name(), text.join(" "));
            assert!(medians.iter().any(Option::is_some), "{} without {}", scenario.name, proof.fix.name());
            medians.iter().zip(&mut n_found).for_each(|(runs, n_found)| *n_found += usize::from(runs.is_some()));
        }
    }
    for (strategy, n_found) in Strategy::ALL.iter().zip(n_found) {
        println!("{strategy}: {n_found} found");
        assert!(n_found > 0, "{strategy}");
    }
}

#[test]
fn a_seed_determines_everything() {
    let search = |seed| live::search(scenario("unmap_3cpu"), &[Fix::WaitForAcks], seed, N_RUNS);
    assert_eq!(search(11), search(11));
    assert_ne!(search(11), search(12));
}

#[test]
fn what_is_found_is_shrunk_to_about_the_shortest() {
    for (name, fix) in [("unmap_2cpu", Fix::WaitForAcks), ("mutual_shootdown", Fix::FlushRemote)] {
        let shortest = graph::check(scenario(name), &[fix], Limits::default()).finding.expect("the fix is needed");
        let found = live::search(scenario(name), &[fix], 1, N_RUNS).finding.expect("the fix is needed");
        assert_eq!(found.failure.kind(), shortest.failure.kind(), "otherwise lengths say nothing");
        let (n_acts, fewest) = (found.trace.n_acts(), shortest.trace.n_acts());
        println!("{name}: {n_acts} acts, {fewest} at least");
        assert!(n_acts <= fewest + fewest / 2, "{}", found.trace);
    }
}
