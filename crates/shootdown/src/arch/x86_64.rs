//! x86-64 with 4-level paging: 512 entries of 8 bytes a table, 4 KiB base pages.

use crate::{
    addr::{Level, Pfn, TableFrame, Vpn, VpnRange},
    format::{Attributes, Entry, EntryFormat},
};

// SDM 3A §4.5.4, tables 4-15 to 4-20.
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const PAGE_SIZE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
// Ignored in every entry.
const SOFTWARE: u64 = 1 << 9;
const NO_EXECUTE: u64 = 1 << 63;
const PROTECTION_KEY: u64 = 0xf << 59;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
const ATTRIBUTES: u64 = WRITABLE | USER | ACCESSED | DIRTY | NO_EXECUTE;

// A cached copy may hold these although memory no longer does; losing them silently loses a store or an access.
const FLUSH_ON_CLEAR: u64 = PRESENT | ACCESSED | DIRTY;
// A cached copy that differs in one of these translates differently.
const FLUSH_ON_CHANGE: u64 =
    WRITABLE | USER | WRITE_THROUGH | CACHE_DISABLE | PAGE_SIZE | GLOBAL | PROTECTION_KEY | NO_EXECUTE;

/// The x86-64 entry format, 4 levels.
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

impl EntryFormat for X86_64 {
    const LEVELS: u8 = 4;
    const INDEX_BITS: u32 = 9;
    const PAGE_SHIFT: u32 = 12;
    const HIGHEST_LEAF: Level = Level(3);
    const SHARED: u64 = SOFTWARE;
    // From 0xffff800000000000 to the end: canonical addresses repeat bit 47 (SDM 1 §3.3.7.1).
    const KERNEL: VpnRange = VpnRange::new(Vpn(0xffff_8000_0000_0000 >> 12), Vpn(1 << 52));
    // The lower half of the canonical addresses. In the upper half of a root the kernel keeps tables of its own, which an
    // unmap of everything must not go into.
    const REACH: VpnRange = VpnRange::from_len(Vpn(0), 1 << (Self::INDEX_BITS * Self::LEVELS as u32 - 1));

    #[inline]
    fn leaf(frame: Pfn, level: Level, attributes: Attributes) -> u64 {
        (frame.0 << Self::PAGE_SHIFT) & FRAME | PRESENT | when(level > Level::LEAF, PAGE_SIZE) | bits(attributes)
    }

    #[inline]
    fn table(table: TableFrame) -> u64 {
        // Permissions of the levels are combined, so tables permit everything and the leaf decides.
        (table.0.0 << Self::PAGE_SHIFT) & FRAME | PRESENT | WRITABLE | USER | ACCESSED
    }

    #[inline]
    fn decode(raw: u64, level: Level) -> Entry {
        let frame = Pfn((raw & FRAME) >> Self::PAGE_SHIFT);
        if raw & PRESENT == 0 {
            Entry::Absent
        } else if level == Level::LEAF || raw & PAGE_SIZE != 0 {
            Entry::Leaf(frame)
        } else if raw & Self::SHARED != 0 {
            Entry::SharedTable(TableFrame(frame))
        } else {
            Entry::Table(TableFrame(frame))
        }
    }

    #[inline]
    fn attributes(raw: u64) -> Attributes {
        Attributes {
            writable: raw & WRITABLE != 0,
            executable: raw & NO_EXECUTE == 0,
            user: raw & USER != 0,
            accessed: raw & ACCESSED != 0,
            dirty: raw & DIRTY != 0,
        }
    }

    #[inline]
    fn with_attributes(raw: u64, attributes: Attributes) -> u64 {
        raw & !ATTRIBUTES | bits(attributes)
    }

    #[inline]
    fn with_permissions(raw: u64, permissions: Attributes) -> u64 {
        let permissions = Attributes { accessed: false, dirty: false, ..permissions };
        raw & !(ATTRIBUTES & !(ACCESSED | DIRTY)) | bits(permissions)
    }

    #[inline]
    fn continues(raw: u64, next: u64) -> bool {
        next.wrapping_sub(raw) == 1 << Self::PAGE_SHIFT
    }

    // SDM 3A §4.8: the processor sets a flag that is clear. Who stores through a translation that it remembers as clean
    // looks here again and finds it dirty.
    #[inline]
    fn hardware_may_write(raw: u64) -> bool {
        raw & (ACCESSED | DIRTY) != ACCESSED | DIRTY
    }

    #[inline]
    fn needs_flush(old: u64, new: u64) -> bool {
        old & PRESENT != 0 && (old & !new & FLUSH_ON_CLEAR != 0 || (old ^ new) & FLUSH_ON_CHANGE != 0)
    }
}

const fn bits(attributes: Attributes) -> u64 {
    when(attributes.writable, WRITABLE)
        | when(attributes.user, USER)
        | when(attributes.accessed, ACCESSED)
        | when(attributes.dirty, DIRTY)
        | when(!attributes.executable, NO_EXECUTE)
}

const fn when(condition: bool, bit: u64) -> u64 {
    if condition { bit } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_carry_the_manuals_bits() {
        // SDM 3A table 4-20: present, writable, user, accessed, dirty, no-execute over frame 0x1234.
        let attributes = Attributes { dirty: true, ..Attributes::USER_WRITE };
        assert_eq!(X86_64::leaf(Pfn(0x1234), Level(1), attributes), 0x8000_0000_0123_4067);
        // Table 4-18: the page-size bit makes a level 2 entry map 2 MiB.
        assert_eq!(X86_64::leaf(Pfn(0x1200), Level(2), Attributes::USER_READ), 0x8000_0000_0120_00a5);
        assert_eq!(X86_64::table(TableFrame(Pfn(0x77))), 0x7_7027);
    }

    #[test]
    fn the_upper_half_is_the_kernels() {
        assert!(X86_64::REACH.contains(Vpn(0x7fff_ffff_ffff >> 12)));
        // Where the first kernel address lies in a root table: entry 256.
        assert!(!X86_64::REACH.contains(Vpn(256 << 27)));
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for level in [Level(1), Level(2), Level(3)] {
            for bits in 0..32_u8 {
                let attributes = Attributes {
                    writable: bits & 1 != 0,
                    executable: bits & 2 != 0,
                    user: bits & 4 != 0,
                    dirty: bits & 8 != 0,
                    accessed: bits & 16 != 0,
                };
                let raw = X86_64::leaf(Pfn(0x3_0000), level, attributes);
                assert_eq!(X86_64::decode(raw, level), Entry::Leaf(Pfn(0x3_0000)));
                assert_eq!(X86_64::attributes(raw), attributes);
                let read_only = X86_64::with_permissions(raw, Attributes::USER_READ);
                let Attributes { accessed, dirty, .. } = attributes;
                assert_eq!(X86_64::attributes(read_only), Attributes { accessed, dirty, ..Attributes::USER_READ });
                let plain = X86_64::with_attributes(raw, Attributes::USER_READ);
                assert_eq!(plain, X86_64::leaf(Pfn(0x3_0000), level, Attributes::USER_READ));
            }
        }
        let table = TableFrame(Pfn(5));
        assert_eq!(X86_64::decode(X86_64::table(table), Level(2)), Entry::Table(table));
        assert_eq!(X86_64::decode(X86_64::table(table) | X86_64::SHARED, Level(3)), Entry::SharedTable(table));
        assert_eq!(X86_64::decode(0, Level(1)), Entry::Absent);
    }

    #[test]
    fn a_changed_permission_or_a_cleared_dirty_bit_needs_a_flush() {
        let leaf = |attributes| X86_64::leaf(Pfn(1), Level(1), attributes);
        let dirty = Attributes { dirty: true, ..Attributes::USER_WRITE };
        assert!(X86_64::needs_flush(leaf(Attributes::USER_WRITE), leaf(Attributes::USER_READ)));
        assert!(X86_64::needs_flush(leaf(dirty), leaf(Attributes::USER_WRITE)));
        assert!(!X86_64::needs_flush(leaf(Attributes::USER_WRITE), leaf(dirty)));
        assert!(!X86_64::needs_flush(0, leaf(Attributes::USER_WRITE)));
    }
}
