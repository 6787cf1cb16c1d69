//! What stale translations come to on a CPU: a few invalidations of single pages, or one of everything.
//!
//! The issuer works it out, once, and sends it: it comes to the same on every CPU.

use crate::{
    addr::{SpaceId, Vpn},
    counters::Counter,
    fix::Fix,
    machine::{Invalidate, Machine, Strength},
    policy::Policy,
    stale::{Hint, Stale},
};

/// The invalidations that a CPU is asked for: single pages, as far apart as entries of one level, or everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalidations {
    first: Vpn,
    // Beside these a number that is a case of its own, so that a target has one question less.
    n_pages: u64,
    // What the lowest level comes to.
    stride_pages: u64,
    hint: Hint,
    // Cached pointers on the pages' paths go too.
    is_walk: bool,
}

// The lowest byte of the first word; never 0.
const LEAF: u64 = 1;
const WALK: u64 = 2;

impl Invalidations {
    /// All that is remembered of the address space.
    pub(crate) const EVERYTHING: Self = Invalidations {
        first: Vpn(0),
        n_pages: u64::MAX,
        stride_pages: 0,
        hint: Stale::EVERYTHING.hint(),
        is_walk: true,
    };

    /// Chooses: past the ceiling dropping everything is cheaper. What a CPU may skip does not depend on it.
    pub(crate) fn of<M: Machine>(stale: Stale) -> Self {
        let n_pages = stale.n_invalidations::<M::Format>();
        if stale.strength == Strength::Full || n_pages > M::Policy::FLUSH_CEILING {
            return Self::EVERYTHING;
        }
        let level = stale.levels.lowest();
        Invalidations {
            first: stale.range.start.align_down::<M::Format>(level),
            n_pages,
            stride_pages: level.pages::<M::Format>(),
            hint: stale.hint(),
            is_walk: stale.strength == Strength::Walk,
        }
    }

    #[inline]
    pub(crate) const fn is_everything(self) -> bool {
        self.n_pages == u64::MAX
    }

    /// Makes this CPU forget these pages, where it is not everything.
    #[inline]
    pub(crate) fn singly<M: Machine>(self, m: &M) {
        self.for_each_page(|what| m.invalidate(what));
        m.complete();
    }

    /// Begins to make every CPU forget them. For kernel addresses no address space is named.
    pub(crate) fn broadcast<M: Machine>(self, m: &M, space: Option<SpaceId>) {
        // A step that is left out leaves the other CPUs out.
        let begin = |what| if m.keeps(Fix::FlushRemote) { m.broadcast(space, what) } else { m.invalidate(what) };
        if self.is_everything() {
            m.count(Counter::FlushEverything, 1);
            begin(if space.is_some() { Invalidate::All } else { Invalidate::EveryTag });
        } else {
            self.for_each_page(begin);
        }
    }

    #[inline]
    fn for_each_page(self, mut invalidate: impl FnMut(Invalidate)) {
        let Invalidations { first: mut page, n_pages, stride_pages, hint, is_walk } = self;
        for _ in 0..n_pages {
            invalidate(if is_walk { Invalidate::Walk(page, hint) } else { Invalidate::Leaf(page, hint) });
            // Past the last one there may be no number any more.
            page = Vpn(page.0.wrapping_add(stride_pages));
        }
    }

    /// All of it in four words, of the first the lowest 16 bits.
    #[inline]
    pub(crate) const fn encode(self) -> [u64; 4] {
        let Invalidations { first, n_pages, stride_pages, hint, is_walk } = self;
        [(hint.encode() as u64) << 8 | if is_walk { WALK } else { LEAF }, first.0, n_pages, stride_pages]
    }

    /// Makes it of those words again, whatever the first one has above; nothing if its lowest byte is none of ours.
    #[inline]
    pub(crate) fn decode([what, first, n_pages, stride_pages]: [u64; 4]) -> Option<Self> {
        let kind = what & 0xff;
        let invalidations = Invalidations {
            first: Vpn(first),
            n_pages,
            stride_pages,
            hint: Hint::decode((what >> 8) as u8),
            is_walk: kind == WALK,
        };
        (kind == LEAF || kind == WALK).then_some(invalidations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Level;

    #[test]
    fn they_survive_the_words() {
        let leaves = Invalidations {
            first: Vpn(0x7f88),
            n_pages: 33,
            stride_pages: 1 << 18,
            hint: Hint::at(Level(3)),
            is_walk: false,
        };
        for invalidations in [leaves, Invalidations { is_walk: true, ..leaves }, Invalidations::EVERYTHING] {
            let [what, first, n_pages, stride_pages] = invalidations.encode();
            assert_eq!(what >> 16, 0, "the rest of the word is for others");
            let decoded = Invalidations::decode([what | 0xabc << 16, first, n_pages, stride_pages]);
            assert_eq!(decoded, Some(invalidations));
        }
        assert_eq!(Invalidations::decode([0; 4]), None);
        assert!(Invalidations::EVERYTHING.is_everything() && !leaves.is_everything());
    }
}
