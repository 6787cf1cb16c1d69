//! The sender's side: posting requests, and waiting for the answers.

use core::hint::cold_path;

use crate::{
    call::{Words, inbox::Inbox},
    counters::Counter,
    cpu::{CpuId, CpuSet},
    fix::Fix,
    machine::{Machine, Masked},
};

/// Whether the sender waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Synchronous,
    Asynchronous,
}

/// Sends an operation, to which the sender gives this number, to every CPU of `targets`, which must not include this one.
#[inline]
pub(crate) fn post<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>, kind: Kind, operation: &Words, number: u64) {
    if targets.is_empty() {
        return;
    }
    // Masked from the first slot to the kick: a handler on top of us that called the same target would find its inbox
    // non-empty, not kick it, and wait for an interrupt that we have not raised yet.
    let masked = m.keeps(Fix::MaskWhilePosting).then(|| Masked::new(m));
    if kind == Kind::Synchronous && masked.is_some() {
        m.here().inbox().assert_may_wait(m);
    }
    let sender = m.cpu();
    // Room for all before the first is filled. Waiting takes time and hears notices, and one of them may stop this CPU for
    // good; whoever finds a request of ours in an inbox relies on us to interrupt its target.
    for target in targets.iter() {
        m.scope(|m| m.slot(sender, target).half(kind).wait_until_free(m, target));
    }
    let mut to_kick = *targets;
    for target in targets.iter() {
        m.count(Counter::RemoteRequest, 1);
        if !m.scope(|m| post_one(m, sender, target, kind, operation, number)) {
            cold_path();
            to_kick.remove(target);
            m.count(Counter::KickCoalesced, 1);
        }
    }
    kick(m, &to_kick);
    if m.cpus_come_and_go() {
        withdraw_from_absent(m, targets, kind, number);
    }
}

/// Interrupts these CPUs, if there are any.
#[inline]
pub(super) fn kick<M: Machine>(m: &M, to: &CpuSet<M::Cpus>) {
    if !to.is_empty() {
        m.count(Counter::Kick, to.len() as u64);
        m.kick(to);
    }
}

/// Fills the slot towards `target`, which is free, and tells whether it must be interrupted.
#[inline]
fn post_one<M: Machine>(m: &M, sender: CpuId, target: CpuId, kind: Kind, operation: &Words, number: u64) -> bool {
    m.slot(sender, target).half(kind).fill(m, operation, number);
    inbox(m, target).post(m, sender, kind)
}

/// Takes back what was posted to CPUs that will not look at it any more.
#[inline]
fn withdraw_from_absent<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>, kind: Kind, number: u64) {
    if !m.keeps(Fix::LookAgainAfterPosting) {
        return;
    }
    // ORDER(depart/post): read after each inbox was changed. If a CPU had emptied its inbox for the last time by then, that
    // change has acquired that it is absent; otherwise it takes what we posted.
    let present = m.present().load(m);
    for target in targets.without(&present).iter() {
        if inbox(m, target).withdraw(m, m.cpu(), kind) {
            m.slot(m.cpu(), target).half(kind).withdraw(m, number);
        }
    }
}

#[inline]
fn inbox<M: Machine>(m: &M, cpu: CpuId) -> &Inbox<M> {
    m.per_cpu(cpu).inbox()
}

/// Waits until every target has answered this CPU's synchronous request.
#[inline]
pub(crate) fn wait_for<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>) {
    if !m.keeps(Fix::WaitForAcks) {
        return;
    }
    let sender = m.cpu();
    for target in targets.iter() {
        m.scope(|m| m.slot(sender, target).half(Kind::Synchronous).wait_until_free(m, target));
    }
}
