//! Notices: what a CPU is told without anybody waiting for it.

use crate::{
    call::post::kick,
    cpu::{Bits, CpuSet},
    machine::{Machine, Masked},
};

/// Something that a CPU is told and that needs no answer. [`Machine::noticed`] hears of it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Notice {
    /// It should look whether it ought to run something else.
    Reschedule,
    /// It should stop for good.
    Stop,
}

impl Notice {
    pub(crate) const ALL: [Notice; 2] = [Notice::Reschedule, Notice::Stop];

    pub(crate) const fn bit(self) -> u64 {
        1 << self as u64
    }

    pub(crate) fn of_bits(bits: u64) -> impl Iterator<Item = Notice> {
        Bits(bits).filter_map(|bit| Notice::ALL.get(bit).copied())
    }
}

/// Gives every CPU of `targets`, which must not include this one, a notice, and does not wait.
///
/// # Context
/// Any. Masks interrupts itself.
///
/// # Ordering
/// Who hears of it sees what was done before. Pairs: `post/drain`.
pub fn notify<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>, notice: Notice) {
    let _masked = Masked::new(m);
    let mut to_kick = CpuSet::EMPTY;
    for target in targets.iter() {
        if m.per_cpu(target).inbox().post_notice(m, notice) {
            to_kick.insert(target);
        }
    }
    kick(m, &to_kick);
}
