//! Who has posted to a CPU.
//!
//! One word is non-zero while anything waits. With few CPUs it has two bits for each sender, one for synchronous and one
//! for asynchronous requests; with many it says which words of two masks are in use. Above them it has the notices.

use core::sync::atomic::Ordering::*;

use crate::{
    call::{notice::Notice, post::Kind},
    cpu::{Bits, CpuGeometry, CpuId, CpuMask, CpuSet},
    fix::Fix,
    machine::{Machine, Modify},
    word::{Own, Shared},
};

/// The inbox of one CPU.
pub(crate) struct Inbox<M: Machine> {
    pending: Shared<M>,
    // Who has posted, where there are too many CPUs for `pending`.
    synchronous: CpuMask<M>,
    asynchronous: CpuMask<M>,
    // Not zero while this CPU runs what others asked for. This CPU's, with interrupts masked.
    is_being_served: Own<M>,
}

/// What was taken out of an inbox: all of it, or, with many CPUs, which words of the masks are to be taken.
#[derive(Clone, Copy)]
pub(crate) struct Taken(u64);

impl<M: Machine> Inbox<M> {
    const N_CPUS: usize = <M::Cpus as CpuGeometry>::CPUS;
    /// All fits into one word.
    const IS_ONE_WORD: bool = <M::Cpus as CpuGeometry>::WORDS == 1 && 2 * Self::N_CPUS + Notice::ALL.len() <= 64;
    /// Bits of `pending` for each kind of request.
    const BITS: usize = if Self::IS_ONE_WORD { Self::N_CPUS } else { <M::Cpus as CpuGeometry>::WORDS };
    /// The first bit of `pending` for notices.
    const NOTICES: usize = {
        assert!(2 * Self::BITS + Notice::ALL.len() <= 64, "a summary has no room for so many words of CPUs");
        2 * Self::BITS
    };

    pub(crate) const fn new() -> Self {
        Inbox {
            pending: Shared::ZERO,
            synchronous: CpuMask::new(),
            asynchronous: CpuMask::new(),
            is_being_served: Own::ZERO,
        }
    }

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.pending.visit("inbox.pending", visitor);
        self.synchronous.visit("inbox.senders", visitor);
        self.asynchronous.visit("inbox.async_senders", visitor);
        self.is_being_served.visit("inbox.served", visitor);
    }

    const fn senders(&self, kind: Kind) -> &CpuMask<M> {
        match kind {
            Kind::Synchronous => &self.synchronous,
            Kind::Asynchronous => &self.asynchronous,
        }
    }

    /// Puts a request of `sender` in, whose slot is filled, and tells whether this CPU must be interrupted for it: nobody
    /// else's request or notice was waiting.
    #[inline]
    pub(crate) fn post(&self, m: &M, sender: CpuId, kind: Kind) -> bool {
        if Self::IS_ONE_WORD {
            // ORDER(post/drain): a target that takes our bit out of its inbox sees the slot filled.
            // ORDER(depart/post): if it has emptied its inbox for the last time before, we see that it departs. An acquire,
            // though no explorer with loads in order can miss it.
            let was = self.pending.modify(m, Modify::Or(Self::bit(kind, usize::from(sender.0))), AcqRel);
            // The interrupt for our own older request may be what we are about to wait for.
            let own = Self::bit(Kind::Synchronous, usize::from(sender.0))
                | Self::bit(Kind::Asynchronous, usize::from(sender.0));
            return was & !own == 0;
        }
        // ORDER(post/drain): the bit in the mask stands before the bit in the summary; the target takes them in the other
        // order, so it cannot take the summary's and miss the mask's.
        self.senders(kind).insert(m, sender, AcqRel);
        let word = usize::from(sender.0) / <M::Cpus as CpuGeometry>::CPUS_PER_WORD;
        self.pending.modify(m, Modify::Or(Self::bit(kind, word)), AcqRel) == 0
    }

    /// Puts a notice in, and tells whether this CPU must be interrupted for it.
    pub(crate) fn post_notice(&self, m: &M, notice: Notice) -> bool {
        // ORDER(post/drain): whoever takes the notice sees what was done before it was given.
        self.pending.modify(m, Modify::Or(notice.bit() << Self::NOTICES), AcqRel) == 0
    }

    /// Takes a request of `sender` back; tells whether it was still there.
    pub(crate) fn withdraw(&self, m: &M, sender: CpuId, kind: Kind) -> bool {
        // Nothing is handed over: what was not taken is still the sender's, and what was is waited for.
        if Self::IS_ONE_WORD {
            let bit = Self::bit(kind, usize::from(sender.0));
            return self.pending.modify(m, Modify::And(!bit), Relaxed) & bit != 0;
        }
        self.senders(kind).take(m, sender, Relaxed)
    }

    const fn bit(kind: Kind, index: usize) -> u64 {
        match kind {
            Kind::Synchronous => 1 << index,
            Kind::Asynchronous => 1 << (Self::BITS + index),
        }
    }

    /// Tells whether there may be anything in it. A kick follows every request that finds the inbox empty, so a look that
    /// comes too early is made up for.
    #[inline]
    pub(crate) fn is_in_use(&self, m: &M) -> bool {
        self.pending.load(m, Relaxed) != 0
    }

    /// The kinds of what is in it, for whoever counts rescues.
    pub(crate) fn look(&self, m: &M) -> (bool, impl Iterator<Item = Notice>) {
        let bits = self.pending.load(m, Relaxed);
        (bits & ((1 << Self::NOTICES) - 1) != 0, Notice::of_bits(bits >> Self::NOTICES))
    }

    /// Takes everything out; [`take_senders`](Self::take_senders) says what it was.
    #[inline]
    pub(crate) fn take(&self, m: &M) -> Taken {
        // ORDER(post/drain): the summary first, then the masks; see `post`.
        Taken(take_word(m, &self.pending))
    }

    /// As many bits as there are for each kind.
    const LOWEST: u64 = u64::MAX >> (64 - Self::BITS);

    const fn bits_of(taken: Taken, kind: Kind) -> u64 {
        match kind {
            Kind::Synchronous => taken.0 & Self::LOWEST,
            Kind::Asynchronous => taken.0 >> Self::BITS & Self::LOWEST,
        }
    }

    /// Tells whether requests of this kind were in it.
    #[inline]
    pub(crate) const fn has_taken(taken: Taken, kind: Kind) -> bool {
        Self::bits_of(taken, kind) != 0
    }

    /// Whose requests of this kind were in it. Once for each kind.
    #[inline]
    pub(crate) fn take_senders(&self, m: &M, taken: Taken, kind: Kind) -> CpuSet<M::Cpus> {
        let bits = Self::bits_of(taken, kind);
        let mut words = <M::Cpus as CpuGeometry>::EMPTY;
        if Self::IS_ONE_WORD {
            words.as_mut()[0] = bits;
        } else {
            for word in Bits(bits) {
                words.as_mut()[word] = take_word(m, self.senders(kind).word(word));
            }
        }
        CpuSet::from_bits(words)
    }

    /// The notices that were in it.
    #[inline]
    pub(crate) fn notices(taken: Taken) -> impl Iterator<Item = Notice> {
        Notice::of_bits(taken.0 >> Self::NOTICES)
    }

    /// Runs `serve` as what others asked this CPU for.
    ///
    /// # Panics
    /// If that is going on already: then what was asked for waits, which it must not.
    #[inline]
    pub(crate) fn serving(&self, m: &M, serve: impl FnOnce()) {
        self.assert_may_wait(m);
        self.is_being_served.set(m, 1);
        serve();
        self.is_being_served.set(m, 0);
    }

    /// Checks that this CPU runs nothing for another one, which waits for it. Interrupts are masked.
    #[inline]
    pub(crate) fn assert_may_wait(&self, m: &M) {
        assert!(self.is_being_served.get(m) == 0, "what a call runs on its target must not wait");
    }
}

/// Empties one word and returns what was in it.
fn take_word<M: Machine>(m: &M, word: &Shared<M>) -> u64 {
    if m.keeps(Fix::AtomicDrain) {
        // ORDER(post/drain): we see the slots of those whose bits we take.
        // ORDER(depart/post): those whose bits we do not take any more see what we did before.
        return word.modify(m, Modify::Swap(0), AcqRel);
    }
    let bits = word.load(m, Acquire);
    word.store(m, 0, Relaxed);
    bits
}
