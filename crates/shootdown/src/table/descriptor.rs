//! The life of a page-table page: one way in, one way out, and what is known about it in between.

use super::sharers::Sharers;
use crate::{
    addr::{Level, Pfn, TableFrame},
    frame::NoFrame,
    lock::Locked,
    machine::Machine,
    word::Own,
};

// The level sits in the low bits of `state`; 0 is "no table".
const LEVEL: u64 = 0xff;
const RESERVED: u64 = 0x100;

/// What the library knows about one page-table page. The kernel places one for each frame that may become a table.
///
/// Its words belong to whoever holds the page-table lock of the tables it is part of. While the table may be
/// [shared](crate::share), those that change belong to its own lock.
#[doc(alias = "ptdesc")]
pub struct Descriptor<M: Machine> {
    state: Own<M>,
    frame: Own<M>,
    n_entries: Own<M>,
    sharers: Locked<M, Sharers<M>>,
}

impl<M: Machine> Default for Descriptor<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> Descriptor<M> {
    /// Makes the descriptor of a frame that is no table.
    pub const fn new() -> Self {
        Descriptor { state: Own::ZERO, frame: Own::ZERO, n_entries: Own::ZERO, sharers: Locked::new(Sharers::NONE) }
    }

    /// Returns the table's level, or `None` where the frame is no table.
    #[must_use]
    pub fn level(&self, m: &M) -> Option<Level> {
        match self.state.get(m) & LEVEL {
            0 => None,
            level => Some(Level(level as u8)),
        }
    }

    /// Returns the frame of the table this describes, or `None` where it is no table.
    #[must_use]
    pub fn frame(&self, m: &M) -> Option<TableFrame> {
        self.level(m).map(|_| TableFrame(Pfn(self.frame.get(m))))
    }

    /// Tells whether the table is one that is never freed.
    #[must_use]
    pub fn is_reserved(&self, m: &M) -> bool {
        self.state.get(m) & RESERVED != 0
    }

    /// Returns how many entries the library has put into the table.
    #[must_use]
    pub fn n_entries(&self, m: &M) -> u64 {
        self.n_entries.get(m)
    }

    pub(crate) const fn sharers(&self) -> &Locked<M, Sharers<M>> {
        &self.sharers
    }

    pub(crate) fn entries_added(&self, m: &M, n_entries: u64) {
        self.n_entries.set(m, self.n_entries.get(m) + n_entries);
    }

    pub(crate) fn entries_removed(&self, m: &M, count: u64) {
        let n_entries = self.n_entries.get(m);
        // Also in release: a table that is thought to be empty is freed.
        assert!(n_entries >= count, "more entries left a table than it had");
        self.n_entries.set(m, n_entries - count);
    }

    fn becomes_table(&self, m: &M, table: TableFrame, state: u64) {
        self.frame.set(m, table.0.0);
        self.n_entries.set(m, 0);
        self.state.set(m, state);
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.state.visit("table.state", visitor);
        self.frame.visit("table.frame", visitor);
        self.n_entries.visit("table.n_entries", visitor);
        self.sharers.visit(visitor, |sharers, visitor| sharers.visit(visitor));
    }
}

/// Makes a table page of this level; nothing points at it yet.
pub(crate) fn create<M: Machine>(m: &M, level: Level) -> Result<TableFrame, NoFrame> {
    let table = m.alloc_table()?;
    if let Err(error) = m.construct_table(table, level) {
        m.free_table(table);
        return Err(error);
    }
    m.descriptor(table).becomes_table(m, table, u64::from(level.0));
    Ok(table)
}

/// Ends a table page. Nothing, no walker and no walk cache, may reach it any more.
///
/// # Panics
/// If the page is no table, still has entries, or is reserved.
pub(super) fn destroy<M: Machine>(m: &M, table: TableFrame) {
    let descriptor = m.descriptor(table);
    assert!(!descriptor.is_reserved(m), "a reserved table is never freed");
    assert!(descriptor.n_entries(m) == 0, "a table with entries cannot be freed");
    let Some(level) = descriptor.level(m) else {
        panic!("a frame that is no table cannot be freed as one");
    };
    m.destruct_table(table, level);
    descriptor.state.set(m, 0);
    m.free_table(table);
}

/// Declares that a frame has been a table since before the library ran, as the boot tables are: it is never freed.
///
/// # Panics
/// If the library already knows the frame as a table.
pub fn reserve<M: Machine>(m: &M, table: TableFrame, level: Level) {
    let descriptor = m.descriptor(table);
    assert!(descriptor.level(m).is_none(), "the frame is a table already");
    descriptor.becomes_table(m, table, RESERVED | u64::from(level.0));
}
