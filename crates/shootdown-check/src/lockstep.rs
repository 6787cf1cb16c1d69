//! Holds the two drivers to each other: the same acts must lead to the same machine, operations and failures.

use crate::{
    driver::{Driver, Situation},
    failure::Failure,
    graph::{Product, Unfolding},
    left_out::LeftOut,
    live::{self, Live},
    rng::Rng,
    scenario::Scenario,
    scenarios,
};

const MAX_ACTS_IN_A_WALK: usize = 1_000;

/// Walks both drivers through the same random acts, again and again; returns how many acts they agreed on.
///
/// # Panics
/// If they come to differ.
fn walk_both(scenario: &'static Scenario, left_out: LeftOut, seed: u64, n_acts: usize) -> usize {
    let initial = live::initial(scenario, left_out);
    let mut unfolding = Unfolding::new(scenario, left_out);
    let mut rng = Rng::new(seed);
    let mut n_done = 0;
    while n_done < n_acts {
        let mut live = Live::start(scenario, left_out, &initial).expect("a run begins");
        let mut graph = Product::start(scenario, &mut unfolding, &initial).expect("a run begins");
        n_done += walk_once(left_out, &mut live, &mut graph, &mut rng);
    }
    n_done
}

fn walk_once(left_out: LeftOut, live: &mut Live, graph: &mut Product<'_>, rng: &mut Rng) -> usize {
    let (mut live_acts, mut graph_acts) = (Vec::new(), Vec::new());
    for n_done in 0..MAX_ACTS_IN_A_WALK {
        assert_same(live, graph);
        live.enabled(&mut live_acts);
        graph.enabled(&mut graph_acts);
        assert_eq!(live_acts, graph_acts);
        if live.is_finished() || live_acts.is_empty() {
            return n_done;
        }
        let act = live_acts[rng.below(live_acts.len())];
        let results: [Result<(), Failure>; 2] = [live.perform(act), graph.perform(act)];
        // Only the live driver looks for races, and there is one to find only where something was left out.
        if left_out != LeftOut::NOTHING && matches!(results[0], Err(Failure::Race(_))) {
            return n_done;
        }
        assert_eq!(results[0], results[1], "{act:?} fails on one driver");
        if results[0].is_err() {
            return n_done;
        }
    }
    MAX_ACTS_IN_A_WALK
}

fn assert_same(live: &Live, graph: &Product<'_>) {
    assert_eq!(live.hardware(), graph.hardware());
    for cpu in live.scenario().cpus() {
        assert_eq!(live.pending(cpu), graph.pending(cpu));
    }
    assert_eq!(live.is_finished(), graph.is_finished());
}

#[test]
fn both_drivers_go_the_same_way_in_every_scenario() {
    for scenario in scenarios::ALL {
        assert!(walk_both(scenario, LeftOut::NOTHING, 1, 20_000) >= 20_000);
    }
}

#[test]
fn both_drivers_fail_the_same_way_without_a_fix() {
    for scenario in scenarios::ALL {
        for fix in shootdown::Fix::ALL {
            walk_both(scenario, LeftOut::from(&[fix][..]), 2, 3_000);
        }
    }
}
