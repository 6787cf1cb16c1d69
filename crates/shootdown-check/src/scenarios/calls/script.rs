//! What scripts about calls have in common.

use shootdown::{
    CpuId, CpuSet, Machine, Masked, Modify,
    call::{self, Work},
};
use std::sync::atomic::Ordering::Relaxed;

use crate::machine::Sim;

type Targets = CpuSet<<Sim as Machine>::Cpus>;

pub(super) fn only(cpu: u16) -> Targets {
    CpuSet::only(CpuId(cpu))
}

/// Work that counts itself in the target's scratch word.
pub(super) const COUNT: Work = Work { number: 0, arguments: [0; 4] };

/// Counts a piece of work on this CPU.
pub(super) fn count(m: &Sim, _: Work) {
    m.scratch(usize::from(m.cpu().0)).update(m, Modify::Add(1), Relaxed);
}

/// Checks how often `cpu` has counted: no call is lost, and none is run twice.
pub(super) fn assert_counted(m: &Sim, cpu: u16, expected: u64) {
    let counted = m.scratch(usize::from(cpu)).load(m, Relaxed);
    assert_eq!(counted, expected, "CPU {cpu} has run what it was asked for");
}

/// Calls another CPU and waits.
pub(super) fn call(m: &Sim, cpu: u16) {
    call::rendezvous(m, &only(cpu));
}

/// Is deaf for a moment.
pub(super) fn mask_and_unmask(m: &Sim) {
    drop(Masked::new(m));
}
