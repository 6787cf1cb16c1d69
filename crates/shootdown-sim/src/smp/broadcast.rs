//! Invalidations for all CPUs that are on their way.
//!
//! Who begins one is not told when it takes effect, only that it has when the CPU that has begun it completes (Arm ARM
//! DDI 0487, "Ordering and completion of TLB maintenance instructions"; AMD APM volume 3, `INVLPGB` and `TLBSYNC`). Here it
//! takes effect on all CPUs at once, either when it is begun or when it is completed. What a TLB holds can be wrong in two
//! ways, and these are the extremes of both: it keeps for too long what it should forget, or it takes in anew, after it
//! has forgotten, what is still in the tables. An effect at a moment in between, or at different ones on different CPUs,
//! lets a CPU do neither for longer.

use shootdown::{EntryFormat, Invalidate, Vpn, arch::tiny::Tiny};

use super::{PAGES, TAGS, tlb::Tlb};

/// Bits for what is to be forgotten under one tag: for each page its translation, for each page the way to it too, and
/// one for everything.
const BITS: u32 = 2 * PAGES as u32 + 1;

const EVERYTHING: u16 = 1 << (BITS - 1);

/// What one CPU has begun to make all CPUs forget, and has not completed, for each tag.
///
/// # Invariants
/// Nothing is said twice: beside everything there is nothing else, and no page is there both with its way and without.
/// So what comes to the same is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlight([u16; TAGS]);

impl InFlight {
    pub(super) const EMPTY: InFlight = InFlight([0; TAGS]);

    /// Makes what is to be forgotten under one tag, or under all of them.
    pub(super) fn of(tag: Option<u8>, what: Invalidate) -> Self {
        let place = |page: Vpn| (0..PAGES as u64).contains(&page.0).then_some(page.0);
        let bits = match what {
            // Of a page that there is not nothing is remembered.
            Invalidate::Leaf(page, _) => place(page).map_or(0, |place| 1 << place),
            Invalidate::Walk(page, _) => place(page).map_or(0, |place| 1 << (PAGES as u64 + place)),
            Invalidate::All | Invalidate::EveryTag => EVERYTHING,
        };
        let is_meant = |of| what == Invalidate::EveryTag || tag.is_none_or(|tag| usize::from(tag) == of);
        InFlight(std::array::from_fn(|of| if is_meant(of) { bits } else { 0 }))
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// Returns what covers both.
    pub(super) fn join(self, other: InFlight) -> Self {
        InFlight(std::array::from_fn(|tag| match self.0[tag] | other.0[tag] {
            bits if bits & EVERYTHING != 0 => EVERYTHING,
            bits => bits & !(bits >> PAGES),
        }))
    }

    /// Takes effect on what a CPU remembers.
    pub(super) fn land(self, tlbs: &mut [Tlb; TAGS]) {
        for (bits, tlb) in self.0.into_iter().zip(tlbs) {
            if bits & EVERYTHING != 0 {
                *tlb = Tlb::EMPTY;
            }
            for page in (0..PAGES).filter(|page| bits >> page & 1 != 0) {
                tlb.forget_page(Vpn(page as u64));
            }
            for page in (0..PAGES).filter(|page| bits >> (PAGES + page) & 1 != 0) {
                tlb.forget_path(Vpn(page as u64));
            }
        }
    }

    /// All of it in one number, 0 for nothing.
    pub(super) fn bits(self) -> u64 {
        const { assert!(Tiny::LEVELS == 2 && BITS <= u16::BITS && TAGS as u32 * BITS <= u64::BITS) };
        self.0.into_iter().rev().fold(0, |all, bits| all << BITS | u64::from(bits))
    }

    pub(super) fn from_bits(all: u64) -> Self {
        InFlight(std::array::from_fn(|tag| (all >> (tag as u32 * BITS)) as u16 & ((1 << BITS) - 1)))
    }
}

#[cfg(test)]
mod tests {
    use shootdown::{Hint, Level};

    use super::*;

    const HINT: Hint = Hint::at(Level::LEAF);

    #[test]
    fn it_survives_as_a_number() {
        let all = [
            InFlight::EMPTY,
            InFlight::of(Some(0), Invalidate::Leaf(Vpn(3), HINT)),
            InFlight::of(Some(2), Invalidate::Walk(Vpn(0), HINT)),
            InFlight::of(None, Invalidate::Leaf(Vpn(1), HINT)),
            InFlight::of(Some(1), Invalidate::All),
            InFlight::of(Some(1), Invalidate::EveryTag),
        ];
        for (one, other) in all.into_iter().flat_map(|one| all.map(|other| (one, other))) {
            let both = one.join(other);
            assert_eq!(InFlight::from_bits(both.bits()), both);
            assert_eq!(one.bits() == other.bits(), one == other);
        }
        assert!(InFlight::from_bits(0).is_empty());
    }

    #[test]
    fn what_comes_to_the_same_is_equal() {
        let of = |what| InFlight::of(Some(1), what);
        let (leaf, path) = (of(Invalidate::Leaf(Vpn(1), HINT)), of(Invalidate::Walk(Vpn(1), HINT)));
        assert_eq!(leaf.join(path), path);
        assert_eq!(path.join(leaf), path);
        assert_eq!(of(Invalidate::All).join(path), of(Invalidate::All));
        assert_eq!(of(Invalidate::Leaf(Vpn(PAGES as u64), HINT)), InFlight::EMPTY);
    }
}
