//! As many CPUs as the machine has room for: they run, what they do replays from its string, and the last ones are flushed.

use std::sync::atomic::Ordering::SeqCst;

use shootdown::{Attributes, CpuId, Fix, Frame, Gather, Machine, Modify, Vpn, VpnRange, call};
use shootdown_check::{FixSet, Proof, Scenario, Sim, graph, live, suite::Case};
use shootdown_sim::smp::{Config, MAX_CPUS};

const ALL: u64 = (1 << MAX_CPUS) - 1;

fn check_in(m: &Sim) -> u64 {
    let own = 1 << m.cpu().0;
    m.scratch(0).modify(m, Modify::Or(own), SeqCst) | own
}

static ALL_CHECK_IN: Scenario = Scenario {
    name: "all_check_in",
    machine: Config::with_cpus(MAX_CPUS),
    main: |m| {
        check_in(m);
    },
    ..Scenario::BLANK
};

static LAST_PANICS: Scenario =
    Scenario { name: "last_panics", main: |m| assert_ne!(check_in(m), ALL, "all are there"), ..ALL_CHECK_IN };

#[test]
fn every_cpu_is_one_step_or_none_into_its_run() {
    let report = graph::check(&ALL_CHECK_IN, &[], graph::Limits::default());
    assert_eq!((report.n_states, report.n_transitions), (1 << MAX_CPUS, MAX_CPUS << (MAX_CPUS - 1)), "{report}");
    assert!(report.is_proof());
}

#[test]
fn what_all_of_them_do_replays_from_its_string() {
    let found = graph::check(&LAST_PANICS, &[], graph::Limits::default()).finding.expect("the last one panics");
    let randomly_found = live::search(&LAST_PANICS, &[], 1, 1).finding.expect("all come to their end");
    for finding in [found, randomly_found] {
        assert_eq!(finding.schedule.acts.len(), MAX_CPUS);
        let schedule = finding.schedule.to_string().parse().expect("what was printed can be read");
        let replayed = live::replay(&LAST_PANICS, &[], &schedule).expect("it fails again");
        assert_eq!(replayed.failure, Some(finding.failure));
    }
}

const UNMAPS: CpuId = CpuId(MAX_CPUS as u16 - 2);
const USES: CpuId = CpuId(MAX_CPUS as u16 - 1);

static LAST_TWO: Scenario = Scenario {
    name: "last_two",
    machine: Config::with_cpus(MAX_CPUS),
    setup: |m| {
        call::arrive(m);
        if m.cpu() == UNMAPS {
            m.user_space().create(m).expect("there is a frame");
            let frame = m.alloc_frame();
            m.user_space().lock(m).map(Vpn(0), frame, Attributes::USER_READ).expect("there are frames");
        }
        if [UNMAPS, USES].contains(&m.cpu()) {
            m.user_space().switch_to(m);
        }
    },
    main: |m| match m.cpu() {
        UNMAPS => unmap(m),
        USES => m.access(Vpn(0)),
        _ => {}
    },
    proves: &[Proof::of(Fix::WaitForAcks, "stale-at-free")],
    ..Scenario::BLANK
};

fn unmap(m: &Sim) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let mut gather = Gather::new(m, m.user_space(), &sink);
    let tables = m.user_space().lock(m);
    while let Some(leaf) = tables.next_leaf(VpnRange::from_len(Vpn(0), 1)) {
        gather.unhook(leaf);
    }
    drop(tables);
    gather.finish();
}

#[test]
fn the_last_cpus_flush_each_other() {
    for left_out in [FixSet::NONE, FixSet::from(&[Fix::WaitForAcks][..])] {
        let verdict = Case::new(&LAST_TWO, left_out).check(graph::Limits::default());
        assert!(verdict.is_expected(), "{}", verdict.report);
    }
}
