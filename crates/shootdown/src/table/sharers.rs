//! Who else has a table.

use crate::{machine::Machine, word::Own};

/// How many address spaces have a table, beside one. Behind the table's own lock.
pub(crate) struct Sharers<M: Machine> {
    n_others: Own<M>,
}

impl<M: Machine> Sharers<M> {
    pub(crate) const NONE: Self = Sharers { n_others: Own::ZERO };

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.n_others.visit("table.sharers", visitor);
    }

    pub(crate) fn others(&self, m: &M) -> u64 {
        self.n_others.get(m)
    }

    pub(crate) fn one_more(&self, m: &M) {
        self.n_others.set(m, self.n_others.get(m) + 1);
    }

    /// Returns how many are left beside one.
    pub(crate) fn one_less(&self, m: &M) -> u64 {
        let n_others = self.n_others.get(m).checked_sub(1).expect("a table that one address space has is not shared");
        self.n_others.set(m, n_others);
        n_others
    }
}
