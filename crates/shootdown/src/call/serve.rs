//! The target's side: running what others asked for.

use crate::{
    call::{inbox::Inbox, notice::Notice, post::Kind},
    counters::Counter,
    cpu::CpuSet,
    fix::Fix,
    machine::{Machine, Masked},
};

/// Runs every request that waits for this CPU, those first whose senders wait, and hears every notice. Waits call it by
/// themselves.
///
/// # Context
/// Any but code that runs for another CPU's call; masks interrupts itself. Does not wait, sleep or take a lock, and leaves
/// interrupts as they were.
///
/// # Panics
/// If what a call runs here calls it.
pub fn serve<M: Machine>(m: &M) {
    m.scope(|m| {
        let inbox = m.here().inbox();
        if inbox.is_in_use(m) {
            // A request that was taken is answered before this CPU does anything else: its sender waits.
            let _masked = Masked::new(m);
            drain(m, inbox);
        }
    });
}

/// The same without a look whether there is anything. Interrupts are masked.
pub(crate) fn drain<M: Machine>(m: &M, inbox: &Inbox<M>) {
    let taken = inbox.take(m);
    inbox.serving(m, || {
        let here = m.cpu();
        // Those first whose senders wait.
        for sender in inbox.take_senders(m, taken, Kind::Synchronous).iter() {
            m.scope(|m| m.slot(sender, here).half(Kind::Synchronous).answer(m, 0));
        }
        if Inbox::<M>::has_taken(taken, Kind::Asynchronous) {
            answer_asynchronous(m, &inbox.take_senders(m, taken, Kind::Asynchronous));
        }
    });
    // Last: a CPU that is told to stop does not come back, and whoever waits for it has its answer by now.
    Inbox::<M>::notices(taken).for_each(|notice| m.noticed(notice));
}

// Apart, so that the others are fast.
#[inline(never)]
fn answer_asynchronous<M: Machine>(m: &M, senders: &CpuSet<M::Cpus>) {
    let here = m.cpu();
    for sender in senders.iter() {
        m.scope(|m| {
            let half = m.slot(sender, here).half(Kind::Asynchronous);
            half.answer(m, half.number(m));
        });
    }
}

/// The handler of the interrupt that [`Machine::kick`] raises.
///
/// # Context
/// That interrupt's handler, with interrupts masked.
#[inline]
pub fn handle_kick<M: Machine>(m: &M) {
    m.count(Counter::KickReceived, 1);
    let inbox = m.here().inbox();
    if inbox.is_in_use(m) {
        drain(m, inbox);
    } else {
        m.count(Counter::KickUseless, 1);
    }
}

/// Looks whether an interrupt for a call was lost, at the end of any other interrupt.
///
/// The kernel calls it in the handlers of clock, device, machine-check and performance interrupts alike, *before* deferred
/// work runs: that may call other CPUs, and one of them may wait for this one. What it finds is counted as rescued. Some
/// of that is not: its own interrupt may still be pending.
///
/// # Context
/// Any interrupt's handler, with interrupts masked.
pub fn on_interrupt_exit<M: Machine>(m: &M) {
    if !m.keeps(Fix::PollOnExit) {
        return;
    }
    let inbox = m.here().inbox();
    let (is_called, notices) = inbox.look(m);
    let mut is_in_use = is_called;
    if is_called {
        m.count(Counter::RescuedCall, 1);
    }
    for notice in notices {
        is_in_use = true;
        m.count(
            match notice {
                Notice::Reschedule => Counter::RescuedReschedule,
                Notice::Stop => Counter::RescuedStop,
            },
            1,
        );
    }
    if is_in_use {
        drain(m, inbox);
    }
}
