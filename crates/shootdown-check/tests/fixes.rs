//! Every scenario holds in random runs with all fixes, and fails without each fix it proves; on both drivers. That it
//! holds in all runs is in `counts.rs`.

use shootdown::{CpuId, Fix, Pfn, Vpn};
use shootdown_check::{
    Failure, Proof, Report, Scenario,
    graph::{self, Limits},
    live, scenarios,
};
use shootdown_sim::smp::Violation;

const SEED: u64 = 1;
/// Ten times what the slowest takes: what a seed leads to changes with every word of the library.
const MAX_RUNS: usize = 50_000;

fn check(scenario: &'static Scenario, left_out: &[Fix]) -> Report {
    graph::check(scenario, left_out, Limits::default())
}

fn unmap_2cpu() -> &'static Scenario {
    scenarios::by_name("unmap_2cpu").expect("the scenario exists")
}

#[test]
fn with_all_fixes_no_random_run_of_any_scenario_fails() {
    for scenario in scenarios::ALL {
        let searched = live::search(scenario, &[], SEED, 500);
        assert_eq!(searched.finding, None, "{} fails with seed {SEED}", scenario.name);
    }
}

#[test]
fn without_a_fix_each_scenario_that_proves_it_fails_on_both_drivers() {
    for scenario in scenarios::ALL {
        for Proof { fix, failure, is_narrow } in scenario.proves {
            let report = check(scenario, &[*fix]);
            let shortest = report.finding.unwrap_or_else(|| panic!("{} holds without {fix:?}", scenario.name));
            assert_eq!(shortest.failure.kind(), *failure, "{} without {fix:?}", scenario.name);

            let replayed = live::replay(scenario, &[*fix], &shortest.schedule).expect("the schedule replays");
            assert_eq!(replayed.failure.as_ref(), Some(&shortest.failure));
            assert_eq!(replayed.trace, shortest.trace);

            if *is_narrow {
                continue;
            }
            let searched = live::search(scenario, &[*fix], SEED, MAX_RUNS);
            let random = searched.finding.unwrap_or_else(|| panic!("{} {fix:?}, seed {SEED}", scenario.name));
            // Only the live driver sees races, which may come earlier; and to it a run is doomed if going on fairly does
            // not end it, which may happen where another way out was left.
            if let Failure::Violation(_) = random.failure {
                assert!(random.trace.n_acts() >= shortest.trace.n_acts(), "the graph's trace is the shortest");
            }
        }
    }
}

#[test]
fn each_fix_left_out_of_the_base_scenario_leaves_the_named_cpu_stale() {
    let stale = |cpu| Failure::Violation(Violation::StaleAtFree { cpu: CpuId(cpu), page: Vpn(0), frame: Pfn(1) });
    for (fix, cpu) in [(Fix::FlushBeforeFree, 0), (Fix::WaitForAcks, 1), (Fix::FlushRemote, 1)] {
        let finding = check(unmap_2cpu(), &[fix]).finding.expect("the fix is needed");
        assert_eq!(finding.failure, stale(cpu), "{fix:?}");
    }
}

#[test]
fn without_waiting_a_table_is_freed_under_a_lazy_cpus_walker() {
    let scenario = scenarios::by_name("lazy_table").expect("the scenario exists");
    let finding = check(scenario, &[Fix::WaitForAcks]).finding.expect("the fix is needed");
    let expected = Violation::WalkerInFreedTable { cpu: CpuId(1), table: Pfn(2) };
    assert_eq!(finding.failure, Failure::Violation(expected));
}

#[test]
fn the_same_search_gives_the_same_report() {
    for left_out in [&[][..], &[Fix::FlushRemote]] {
        for scenario in scenarios::ALL.into_iter().filter(|scenario| scenario.machine.cpus == 2).take(2) {
            assert_eq!(check(scenario, left_out), check(scenario, left_out));
            assert_eq!(live::search(scenario, left_out, 3, 100), live::search(scenario, left_out, 3, 100));
        }
    }
}

#[test]
fn a_search_that_is_cut_is_no_proof() {
    let report = graph::check(unmap_2cpu(), &[], Limits { max_states: 100, ..Limits::default() });
    assert!(!report.is_exhausted && !report.is_proof() && report.finding.is_none());
    assert!(report.to_string().contains("cut at the limit of 100 states"));
}
