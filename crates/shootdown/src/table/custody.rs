//! What a page-table page goes through on its way out: linked, unlinked, quiescent, free.

use super::descriptor::{create, destroy};
use crate::{
    addr::{Level, TableFrame},
    frame::NoFrame,
    machine::Machine,
    walk::WalksEnded,
};

/// A page-table page that no entry leads to any more. A TLB, a walk cache or a walk may still be at it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a table that is not freed leaks"]
pub(crate) struct UnlinkedTable(pub(super) TableFrame);

impl UnlinkedTable {
    /// Takes one back out of a place where only its number is kept.
    pub(crate) const fn regain(table: TableFrame) -> Self {
        UnlinkedTable(table)
    }

    pub(crate) const fn frame(&self) -> TableFrame {
        self.0
    }

    /// Nobody reaches it: it was flushed, walk caches and all, and walks have ended since it was unlinked.
    pub(crate) const fn quiesced(self, _: WalksEnded) -> QuiescentTable {
        QuiescentTable(self.0)
    }
}

/// A page-table page that nobody can reach: it may be freed, or used again, which is what makes it different from one that
/// waits to be freed.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a table that is not freed leaks"]
pub struct QuiescentTable(TableFrame);

impl QuiescentTable {
    /// Takes a new page for a table of `level`.
    ///
    /// # Errors
    /// [`NoFrame`] if there is none.
    #[doc(alias = "pte_alloc_one")]
    pub fn allocate<M: Machine>(m: &M, level: Level) -> Result<Self, NoFrame> {
        create(m, level).map(QuiescentTable)
    }

    /// Returns its level.
    #[must_use]
    pub fn level<M: Machine>(&self, m: &M) -> Level {
        m.descriptor(self.0).level(m).expect("it is a table until it is freed")
    }

    pub(crate) const fn frame(&self) -> TableFrame {
        self.0
    }

    /// Frees it.
    ///
    /// # Context
    /// Any. Does not sleep.
    ///
    /// # Panics
    /// If something is in it.
    pub fn free<M: Machine>(self, m: &M) {
        destroy(m, self.0);
    }
}
