//! Waiting for a device that performs commands in order (R-IOMMUSEQ, M38).

use std::sync::atomic::Ordering::AcqRel;

use shootdown::{Counter, CpuId, Fix, Machine, Modify, VpnRange};
use shootdown_sim::smp::{Config, TlbModel};

use super::{
    super::script::{PAGE_0, TWO_CPUS, unmap},
    script::{invalidate, run_device, stop_device},
    unmap::PAGE,
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// CPU 1 is the device.
pub(in super::super) static SYNC: Scenario = Scenario {
    name: "device_sync_3cpu",
    goal: "Who finds that somebody has queued a wait for the device takes it for one that is over.",
    method: "CPU 0 unmaps a page that the device reads; CPU 2 invalidates for something else at the same time.",
    machine: Config { cpus: 3, tlb: TlbModel::MaySets, ..TWO_CPUS },
    setup: |m| {
        if m.cpu() < CpuId(2) {
            (PAGE.setup)(m);
        }
    },
    main: |m| match m.cpu() {
        CpuId(0) => {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
            stop_when_all_are_done(m);
        }
        CpuId(1) => run_device(m, |m| m.access(PAGE_0)),
        _ => {
            invalidate(m);
            stop_when_all_are_done(m);
        }
    },
    proves: &[Proof::of(Fix::WaitForSync, "stale-at-free")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::SecondaryTold)],
    ..PAGE
};

/// A word that says how many CPUs need the device no more.
const N_DONE: usize = 3;

/// The second of two stops the device.
fn stop_when_all_are_done(m: &Sim) {
    if m.scratch(N_DONE).modify(m, Modify::Add(1), AcqRel) == 1 {
        stop_device(m);
    }
}
