//! The two models of a TLB agree on every scenario, with all fixes and without each that it proves.

use shootdown_check::{
    Scenario,
    graph::{self, Limits},
    scenarios,
};
use shootdown_sim::smp::{Config, TlbModel};

/// What has more states than this is left out.
const MOST_STATES: usize = 60_000;

fn with_model(scenario: &'static Scenario, tlb: TlbModel) -> &'static Scenario {
    Box::leak(Box::new(Scenario { machine: Config { tlb, ..scenario.machine }, ..*scenario }))
}

#[test]
fn both_models_give_the_same_verdicts() {
    let limits = Limits { max_states: MOST_STATES, ..Limits::default() };
    let mut n_compared = 0;
    for scenario in scenarios::ALL {
        let models = [TlbModel::Fills, TlbModel::MaySets].map(|tlb| with_model(scenario, tlb));
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
    assert!(n_compared > 80, "only {n_compared} were small enough");
}
