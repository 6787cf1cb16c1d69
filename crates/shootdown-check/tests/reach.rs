//! A script that never gets where it is about shows nothing, however long it is explored.

use shootdown::{Counter, CpuId, CpuSet, Machine, VpnRange, call};
use shootdown_check::{Reach, Scenario, graph, scenarios};

fn unmap_2cpu() -> &'static Scenario {
    scenarios::by_name("unmap_2cpu").expect("a scenario")
}

/// The script of `unmap_2cpu`, which has no lazy CPU.
static NEVER_LAZY: Scenario = Scenario {
    name: "never_lazy",
    setup: |m| (unmap_2cpu().setup)(m),
    main: |m| (unmap_2cpu().main)(m),
    reaches: &[Reach::Stale, Reach::Counted(Counter::SkippedLazy)],
    ..Scenario::BLANK
};

/// Nothing is ever unmapped, so nothing is ever stale.
static NEVER_STALE: Scenario = Scenario {
    name: "never_stale",
    setup: |m| (unmap_2cpu().setup)(m),
    main: |m| {
        if m.cpu() == CpuId(0) {
            call::rendezvous(m, &CpuSet::only(CpuId(1)));
        }
        m.access(VpnRange::from_len(shootdown::Vpn(0), 1).start);
    },
    reaches: &[Reach::Stale, Reach::Counted(Counter::Kick)],
    ..Scenario::BLANK
};

#[test]
fn what_is_never_reached_is_said_and_is_no_proof() {
    for (scenario, missed) in [(&NEVER_LAZY, Reach::Counted(Counter::SkippedLazy)), (&NEVER_STALE, Reach::Stale)] {
        let report = graph::check(scenario, &[], graph::Limits::default());
        assert!(report.is_exhausted && report.finding.is_none(), "{report}");
        assert_eq!(report.missed, [missed]);
        assert!(!report.is_proof());
        assert!(report.to_string().contains(&format!("never reached: {}", missed.name())), "{report}");
    }
}

#[test]
fn every_scenario_that_proves_a_fix_says_what_it_must_reach() {
    for scenario in scenarios::ALL {
        assert!(scenario.proves.is_empty() || !scenario.reaches.is_empty(), "{}", scenario.name);
    }
}
