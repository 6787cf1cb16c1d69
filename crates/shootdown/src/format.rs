//! What a page-table entry looks like: pure data, one implementation for each architecture.

use crate::addr::{Level, Pfn, TableFrame, Vpn, VpnRange};

/// What an entry means at its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Nothing: a walk ends here with a fault.
    Absent,
    /// A translation to this frame, or to the naturally aligned run of frames that starts here above level 1.
    Leaf(Pfn),
    /// The next table of the walk.
    Table(TableFrame),
    /// The same to hardware, and a table that other address spaces may have too: see [`share`](crate::share).
    SharedTable(TableFrame),
}

impl Entry {
    /// Returns the next table of the walk, whoever has it.
    #[inline]
    #[must_use]
    pub const fn table(self) -> Option<TableFrame> {
        match self {
            Entry::Table(table) | Entry::SharedTable(table) => Some(table),
            Entry::Leaf(_) | Entry::Absent => None,
        }
    }
}

/// What a leaf permits, and what hardware has noted in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// Stores are allowed.
    pub writable: bool,
    /// Instruction fetches are allowed.
    pub executable: bool,
    /// User mode may use it.
    pub user: bool,
    /// It has been used, or is about to be.
    pub accessed: bool,
    /// A store has gone through it, or is about to.
    pub dirty: bool,
}

impl Attributes {
    /// What user mode may read and nothing more.
    pub const USER_READ: Attributes =
        Attributes { writable: false, executable: false, user: true, accessed: true, dirty: false };

    /// What user mode may read and write.
    pub const USER_WRITE: Attributes = Attributes { writable: true, ..Attributes::USER_READ };

    /// Tells whether everything `other` permits is permitted here too. What hardware notes is no permission.
    #[must_use]
    pub const fn permits(self, other: Attributes) -> bool {
        (self.writable || !other.writable) && (self.executable || !other.executable) && (self.user || !other.user)
    }
}

/// The entry format and the geometry of one architecture's page tables.
pub trait EntryFormat: 'static {
    /// The root table's level; a walk reads this many entries.
    const LEVELS: u8;
    /// Address bits that one level translates.
    const INDEX_BITS: u32;
    /// Base page size as a power of two, in bytes.
    const PAGE_SHIFT: u32;
    /// The highest level whose entries can map pages.
    const HIGHEST_LEAF: Level;
    /// Entries in one table.
    const ENTRIES: usize = 1 << Self::INDEX_BITS;
    /// The root table's level.
    const ROOT: Level = Level(Self::LEVELS);
    /// The pages the library may map: all that a root table translates, unless some of its entries are for others.
    const REACH: VpnRange = VpnRange::from_len(Vpn(0), 1 << (Self::INDEX_BITS * Self::LEVELS as u32));

    /// The pages that only the kernel may map, in whole root entries, and by way of [`kspace`](crate::kspace) alone: named by
    /// their canonical addresses. None where the library has nothing to do with them.
    const KERNEL: VpnRange = VpnRange::new(Vpn(0), Vpn(0));

    /// The bit that makes a pointer to a table one to a [shared table](Entry::SharedTable): one that hardware does not look
    /// at. 0 where tables are not shared.
    const SHARED: u64 = 0;

    /// Whether a CPU that faults over what a translation does not permit forgets that translation, as on x86 (SDM 3A
    /// §4.10.4.1). Otherwise [`Leaf::set_access_flags`](crate::Leaf::set_access_flags) makes it.
    const FAULT_FORGETS: bool = true;

    /// Encodes a translation. `level` is from 1 to [`HIGHEST_LEAF`](EntryFormat::HIGHEST_LEAF).
    fn leaf(frame: Pfn, level: Level, attributes: Attributes) -> u64;

    /// Encodes a pointer to the next table.
    fn table(table: TableFrame) -> u64;

    /// Says what `raw` means in a table of this level.
    fn decode(raw: u64, level: Level) -> Entry;

    /// Reads what the leaf `raw` permits.
    fn attributes(raw: u64) -> Attributes;

    /// Returns the leaf `raw` with other attributes and all else as it was.
    fn with_attributes(raw: u64, attributes: Attributes) -> u64;

    /// Returns `raw` with what it permits replaced. What hardware has noted stays; what `permissions` say of that means nothing.
    #[inline]
    fn with_permissions(raw: u64, permissions: Attributes) -> u64 {
        let Attributes { accessed, dirty, .. } = Self::attributes(raw);
        Self::with_attributes(raw, Attributes { accessed, dirty, ..permissions })
    }

    /// Tells whether `next` translates to the base frame after that of `raw` and is like it otherwise. Both are leaves of
    /// level 1.
    #[inline]
    fn continues(raw: u64, next: u64) -> bool {
        match (Self::decode(raw, Level::LEAF), Self::decode(next, Level::LEAF)) {
            (Entry::Leaf(frame), Entry::Leaf(after)) => {
                after.0 == frame.0 + 1 && Self::attributes(raw) == Self::attributes(next)
            }
            _ => false,
        }
    }

    /// Tells whether hardware may still write into the entry `raw`, which is read under the page-table lock: its accessed
    /// and dirty bits, unless both are set or it sets none. If not, a plain store clears it and loses nothing.
    #[inline]
    fn hardware_may_write(raw: u64) -> bool {
        let _ = raw;
        true
    }

    /// Tells whether a translation cached from `old` must go before the change to `new` counts as done.
    ///
    /// Both are leaves for the same frame.
    fn needs_flush(old: u64, new: u64) -> bool;
}
