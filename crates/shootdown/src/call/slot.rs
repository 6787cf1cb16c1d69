//! The place of requests from one CPU to one other.

use core::{array, sync::atomic::Ordering::*};

use crate::{
    call::{
        N_WORDS, Operation, Words,
        post::Kind,
        wait::{self, Waiting},
    },
    cpu::CpuId,
    machine::Machine,
    word::{Own, Shared},
};

/// The place of one synchronous and one asynchronous request from one CPU to one other. The kernel places one for each
/// pair, see [`Machine::slot`].
///
/// They are apart, so that a handler on top of a CPU that is about to make a call of one kind can make one of the other.
pub struct Slot<M: Machine> {
    synchronous: Half<M>,
    asynchronous: Half<M>,
}

impl<M: Machine> Default for Slot<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> Slot<M> {
    /// Makes a slot without a request.
    pub const fn new() -> Self {
        Slot { synchronous: Half::new(), asynchronous: Half::new() }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.synchronous.visit("slot.state", "slot.word", visitor);
        self.asynchronous.visit("slot.async_state", "slot.async_word", visitor);
    }

    pub(crate) const fn half(&self, kind: Kind) -> &Half<M> {
        match kind {
            Kind::Synchronous => &self.synchronous,
            Kind::Asynchronous => &self.asynchronous,
        }
    }
}

/// The place of one request.
pub(crate) struct Half<M: Machine> {
    // POSTED from the sender's store until the target has run the request; above it, the sender's number for it.
    state: Shared<M>,
    // The sender's while not POSTED, the target's while POSTED.
    words: [Own<M>; N_WORDS],
}

const POSTED: u64 = 1;

impl<M: Machine> Half<M> {
    const fn new() -> Self {
        Half { state: Shared::ZERO, words: [const { Own::ZERO }; N_WORDS] }
    }

    fn visit(&self, state: &'static str, word: &'static str, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.state.visit(state, visitor);
        self.words.iter().for_each(|place| place.visit(word, visitor));
    }

    /// Fills it with the sender's request of this number. The sender has waited until it was free.
    #[inline]
    pub(crate) fn fill(&self, m: &M, words: &Words, number: u64) {
        for (place, word) in self.words.iter().zip(words) {
            place.set(m, *word);
        }
        // The inbox publishes it.
        self.state.store(m, number << 1 | POSTED, Relaxed);
    }

    /// Runs what is in it, on the target, and hands it back.
    #[inline(always)]
    pub(crate) fn answer(&self, m: &M, number: u64) {
        Operation::run_words(m, array::from_fn(|index| self.words[index].get(m)));
        // ORDER(answer/wait): the request has been run, invalidation completed, when the sender sees this.
        self.state.store(m, number << 1, Release);
    }

    /// The number of the request in it.
    pub(crate) fn number(&self, m: &M) -> u64 {
        self.state.load(m, Relaxed) >> 1
    }

    /// Takes a request back that the target has not seen.
    pub(crate) fn withdraw(&self, m: &M, number: u64) {
        self.state.store(m, number << 1, Relaxed);
    }

    /// Tells whether the request of this number, or a later one, is not in it any more.
    pub(crate) fn is_done(&self, m: &M, number: u64) -> bool {
        // ORDER(answer/wait): what the target did for the request is done when this acquire sees its release.
        let state = self.state.load(m, Acquire);
        state >> 1 > number || state == number << 1
    }

    #[inline]
    fn is_free(&self, m: &M) -> bool {
        // ORDER(answer/wait): as in `is_done`; the words are ours again.
        self.state.load(m, Acquire) & POSTED == 0
    }

    #[inline]
    pub(crate) fn wait_until_free(&self, m: &M, target: CpuId) {
        wait_for(m, target, |m| self.is_free(m));
    }

    pub(crate) fn wait_until_done(&self, m: &M, target: CpuId, number: u64) {
        wait_for(m, target, |m| self.is_done(m, number));
    }
}

/// Waits for an answer of `target`, if it is not there yet.
#[inline]
fn wait_for<M: Machine>(m: &M, target: CpuId, is_there: impl Fn(&M) -> bool + Sync) {
    if !is_there(m) {
        wait_for_long(m, target, is_there);
    }
}

// Apart, so that what goes on at once keeps its values in registers.
#[cold]
#[inline(never)]
fn wait_for_long<M: Machine>(m: &M, target: CpuId, is_there: impl Fn(&M) -> bool + Sync) {
    wait::wait_for_whom(m, Waiting::Answer(target), |m| is_there(m).then_some(()));
}
