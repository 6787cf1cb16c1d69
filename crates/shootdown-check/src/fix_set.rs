//! A set of fixes, by value.

use std::fmt;

use shootdown::Fix;

/// Which fixes are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FixSet(u128);

impl FixSet {
    /// No fix: the library as it ships.
    pub const NONE: FixSet = FixSet(0);

    /// Tells whether `fix` is in the set.
    #[must_use]
    pub fn contains(self, fix: Fix) -> bool {
        self.0 & bit(fix) != 0
    }

    /// Returns all sets of no fix, of one, and of two, smaller ones first.
    pub(crate) fn up_to_two() -> impl Iterator<Item = FixSet> {
        let singles = || Fix::ALL.into_iter().map(bit);
        let pairs =
            move || singles().flat_map(move |one| singles().filter(move |two| one < *two).map(move |two| one | two));
        std::iter::once(0).chain(singles()).chain(pairs()).map(FixSet)
    }

    /// Returns the fixes in the set.
    pub fn iter(self) -> impl Iterator<Item = Fix> {
        Fix::ALL.into_iter().filter(move |fix| self.contains(*fix))
    }
}

fn bit(fix: Fix) -> u128 {
    let index = Fix::ALL.iter().position(|other| *other == fix);
    const { assert!(Fix::ALL.len() <= u128::BITS as usize) };
    1 << index.expect("every fix is in `Fix::ALL`")
}

impl From<&[Fix]> for FixSet {
    fn from(fixes: &[Fix]) -> Self {
        FixSet(fixes.iter().fold(0, |bits, fix| bits | bit(*fix)))
    }
}

impl fmt::Display for FixSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == FixSet::NONE {
            return f.write_str("all fixes kept");
        }
        f.write_str("without")?;
        for (index, fix) in self.iter().enumerate() {
            write!(f, "{} {}", if index == 0 { "" } else { "," }, fix.name())?;
        }
        Ok(())
    }
}
