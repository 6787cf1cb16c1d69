//! The hardware that a process cannot have: frames, and for each CPU a walker with its TLB.
//!
//! A kernel replaces nothing in this file, it runs on the real thing. The TLB is as forgetful as it must be and no
//! more: it drops exactly what it is told to, keeps pointers to tables apart from translations, and so shows what a
//! processor only shows on a bad day. Every frame has an owner, and every use of a frame through the TLB asks who that
//! is: a use of a frame that was freed, or is somebody else's by now, is *stale*, the one thing that must never happen.
#![expect(clippy::disallowed_types, reason = "this is the memory that machine words are made of")]

use std::{
    cell::Cell,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::*},
};

use shootdown::{
    Attributes, Entry, EntryAt, EntryFormat, Hint, Invalidate, Level, Pfn, SpaceId, TableFrame, Vpn, Word,
    arch::x86_64::X86_64,
};

/// Frames that can be page tables; few, so that they run out now and then and are soon reused.
pub(crate) const TABLES: Range<u64> = 0..16;
/// Frames for data. They have owners and no contents.
pub(crate) const DATA: Range<u64> = 16..208;

const LEVELS: usize = X86_64::LEVELS as usize;
/// Translations of each level that a TLB has room for.
const N_SETS: usize = 64;

const FREE: u64 = 0;
const TABLE: u64 = 1;
const PAGE: u64 = 1 << 62;
const READ_ONLY: u64 = 1 << 63;

/// Says who uses a frame: nobody, a page table, one page of one address space, or a mapping of the kernel's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(u64);

impl Owner {
    /// The page tables.
    pub(crate) const TABLE: Owner = Owner(TABLE);

    /// One page of one address space.
    pub(crate) const fn page(space: SpaceId, page: Vpn) -> Owner {
        Owner(PAGE | page.0 << 8 | space.0 as u64)
    }

    /// One mapping of the kernel's own, by a number.
    pub(crate) const fn mapping(number: u64) -> Owner {
        Owner(PAGE | number << 8 | 0xff)
    }
}

/// One machine word.
pub(crate) struct HostWord(pub(super) AtomicU64);

impl Word for HostWord {
    const ZERO: Self = HostWord(AtomicU64::new(0));
}

/// Physical memory: what the tables hold, and who owns each frame.
pub(crate) struct Memory {
    // The entries of the table in frame n begin at n × 512.
    entries: Box<[AtomicU64]>,
    owners: Box<[AtomicU64]>,
    n_stale: AtomicU64,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let zeros = |n_words| (0..n_words).map(|_| AtomicU64::new(0)).collect();
        Memory {
            entries: zeros(TABLES.end as usize * X86_64::ENTRIES),
            owners: zeros(DATA.end as usize),
            n_stale: AtomicU64::new(0),
        }
    }

    pub(crate) fn entry(&self, at: EntryAt) -> &AtomicU64 {
        &self.entries[at.table.0.0 as usize * X86_64::ENTRIES + at.index]
    }

    fn owner(&self, frame: Pfn) -> &AtomicU64 {
        &self.owners[frame.0 as usize]
    }

    /// Takes a free frame out of `pool`. No lock: any context may call it.
    pub(crate) fn take(&self, pool: Range<u64>, owner: Owner) -> Option<Pfn> {
        // ORDER(free/take): the last owner's use of the frame comes before ours.
        pool.map(Pfn).find(|frame| self.owner(*frame).compare_exchange(FREE, owner.0, Acquire, Relaxed).is_ok())
    }

    /// Takes a free frame for a page table and clears it.
    pub(crate) fn take_table(&self) -> Option<TableFrame> {
        let table = TableFrame(self.take(TABLES, Owner::TABLE)?);
        for index in 0..X86_64::ENTRIES {
            self.entry(EntryAt { table, index }).store(0, Relaxed);
        }
        Some(table)
    }

    /// Takes a frame back.
    ///
    /// # Panics
    /// If it is free already.
    pub(crate) fn free(&self, frame: Pfn) {
        // ORDER(free/take): as in `take`.
        let owner = self.owner(frame).swap(FREE, Release);
        assert_ne!(owner, FREE, "frame {frame:?} is freed twice");
    }

    /// Hands a frame that is taken to another owner. Only who has taken it may.
    #[allow(dead_code, reason = "a test of kernel mappings uses it")]
    pub(crate) fn own(&self, frame: Pfn, owner: Owner) {
        self.owner(frame).store(owner.0, Relaxed);
    }

    /// Tells whether somebody has the frame.
    #[allow(dead_code, reason = "a test of kernel mappings uses it")]
    pub(crate) fn is_taken(&self, frame: Pfn) -> bool {
        self.owner(frame).load(Relaxed) != FREE
    }

    /// Says that stores through any translation of `frame` are wrong from now on.
    pub(crate) fn forbid_stores(&self, frame: Pfn) {
        self.owner(frame).fetch_or(READ_ONLY, Release);
    }

    /// Says that stores are right again.
    pub(crate) fn allow_stores(&self, frame: Pfn) {
        self.owner(frame).fetch_and(!READ_ONLY, Release);
    }

    /// Returns how many frames are not free.
    pub(crate) fn n_taken(&self) -> u64 {
        self.owners.iter().filter(|owner| owner.load(Relaxed) != FREE).count() as u64
    }

    /// Returns how often a CPU used a frame that it should have forgotten.
    pub(crate) fn n_stale(&self) -> u64 {
        self.n_stale.load(Relaxed)
    }

    fn note_stale(&self) {
        self.n_stale.fetch_add(1, Relaxed);
    }

    /// Reads an entry as a hardware walker does; `None` where what it follows is no table any more.
    fn walk(&self, at: EntryAt) -> Option<u64> {
        if self.owner(at.table.0).load(Acquire) != TABLE {
            self.note_stale();
            return None;
        }
        // ORDER(map/walk): a table that this entry points at is read zeroed or filled, never as its last owner left it.
        Some(self.entry(at).load(Acquire))
    }
}

/// One CPU's memory management unit. Only that CPU uses it, with interrupts masked.
pub(crate) struct Mmu {
    root: Cell<Option<(TableFrame, SpaceId)>>,
    // By level and lowest bits of the index: whose entry, and the entry. Absent entries are never remembered.
    remembered: [[Cell<(Vpn, u64)>; N_SETS]; LEVELS],
}

impl Mmu {
    pub(crate) const fn new() -> Self {
        Mmu { root: Cell::new(None), remembered: [const { [const { Cell::new((Vpn(0), 0)) }; N_SETS] }; LEVELS] }
    }

    pub(crate) fn load_root(&self, root: Option<(TableFrame, SpaceId)>) {
        self.root.set(root);
        self.invalidate(Invalidate::All);
    }

    pub(crate) fn invalidate(&self, what: Invalidate) {
        for level in (1..=X86_64::LEVELS).map(Level) {
            match what {
                Invalidate::Leaf(page, _) => self.forget(page, level, |entry| matches!(entry, Entry::Leaf(_))),
                Invalidate::Walk(page, _) => self.forget(page, level, |_| true),
                Invalidate::All | Invalidate::EveryTag => {
                    self.remembered[usize::from(level.0) - 1].iter().for_each(|set| set.set((Vpn(0), 0)))
                }
            }
        }
    }

    fn forget(&self, page: Vpn, level: Level, which: impl Fn(Entry) -> bool) {
        if self.recall(page, level).is_some_and(|entry| which(X86_64::decode(entry, level))) {
            self.set(page, level).set((Vpn(0), 0));
        }
    }

    fn recall(&self, page: Vpn, level: Level) -> Option<u64> {
        let (of, entry) = self.set(page, level).get();
        (entry != 0 && of == page.align_down::<X86_64>(level)).then_some(entry)
    }

    fn set(&self, page: Vpn, level: Level) -> &Cell<(Vpn, u64)> {
        &self.remembered[usize::from(level.0) - 1][page.index::<X86_64>(level) % N_SETS]
    }

    /// Uses `page` of the loaded address space as one instruction does; tells whether it was permitted, or else faulted.
    pub(crate) fn access(&self, memory: &Memory, page: Vpn, wanted: Attributes) -> bool {
        let Some((_, space)) = self.root.get() else {
            return false;
        };
        self.access_of(memory, page, wanted, Owner::page(space, page))
    }

    /// The same, where the frame must be this owner's.
    pub(crate) fn access_of(&self, memory: &Memory, page: Vpn, wanted: Attributes, expected: Owner) -> bool {
        let translation = self.translate(memory, page, wanted).or_else(|| {
            // SDM 3A §4.10.4.1 (rev 86): a page fault drops what is remembered for its address.
            self.invalidate(Invalidate::Walk(page, Hint::at(Level::LEAF)));
            self.translate(memory, page, wanted)
        });
        let Some(frame) = translation else {
            return false;
        };
        let owner = memory.owner(frame).load(Acquire);
        let is_ours = owner & !READ_ONLY == expected.0;
        if !is_ours || (wanted.writable && owner & READ_ONLY != 0) {
            memory.note_stale();
        }
        true
    }

    /// Begins at the lowest entry remembered on the path to `page` and walks down from there.
    fn translate(&self, memory: &Memory, page: Vpn, wanted: Attributes) -> Option<Pfn> {
        let (root, _) = self.root.get()?;
        let remembered = (1..=X86_64::LEVELS).map(Level).find_map(|level| Some((level, self.recall(page, level)?)));
        let (mut level, mut entry) = remembered.unwrap_or((Level(X86_64::LEVELS + 1), X86_64::table(root)));
        loop {
            match X86_64::decode(entry, level) {
                Entry::Table(table) | Entry::SharedTable(table) => {
                    level = level.below()?;
                    entry = memory.walk(EntryAt { table, index: page.index::<X86_64>(level) })?;
                    if entry != 0 {
                        self.set(page, level).set((page.align_down::<X86_64>(level), entry));
                    }
                }
                Entry::Leaf(frame) => return X86_64::attributes(entry).permits(wanted).then_some(frame),
                Entry::Absent => return None,
            }
        }
    }
}
