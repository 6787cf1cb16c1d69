//! The two models of a TLB agree on every scenario, with all fixes and without each that it proves.

use shootdown_check::{
    Scenario,
    graph::{self, Limits},
    scenarios,
};
use shootdown_sim::smp::{Config, TlbModel};

/// What has more states than this is left out.
const MOST_STATES: usize = 60_000;
const MOST_STATES_WITH_ABSENT: usize = 20_000;

fn on(scenario: &'static Scenario, machine: Config) -> &'static Scenario {
    Box::leak(Box::new(Scenario { machine, ..*scenario }))
}

/// Compares the verdicts on these machines, and returns how many there are.
fn compare(max_states: usize, change: fn(Config) -> Config) -> usize {
    let limits = Limits { max_states, ..Limits::default() };
    let mut n_compared = 0;
    for scenario in scenarios::ALL {
        let machine = change(scenario.machine);
        let models = [TlbModel::Fills, TlbModel::MaySets].map(|tlb| on(scenario, Config { tlb, ..machine }));
        for left_out in std::iter::once(None).chain(scenario.proves.iter().map(|proof| Some(proof.fix))) {
            let reports = models.map(|scenario| graph::check(scenario, left_out.as_slice(), limits));
            if reports.iter().any(|report| report.finding.is_none() && !report.is_exhausted) {
                continue;
            }
            // Which kind of failure comes first may differ: where nothing must be filled first, other ways are shorter.
            let [fills, may_sets] = reports.map(|report| report.finding.map(|finding| finding.failure.invariant()));
            assert_eq!(fills, may_sets, "{} without {left_out:?}", scenario.name);
            n_compared += 1;
        }
    }
    n_compared
}

#[test]
fn both_models_give_the_same_verdicts() {
    let n_compared = compare(MOST_STATES, |machine| machine);
    assert!(n_compared > 80, "only {n_compared} were small enough");
}

/// Most scenarios hold there all the same. Those that map kernel pages and allow no fault fail, by either model.
#[test]
fn both_models_remember_absence_alike() {
    let n_compared = compare(MOST_STATES_WITH_ABSENT, |machine| Config { remembers_absent: true, ..machine });
    assert!(n_compared > 80, "only {n_compared} were small enough");
}
