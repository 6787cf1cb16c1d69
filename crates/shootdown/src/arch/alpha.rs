//! Alpha: three levels of 1024 entries of 8 bytes, 8 KiB base pages.
//!
//! Hardware writes nothing into an entry. The enable bits stand for *accessed* and *dirty*: while one is off, the first
//! load or store faults, and the kernel turns it on and notes the same in a bit of its own. The fault-on bits say what is
//! allowed at all.
//!
//! The synchronous operations of an Alpha kernel are these of the library, none of which needs a lock around it:
//!
//! | operation | here |
//! |---|---|
//! | flush all | [`flush_kernel`](crate::flush_kernel) of [`Stale::EVERYTHING`](crate::Stale) |
//! | flush an address space | [`Space::flush`](crate::Space::flush) of everything |
//! | flush a page | the same of the page; [`AlphaPolicy`] makes it all of the address space |
//! | a page's instructions | the same: the instruction cache knows the tag, and the address space takes a new one |
//! | all instruction streams | [`call::synchronize_instructions`](crate::call::synchronize_instructions) |
//! | a page that migrates | flush a page: who comes back to an older tag looks at the generation |
//!
//! A CPU whose TLB still has a stricter translation goes on faulting until it drops it: a fault handler that finds nothing
//! to do invalidates the page on its own CPU. What is no longer allowed must go everywhere, as on any machine.

use crate::{
    addr::{Level, Pfn, TableFrame, Vpn, VpnRange},
    format::{Attributes, Entry, EntryFormat},
    policy::{Policy, batches_of},
};

// Alpha Architecture Reference Manual, part II-B (OSF/1), "Page Table Entries"; the bits from 16 up are software's, and
// these two are those of Linux (arch/alpha/include/asm/pgtable.h, 6.12).
const VALID: u64 = 1 << 0;
const FAULT_ON_READ: u64 = 1 << 1;
const FAULT_ON_WRITE: u64 = 1 << 2;
const FAULT_ON_EXECUTE: u64 = 1 << 3;
const ADDRESS_SPACE_MATCH: u64 = 1 << 4;
const GRANULARITY_HINT: u64 = 0b11 << 5;
const KERNEL_READ: u64 = 1 << 8;
const USER_READ: u64 = 1 << 9;
const KERNEL_WRITE: u64 = 1 << 12;
const USER_WRITE: u64 = 1 << 13;
const DIRTY: u64 = 1 << 17;
const ACCESSED: u64 = 1 << 18;
const FRAME_SHIFT: u32 = 32;

const FAULT_ON: u64 = FAULT_ON_READ | FAULT_ON_WRITE | FAULT_ON_EXECUTE;
const ENABLES: u64 = KERNEL_READ | USER_READ | KERNEL_WRITE | USER_WRITE;
const ATTRIBUTES: u64 = FAULT_ON | ENABLES | DIRTY | ACCESSED;

// A cached copy may have these although memory no longer does; it allows what is not allowed any more.
const FLUSH_ON_CLEAR: u64 = VALID | ENABLES;
// The same, the other way round.
const FLUSH_ON_SET: u64 = FAULT_ON;
// A cached copy that differs in one of these translates for others, or for more pages.
const FLUSH_ON_CHANGE: u64 = ADDRESS_SPACE_MATCH | GRANULARITY_HINT;

/// The root entry through which the page tables are data: it points at the root itself, so a walk that begins with it
/// ends one level early, at a table.
pub const SELF_MAP_SLOT: usize = 1023;

/// Root entries for user addresses; the others are the kernel's.
const USER_SLOTS: u64 = 512;

/// The Alpha entry format.
///
/// Tables cannot map pages above level 1. What the architecture has instead is the granularity hint: an aligned run of 8,
/// 64 or 512 like entries may be cached as one. Entries made here have none, so each can be changed by itself.
#[derive(Clone, Copy, Debug)]
pub struct Alpha;

impl EntryFormat for Alpha {
    const LEVELS: u8 = 3;
    const INDEX_BITS: u32 = 10;
    const PAGE_SHIFT: u32 = 13;
    const HIGHEST_LEAF: Level = Level::LEAF;
    // Nothing in the manual says that it does.
    const FAULT_FORGETS: bool = false;
    // The library must not walk down the self-map: it would find the root below itself.
    const REACH: VpnRange = VpnRange::from_len(Vpn(0), USER_SLOTS * Self::ROOT.pages::<Self>());
    // Root entries 768 to 1022, below the self-map; 512 to 767 are those of the superpage, which no table translates.
    const KERNEL: VpnRange =
        VpnRange::new(Vpn(0xffff_fe00_0000_0000 >> Self::PAGE_SHIFT), Vpn(0xffff_fffe_0000_0000 >> Self::PAGE_SHIFT));

    #[inline]
    fn leaf(frame: Pfn, _: Level, attributes: Attributes) -> u64 {
        frame.0 << FRAME_SHIFT | VALID | bits(attributes)
    }

    #[inline]
    fn table(table: TableFrame) -> u64 {
        // Without address-space match, so what the self-map shows of a table belongs to one address space.
        table.0.0 << FRAME_SHIFT | VALID | ENABLES | DIRTY | ACCESSED
    }

    #[inline]
    fn decode(raw: u64, level: Level) -> Entry {
        let frame = Pfn(raw >> FRAME_SHIFT);
        if raw & VALID == 0 {
            Entry::Absent
        } else if level == Level::LEAF {
            Entry::Leaf(frame)
        } else {
            Entry::Table(TableFrame(frame))
        }
    }

    #[inline]
    fn attributes(raw: u64) -> Attributes {
        Attributes {
            writable: raw & FAULT_ON_WRITE == 0,
            executable: raw & FAULT_ON_EXECUTE == 0,
            user: raw & FAULT_ON_READ == 0,
            accessed: raw & ACCESSED != 0,
            dirty: raw & DIRTY != 0,
        }
    }

    #[inline]
    fn with_attributes(raw: u64, attributes: Attributes) -> u64 {
        raw & !ATTRIBUTES | bits(attributes)
    }

    // Both bits are software's, by way of faults.
    #[inline]
    fn hardware_may_write(_: u64) -> bool {
        false
    }

    #[inline]
    fn needs_flush(old: u64, new: u64) -> bool {
        let (cleared, set) = (old & !new, new & !old);
        old & VALID != 0
            && (cleared & FLUSH_ON_CLEAR != 0 || set & FLUSH_ON_SET != 0 || (cleared | set) & FLUSH_ON_CHANGE != 0)
    }
}

/// Encodes the entry of [`SELF_MAP_SLOT`] in the root table `root`: the kernel's, for reading and writing.
#[must_use]
pub const fn self_map(root: TableFrame) -> u64 {
    root.0.0 << FRAME_SHIFT | VALID | ADDRESS_SPACE_MATCH | KERNEL_READ | KERNEL_WRITE
}

/// Linux's numbers on Alpha: no ranges (`MMU_GATHER_NO_RANGE`), so that every flush drops everything.
#[derive(Clone, Copy, Debug)]
pub struct AlphaPolicy;

impl Policy for AlphaPolicy {
    const FLUSH_CEILING: u64 = 0;
    const GATHER_BATCHES: usize = batches_of(1022);
}

/// Pages without `user` are nobody's (`PROT_NONE`): they fault on reads in the kernel as well.
const fn bits(attributes: Attributes) -> u64 {
    when(!attributes.user, FAULT_ON_READ)
        | when(!attributes.writable, FAULT_ON_WRITE)
        | when(!attributes.executable, FAULT_ON_EXECUTE)
        | when(attributes.accessed, ACCESSED | KERNEL_READ | when(attributes.user, USER_READ))
        | when(attributes.dirty, DIRTY | KERNEL_WRITE | when(attributes.user, USER_WRITE))
}

const fn when(condition: bool, bits: u64) -> u64 {
    if condition { bits } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::VirtAddr;

    const FRAME: Pfn = Pfn(0x1234);

    fn leaf(attributes: Attributes) -> u64 {
        Alpha::leaf(FRAME, Level::LEAF, attributes)
    }

    /// The values of `asm/pgtable.h`: `_PAGE_VALID` 0x1, `_PAGE_FOR` 0x2, `_PAGE_FOW` 0x4, `_PAGE_FOE` 0x8, `_PAGE_ASM`
    /// 0x10, `_PAGE_KRE` 0x100, `_PAGE_URE` 0x200, `_PAGE_KWE` 0x1000, `_PAGE_UWE` 0x2000, `_PAGE_DIRTY` 0x20000,
    /// `_PAGE_ACCESSED` 0x40000, and the frame from bit 32 on.
    #[test]
    fn entries_carry_the_manuals_bits() {
        let frame = 0x1234_u64 << 32;
        // Accessed and read-only, so fault-on-write; data, so fault-on-execute.
        assert_eq!(leaf(Attributes::USER_READ), frame | 0x40000 | 0x300 | 0xc | 0x1);
        // Writable and clean: no store is enabled yet. Then dirty: all are.
        assert_eq!(leaf(Attributes::USER_WRITE), frame | 0x40000 | 0x300 | 0x8 | 0x1);
        let dirty = Attributes { dirty: true, ..Attributes::USER_WRITE };
        assert_eq!(leaf(dirty), frame | 0x60000 | 0x3300 | 0x8 | 0x1);
        // `PROT_NONE`: valid, and all three kinds of access fault.
        assert_eq!(leaf(Attributes::default()), frame | 0xf);
        // `_PAGE_TABLE` and `PAGE_KERNEL`.
        assert_eq!(Alpha::table(TableFrame(FRAME)), frame | 0x6_3301);
        assert_eq!(self_map(TableFrame(FRAME)), frame | 0x1111);
    }

    /// 43 bits in three levels over 8 KiB pages; level 2 entries span 8 MiB (`PMD_SIZE`), level 3 entries 8 GiB
    /// (`PGDIR_SIZE`); user addresses end at 2^42 (`TASK_SIZE`).
    #[test]
    fn the_geometry_is_the_manuals() {
        assert_eq!(u32::from(Alpha::LEVELS) * Alpha::INDEX_BITS + Alpha::PAGE_SHIFT, 43);
        assert_eq!(Alpha::ENTRIES * 8, 1 << Alpha::PAGE_SHIFT, "a table is a page");
        assert_eq!(Level(2).pages::<Alpha>() << Alpha::PAGE_SHIFT, 1 << 23);
        assert_eq!(Level(3).pages::<Alpha>() << Alpha::PAGE_SHIFT, 1 << 33);
        assert_eq!(Alpha::REACH.end.address::<Alpha>(), VirtAddr(0x400_0000_0000));
    }

    /// The entry of an address is found, as data, at `VPTB + (address >> 10 & !7)`: through the slot, and then by the
    /// indices of the address itself, one level further down each.
    #[test]
    fn the_self_map_shows_the_entry_of_every_address() {
        const VPTB: u64 = 0xffff_fffe_0000_0000;
        const ADDRESS: u64 = 0x123_4567_89ab;
        const TRANSLATED: u64 = (1 << 43) - 1;
        let (page, shown) = (VirtAddr(ADDRESS).page::<Alpha>(), VirtAddr((VPTB + (ADDRESS >> 10 & !7)) & TRANSLATED));
        let table = shown.page::<Alpha>();
        assert_eq!(table.index::<Alpha>(Level(3)), SELF_MAP_SLOT);
        assert_eq!(table.index::<Alpha>(Level(2)), page.index::<Alpha>(Level(3)));
        assert_eq!(table.index::<Alpha>(Level(1)), page.index::<Alpha>(Level(2)));
        assert_eq!(shown.0 as usize % (1 << Alpha::PAGE_SHIFT), page.index::<Alpha>(Level(1)) * 8);
        assert!(!Alpha::REACH.contains(table), "the library never goes there");
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for bits in 0..32_u8 {
            let attributes = Attributes {
                writable: bits & 1 != 0,
                executable: bits & 2 != 0,
                user: bits & 4 != 0,
                dirty: bits & 8 != 0,
                accessed: bits & 16 != 0,
            };
            let raw = leaf(attributes);
            assert_eq!(Alpha::decode(raw, Level::LEAF), Entry::Leaf(FRAME));
            assert_eq!(Alpha::attributes(raw), attributes);
            let hinted = raw | GRANULARITY_HINT;
            assert_eq!(Alpha::with_attributes(hinted, Attributes::USER_READ), leaf(Attributes::USER_READ) | 0x60);
        }
        let table = TableFrame(FRAME);
        for level in [Level(2), Level(3)] {
            assert_eq!(Alpha::decode(Alpha::table(table), level), Entry::Table(table), "no page is mapped there");
        }
        assert_eq!(Alpha::decode(0, Level::LEAF), Entry::Absent);
    }

    #[test]
    fn what_takes_a_right_away_needs_a_flush_and_what_gives_one_does_not() {
        let dirty = Attributes { dirty: true, ..Attributes::USER_WRITE };
        let takes = [
            (dirty, Attributes { dirty: false, ..dirty }),
            (dirty, Attributes { writable: false, ..dirty }),
            (dirty, Attributes { accessed: false, ..dirty }),
            (Attributes { executable: true, ..dirty }, dirty),
            (Attributes::USER_READ, Attributes { user: false, ..Attributes::USER_READ }),
        ];
        for (more, less) in takes {
            assert!(Alpha::needs_flush(leaf(more), leaf(less)), "{more:?} to {less:?}");
            assert!(!Alpha::needs_flush(leaf(less), leaf(more)), "{less:?} to {more:?}");
        }
        let raw = leaf(dirty);
        assert!(Alpha::needs_flush(raw | GRANULARITY_HINT, raw) && Alpha::needs_flush(raw, raw | ADDRESS_SPACE_MATCH));
        assert!(Alpha::needs_flush(raw, 0) && !Alpha::needs_flush(0, raw));
    }
}
