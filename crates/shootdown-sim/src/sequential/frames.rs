//! The physical memory of the sequential machine: a zone for tables, one for base pages, one for huge pages.
//!
//! Only tables have contents. Separate zones keep each dense and every large frame aligned.

use std::cell::{Cell, RefCell};

use shootdown::{EntryAt, Level, NoFrame, PageState, Pfn, TableFrame, table::Descriptor};

use super::{
    architecture::Architecture,
    arena::{self, Arena},
    machine::Sequential,
};

/// The level of huge pages, the only large ones a machine has: 2 MiB on x86-64. None where tables cannot map them.
pub const HUGE_LEVEL: Level = Level(2);

const BASE_ZONE: u64 = 1 << 24;
const HUGE_ZONE: u64 = 1 << 36;

/// One page-table page, and what is known about it.
struct Table<A: Architecture> {
    entries: A::Entries,
    descriptor: Descriptor<Sequential<A>>,
}

/// Numbers that are handed out, lowest unused first unless one came back.
#[derive(Debug, Default)]
struct Pool {
    returned: RefCell<Vec<u64>>,
    next: Cell<u64>,
}

impl Pool {
    fn take(&self) -> Result<u64, NoFrame> {
        if let Some(number) = self.returned.borrow_mut().pop() {
            return Ok(number);
        }
        let next = self.next.get();
        if next >= arena::CAPACITY as u64 {
            return Err(NoFrame);
        }
        self.next.set(next + 1);
        Ok(next)
    }

    fn give_back(&self, number: u64) {
        self.returned.borrow_mut().push(number);
    }
}

pub(super) struct Frames<A: Architecture> {
    tables: Arena<Table<A>>,
    table_pool: Pool,
    base_pages: Arena<PageState<Sequential<A>>>,
    base_pool: Pool,
    huge_pages: Arena<PageState<Sequential<A>>>,
    huge_pool: Pool,
    n_frames_freed: Cell<u64>,
    n_tables_freed: Cell<u64>,
    n_held: Cell<u64>,
    n_left: Cell<Option<u64>>,
}

impl<A: Architecture> Frames<A> {
    /// Base pages in a huge one.
    const HUGE_PAGES: u64 = HUGE_LEVEL.pages::<A>();

    pub(super) fn new() -> Self {
        Frames {
            tables: Arena::new(|_| Table { entries: A::empty_table(), descriptor: Descriptor::new() }),
            table_pool: Pool::default(),
            base_pages: Arena::new(|_| PageState::new()),
            base_pool: Pool::default(),
            huge_pages: Arena::new(|_| PageState::new()),
            huge_pool: Pool::default(),
            n_frames_freed: Cell::new(0),
            n_tables_freed: Cell::new(0),
            n_held: Cell::new(0),
            n_left: Cell::new(None),
        }
    }

    /// Takes one allocation out of what is left.
    fn spend(&self) -> Result<(), NoFrame> {
        match self.n_left.get() {
            Some(0) => return Err(NoFrame),
            Some(n_left) => self.n_left.set(Some(n_left - 1)),
            None => {}
        }
        self.n_held.set(self.n_held.get() + 1);
        Ok(())
    }

    pub(super) fn set_left(&self, n_left: Option<u64>) {
        self.n_left.set(n_left);
    }

    pub(super) fn n_held(&self) -> u64 {
        self.n_held.get()
    }

    fn table(&self, table: TableFrame) -> &Table<A> {
        self.tables.get(table.0.0 as usize)
    }

    pub(super) fn entry(&self, at: EntryAt) -> &Cell<u64> {
        &self.table(at.table).entries.as_ref()[at.index]
    }

    pub(super) fn entries(&self, table: TableFrame) -> &[Cell<u64>] {
        self.table(table).entries.as_ref()
    }

    pub(super) fn descriptor(&self, table: TableFrame) -> &Descriptor<Sequential<A>> {
        &self.table(table).descriptor
    }

    /// Every table there has been; some of them may be free.
    pub(super) fn tables(&self) -> impl Iterator<Item = TableFrame> + use<A> {
        (0..self.table_pool.next.get()).map(|number| TableFrame(Pfn(number)))
    }

    pub(super) fn alloc_table(&self) -> Result<TableFrame, NoFrame> {
        self.spend()?;
        let table = TableFrame(Pfn(self.table_pool.take()?));
        self.entries(table).iter().for_each(|entry| entry.set(0));
        Ok(table)
    }

    pub(super) fn free_table(&self, table: TableFrame) {
        self.n_tables_freed.set(self.n_tables_freed.get() + 1);
        self.n_held.set(self.n_held.get() - 1);
        self.table_pool.give_back(table.0.0);
    }

    pub(super) fn alloc(&self, level: Level) -> Result<Pfn, NoFrame> {
        self.spend()?;
        match level {
            Level::LEAF => Ok(Pfn(BASE_ZONE + self.base_pool.take()?)),
            HUGE_LEVEL if HUGE_LEVEL <= A::HIGHEST_LEAF => {
                Ok(Pfn(HUGE_ZONE + self.huge_pool.take()? * Self::HUGE_PAGES))
            }
            _ => Err(NoFrame),
        }
    }

    pub(super) fn free(&self, pfn: Pfn) {
        self.n_frames_freed.set(self.n_frames_freed.get() + 1);
        self.n_held.set(self.n_held.get() - 1);
        if pfn.0 >= HUGE_ZONE {
            self.huge_pool.give_back((pfn.0 - HUGE_ZONE) / Self::HUGE_PAGES);
        } else {
            self.base_pool.give_back(pfn.0 - BASE_ZONE);
        }
    }

    pub(super) fn page(&self, pfn: Pfn) -> &PageState<Sequential<A>> {
        if pfn.0 >= HUGE_ZONE {
            self.huge_pages.get(((pfn.0 - HUGE_ZONE) / Self::HUGE_PAGES) as usize)
        } else {
            self.base_pages.get((pfn.0 - BASE_ZONE) as usize)
        }
    }

    pub(super) fn n_frames_freed(&self) -> u64 {
        self.n_frames_freed.get()
    }

    pub(super) fn n_tables_freed(&self) -> u64 {
        self.n_tables_freed.get()
    }
}
