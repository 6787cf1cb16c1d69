//! Where a gather keeps page-table pages, on machines that do not keep them among the other pages.

use crate::{
    addr::{Pfn, TableFrame},
    counters::Counter,
    machine::Machine,
    table::{QuiescentTable, UnlinkedTable},
    walk::{self, Grace, WalksEnded},
};

/// Page-table pages that no hardware walker reaches any more; a software walker that takes no lock may still be reading one.
///
/// Dropping it leaks them.
#[must_use = "tables that are not freed leak"]
pub struct UnlinkedTables<M: Machine> {
    batch: M::Batch,
    n: usize,
}

impl<M: Machine> UnlinkedTables<M> {
    /// Returns how many they are; never 0.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.n
    }

    /// Frees them.
    ///
    /// # Context
    /// When no software walker can be reading them. Does not sleep.
    pub fn free(self, m: &M) {
        // Says the caller.
        self.free_quiescent(m, WalksEnded::new());
    }

    pub(super) fn free_quiescent(self, m: &M, proof: WalksEnded) {
        for word in &self.batch.as_ref()[..self.n] {
            free(m, UnlinkedTable::regain(TableFrame(Pfn(*word))).quiesced(proof));
        }
    }

    /// Frees them after every CPU has taken an interrupt: no walker that masks interrupts while it reads can have begun
    /// before.
    ///
    /// # Context
    /// As [`call::on_each`](crate::call::on_each).
    pub fn free_after_rendezvous(self, m: &M) {
        let proof = walk::quiesce_all(m);
        self.free_quiescent(m, proof);
    }

    /// Lets them wait for the walks that may have begun by now, where walks are [announced](crate::walk::Walkers::Announced).
    ///
    /// # Context
    /// As [`Grace::begin`].
    pub fn wait(self, m: &M) -> WaitingTables<M> {
        WaitingTables { grace: Grace::begin(m), tables: self }
    }

    fn has_room(&self) -> bool {
        self.n < self.batch.as_ref().len()
    }

    fn push(&mut self, table: &UnlinkedTable) {
        self.batch.as_mut()[self.n] = table.frame().0.0;
        self.n += 1;
    }
}

/// Page-table pages that are freed when the walks have ended that may be reading them. Nobody is interrupted for it; the
/// kernel keeps them, and tries now and then.
///
/// Dropping it leaks them.
#[must_use = "tables that are not freed leak"]
pub struct WaitingTables<M: Machine> {
    tables: UnlinkedTables<M>,
    grace: Grace,
}

impl<M: Machine> WaitingTables<M> {
    /// Frees them if the walks have ended, or gives them back.
    ///
    /// # Context
    /// Any, but not in the middle of a walk. Does not sleep or wait.
    ///
    /// # Errors
    /// Themselves: somebody is still walking.
    pub fn try_free(self, m: &M) -> Result<(), Self> {
        if self.grace.has_passed(m) {
            self.tables.free(m);
            Ok(())
        } else {
            Err(self)
        }
    }
}

/// A batch page for tables, once there are any.
pub(super) struct Tables<M: Machine> {
    batch: Option<UnlinkedTables<M>>,
}

impl<M: Machine> Tables<M> {
    pub(super) const fn new() -> Self {
        Tables { batch: None }
    }

    /// Makes sure that one more table can be held, or says that it cannot.
    pub(super) fn reserve(&mut self, m: &M) -> bool {
        if self.batch.is_none() {
            self.batch = m.alloc_batch().map(|batch| UnlinkedTables { batch, n: 0 });
            if self.batch.is_none() {
                m.count(Counter::BatchRefused, 1);
            }
        }
        self.batch.as_ref().is_some_and(UnlinkedTables::has_room)
    }

    /// Tells whether the batch page has no room left.
    pub(super) fn is_full(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| !batch.has_room())
    }

    /// Takes `table` in. Room for it was reserved.
    pub(super) fn push(&mut self, table: &UnlinkedTable) {
        match &mut self.batch {
            Some(batch) => batch.push(table),
            None => unreachable!("no table may be held without room reserved for it"),
        }
    }

    /// Lets go of those that are held, if any are.
    pub(super) fn take(&mut self) -> Option<UnlinkedTables<M>> {
        self.batch.take().filter(|batch| batch.n > 0)
    }
}

/// Frees a table.
pub(super) fn free<M: Machine>(m: &M, table: QuiescentTable) {
    m.count(Counter::TableReleased, 1);
    table.free(m);
}
