//! What must be invalidated, as one lattice: the strongest demand, all levels, the hull of the ranges.
//!
//! Joining never forgets anything, so a gather can collect any mixture of changes and flush once.

use crate::{
    addr::{Level, Vpn, VpnRange},
    format::EntryFormat,
    machine::Strength,
    policy::Policy,
};

/// A set of levels, which are at most six.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LevelSet(u8);

impl LevelSet {
    /// Makes the set of one level.
    #[must_use]
    pub const fn of(level: Level) -> Self {
        LevelSet(1 << level.0)
    }

    /// Returns the levels of both sets.
    #[must_use]
    pub const fn union(self, other: LevelSet) -> Self {
        LevelSet(self.0 | other.0)
    }

    /// Tells whether there is more than one level in it.
    #[must_use]
    pub const fn is_mixed(self) -> bool {
        self.0.count_ones() > 1
    }

    /// Returns the level if there is just one, as machines want it that look only at entries of the level they are told:
    /// a wrong one and nothing is invalidated (`TTL` on arm64).
    #[must_use]
    pub const fn only(self) -> Option<Level> {
        if self.0.count_ones() == 1 { Some(self.lowest()) } else { None }
    }

    /// Returns the lowest level; level 1 for the empty set.
    #[must_use]
    pub const fn lowest(self) -> Level {
        if self.0 == 0 { Level::LEAF } else { Level(self.0.trailing_zeros() as u8) }
    }
}

/// What may spare a machine some of the work of an invalidation. To ignore it is always right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hint {
    /// The levels at which entries changed.
    pub levels: LevelSet,
    /// Instructions may have been fetched through them. If not, a TLB for instructions alone has nothing of it.
    pub executable: bool,
}

impl Hint {
    /// Says that entries of one level changed, and nothing of what they permitted.
    #[must_use]
    pub const fn at(level: Level) -> Hint {
        Hint { levels: LevelSet::of(level), executable: true }
    }

    /// All of it in one byte: the levels in seven bits, and whether instructions may have been fetched.
    #[inline]
    pub(crate) const fn encode(self) -> u8 {
        (self.executable as u8) << 7 | self.levels.0
    }

    #[inline]
    pub(crate) const fn decode(byte: u8) -> Self {
        Hint { levels: LevelSet(byte & 0x7f), executable: byte >> 7 != 0 }
    }
}

/// Translations that are no longer in the tables and may still be in TLBs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stale {
    /// The pages they translate.
    pub range: VpnRange,
    /// The levels at which entries changed; their lowest gives the stride of single invalidations.
    pub levels: LevelSet,
    /// Instructions may have been fetched through them.
    pub executable: bool,
    /// What must go.
    pub strength: Strength,
}

impl Stale {
    /// Everything an address space ever mapped.
    pub const EVERYTHING: Stale = Stale {
        range: VpnRange::new(Vpn(0), Vpn(u64::MAX)),
        levels: LevelSet(0),
        executable: true,
        strength: Strength::Full,
    };

    /// Says that leaves of this level changed in `range`. They may have permitted to execute.
    #[must_use]
    pub const fn leaves(range: VpnRange, level: Level) -> Stale {
        Stale { range, levels: LevelSet::of(level), executable: true, strength: Strength::Leaf }
    }

    /// Says that an entry of this level, which translates `page`, no longer points at a table.
    ///
    /// One page stands for all that the table translated: a cached pointer to it is on that page's path.
    #[must_use]
    pub const fn table(page: Vpn, level: Level) -> Stale {
        let range = VpnRange::from_len(page, 1);
        Stale { range, levels: LevelSet::of(level), executable: false, strength: Strength::Walk }
    }

    /// Returns what covers both.
    #[must_use]
    pub fn join(self, other: Stale) -> Stale {
        Stale {
            range: self.range.hull(other.range),
            levels: self.levels.union(other.levels),
            executable: self.executable | other.executable,
            strength: self.strength.max(other.strength),
        }
    }

    /// Tells whether one flush may be about this and about pages of `level` as well.
    #[inline]
    pub(crate) fn may_be_flushed_with<P: Policy>(self, level: Level) -> bool {
        !P::ONE_PAGE_SIZE || self.levels.only() == Some(level)
    }

    /// Returns what may spare some of the work.
    #[must_use]
    pub const fn hint(self) -> Hint {
        Hint { levels: self.levels, executable: self.executable }
    }

    /// Returns how many single invalidations it takes.
    #[must_use]
    pub fn n_invalidations<F: EntryFormat>(self) -> u64 {
        let level = self.levels.lowest();
        let start = self.range.start.align_down::<F>(level);
        VpnRange::new(start, self.range.end).n_pages().div_ceil(level.pages::<F>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::x86_64::X86_64;

    #[test]
    fn joining_keeps_the_strongest_demand_and_every_level() {
        let leaves = Stale::leaves(VpnRange::from_len(Vpn(512), 1024), Level(2));
        assert_eq!(leaves.n_invalidations::<X86_64>(), 2);
        let both = leaves.join(Stale::table(Vpn(4096), Level(3)));
        assert_eq!(both.range, VpnRange::new(Vpn(512), Vpn(4097)));
        assert_eq!(both.strength, Strength::Walk);
        assert_eq!(both.levels.lowest(), Level(2));
        assert_eq!(both.n_invalidations::<X86_64>(), 8);
        assert_eq!(both.join(leaves), both);
    }

    #[test]
    fn an_unaligned_range_counts_the_entry_it_begins_in() {
        let stale = Stale::leaves(VpnRange::new(Vpn(1023), Vpn(1025)), Level(2));
        assert_eq!(stale.n_invalidations::<X86_64>(), 2);
    }
}
