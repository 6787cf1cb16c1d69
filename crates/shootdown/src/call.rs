//! Cross-CPU calls: a slot for each pair of CPUs, an inbox for each target, and the one way to wait.
//!
//! A sender fills its slot towards each target, sets its bit in the target's inbox, and interrupts the target only if
//! the inbox was empty: whoever made it non-empty has interrupted already, and the target drains all of it. Completion
//! is a state of each slot and never a count, so one CPU's answer cannot stand in for another's.
//!
//! A CPU that waits serves its own inbox meanwhile, so callers with interrupts masked, or under locks, cannot deadlock
//! each other. Calls do not queue: a sender waits for its previous request to the same target.

use core::sync::atomic::Ordering::*;

use crate::{
    counters::Counter,
    cpu::{Bits, CpuGeometry, CpuId, CpuSet},
    fix::Fix,
    flush::{self, Request},
    machine::{Machine, Masked, Modify, Small},
    word::{Own, Shared},
};

const FREE: u64 = 0;
const POSTED: u64 = 1;

/// Words that an operation takes to its target.
pub(crate) const N_ARGUMENTS: usize = 4;

/// The place of one request from one CPU to one other. The kernel places one for each pair, see
/// [`Machine::slot`].
pub struct Slot<M: Machine> {
    // POSTED from the sender's store until the target has run the request.
    state: Shared<M>,
    // The sender's while FREE, the target's while POSTED.
    arguments: [Own<M>; N_ARGUMENTS],
}

impl<M: Machine> Default for Slot<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> Slot<M> {
    /// Makes a slot without a request.
    pub const fn new() -> Self {
        Slot { state: Shared::ZERO, arguments: [const { Own::ZERO }; N_ARGUMENTS] }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.state.visit("slot.state", visitor);
        for argument in &self.arguments {
            argument.visit("slot.argument", visitor);
        }
    }

    fn wait_until_free(&self, m: &M) {
        // ORDER(answer/wait): what the target did for the request is done when this acquire sees its release.
        if self.state.load(m, Acquire) != FREE {
            wait(m, |m| (self.state.load(m, Acquire) == FREE).then_some(()));
        }
    }
}

/// What a target is asked to do. Plain words, so that the explorer can run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Nothing: to have taken the request is the answer.
    Rendezvous,
    /// Invalidate what this request names.
    Flush(Request),
}

impl Operation {
    fn encode(self) -> [u64; N_ARGUMENTS] {
        match self {
            // A flush of no strength does not exist, so all zeros are free for the rendezvous.
            Operation::Rendezvous => [0; N_ARGUMENTS],
            Operation::Flush(request) => request.encode(),
        }
    }

    fn decode(words: [u64; N_ARGUMENTS]) -> Self {
        Request::decode(words).map_or(Operation::Rendezvous, Operation::Flush)
    }

    fn run<M: Machine>(self, m: &M) {
        match self {
            Operation::Rendezvous => {}
            Operation::Flush(request) => {
                flush::flush_here(m, request);
            }
        }
    }
}

/// Waits until `ready` returns something; serves this CPU's inbox between attempts. The only wait in the library.
///
/// # Context
/// Any, also with interrupts masked and under locks, except that whatever makes `ready` true must not wait for the
/// caller in another way. Does not sleep. `ready` must leave nothing behind when it returns `None`.
///
/// ```compile_fail,E0277
/// fn count<M: shootdown::Machine>(m: &M) {
///     let tries = core::cell::Cell::new(0); // state outside of words: the explorer could not see it
///     shootdown::call::wait(m, |_| { tries.set(tries.get() + 1); (tries.get() > 9).then_some(()) });
/// }
/// ```
#[inline]
pub fn wait<M: Machine, R: Small>(m: &M, ready: impl Fn(&M) -> Option<R> + Sync) -> R {
    m.spin(|m| {
        ready(m).or_else(|| {
            if m.keeps(Fix::ServeWhileWaiting) {
                serve(m);
            }
            None
        })
    })
}

/// Returns when every CPU of `targets` has taken an interrupt, or served its inbox, after this call began.
///
/// # Context
/// As [`wait`]. The calling CPU must not be among the targets.
pub fn rendezvous<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>) {
    post(m, targets, Operation::Rendezvous);
    wait_for(m, targets);
}

/// Sends `operation` to every CPU of `targets`, which must not include this one.
pub(crate) fn post<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>, operation: Operation) {
    if targets.is_empty() {
        return;
    }
    // Masked from the first slot to the kick: a handler on top of us that called the same target would find its inbox
    // non-empty, not kick it, and wait for an interrupt that we have not raised yet.
    let _masked = m.keeps(Fix::MaskWhilePosting).then(|| Masked::new(m));
    let words = operation.encode();
    let mut to_kick = CpuSet::EMPTY;
    for target in targets.iter() {
        m.count(Counter::RemoteRequest, 1);
        if m.scope(|m| post_one(m, target, words)) {
            to_kick.insert(target);
        }
    }
    if !to_kick.is_empty() {
        m.count(Counter::Kick, to_kick.len() as u64);
        m.kick(&to_kick);
    }
}

/// Fills the slot towards `target` and tells whether its inbox was empty.
fn post_one<M: Machine>(m: &M, target: CpuId, words: [u64; N_ARGUMENTS]) -> bool {
    let here = m.cpu();
    let slot = m.slot(here, target);
    slot.wait_until_free(m);
    for (argument, word) in slot.arguments.iter().zip(words) {
        argument.set(m, word);
    }
    slot.state.store(m, POSTED, Relaxed);
    let inbox = m.per_cpu(target).inbox();
    // ORDER(post/drain): a target that takes our bit out of its inbox sees the slot filled.
    let was = inbox.senders.insert(m, here, AcqRel);
    if M::Cpus::WORDS == 1 {
        return was == 0;
    }
    // ORDER(post/drain): the bit in the word stands before the bit in the summary; the target takes them in the other
    // order, so it cannot take the summary's and miss the word's.
    let word = usize::from(here.0) / M::Cpus::CPUS_PER_WORD;
    inbox.summary.modify(m, Modify::Or(1 << word), AcqRel) == 0
}

/// Waits until every target has answered.
pub(crate) fn wait_for<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>) {
    if !m.keeps(Fix::WaitForAcks) {
        return;
    }
    let here = m.cpu();
    for target in targets.iter() {
        m.scope(|m| m.slot(here, target).wait_until_free(m));
    }
}

/// The requests that wait for one CPU.
pub(crate) struct Inbox<M: Machine> {
    /// Who has posted.
    pub(crate) senders: crate::cpu::CpuMask<M>,
    /// Which words of `senders` are in use, where there is more than one.
    pub(crate) summary: Shared<M>,
}

impl<M: Machine> Inbox<M> {
    pub(crate) const fn new() -> Self {
        Inbox { senders: crate::cpu::CpuMask::new(), summary: Shared::ZERO }
    }

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.senders.visit("inbox.senders", visitor);
        self.summary.visit("inbox.summary", visitor);
    }

    /// The word that is non-zero while anything waits.
    fn pending(&self) -> &Shared<M> {
        if M::Cpus::WORDS == 1 { self.senders.word(0) } else { &self.summary }
    }
}

/// Runs every request that waits for this CPU. The kernel calls it from the handler of the interrupt that
/// [`Machine::kick`] raises; waits call it by themselves.
///
/// # Context
/// Any; masks interrupts itself. Does not wait, sleep or take a lock.
pub fn serve<M: Machine>(m: &M) {
    m.scope(|m| {
        let inbox = m.per_cpu(m.cpu()).inbox();
        // A kick follows every request that finds the inbox empty, so a look that comes too early is made up for.
        if inbox.pending().load(m, Relaxed) == 0 {
            return;
        }
        // A request that was taken is answered before this CPU does anything else: its sender waits.
        let _masked = Masked::new(m);
        // ORDER(post/drain): the summary first, then the words; see `post_one`.
        let words = if M::Cpus::WORDS == 1 { 1 } else { inbox.summary.modify(m, Modify::Swap(0), AcqRel) };
        for word in Bits(words) {
            let senders = take_senders(m, inbox.senders.word(word));
            for bit in Bits(senders) {
                let sender = CpuId((word * M::Cpus::CPUS_PER_WORD + bit) as u16);
                m.scope(|m| answer(m, sender));
            }
        }
    });
}

/// Empties one word of an inbox and returns who was in it.
fn take_senders<M: Machine>(m: &M, word: &Shared<M>) -> u64 {
    if m.keeps(Fix::AtomicDrain) {
        // ORDER(post/drain): we see the slots of those whose bits we take.
        return word.modify(m, Modify::Swap(0), AcqRel);
    }
    let senders = word.load(m, Acquire);
    word.store(m, 0, Relaxed);
    senders
}

/// Runs the request that `sender` has posted to this CPU and hands the slot back.
fn answer<M: Machine>(m: &M, sender: CpuId) {
    let slot = m.slot(sender, m.cpu());
    let words = [0, 1, 2, 3].map(|index: usize| slot.arguments[index].get(m));
    Operation::decode(words).run(m);
    // ORDER(answer/wait): the request has been run, invalidation completed, when the sender sees this.
    slot.state.store(m, FREE, Release);
}
