//! Addresses, page numbers, levels and ids, each its own type.
//!
//! Page numbers count *base* pages (4 KiB on x86-64); addresses count bytes. Nothing here knows a page size: the
//! conversions take it from the [`EntryFormat`].

use crate::format::EntryFormat;

/// A physical address in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysAddr(pub u64);

/// A virtual address in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtAddr(pub u64);

/// A physical base-page number: a physical address divided by the base page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(pub u64);

impl Pfn {
    /// Returns the address of the frame's first byte.
    #[must_use]
    pub const fn address<F: EntryFormat>(self) -> PhysAddr {
        PhysAddr(self.0 << F::PAGE_SHIFT)
    }
}

impl PhysAddr {
    /// Returns the frame that holds this address.
    #[must_use]
    pub const fn frame<F: EntryFormat>(self) -> Pfn {
        Pfn(self.0 >> F::PAGE_SHIFT)
    }
}

/// A virtual base-page number within one address space, counted from the start of what its root table translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vpn(pub u64);

impl Vpn {
    /// Returns the address of the page's first byte.
    #[must_use]
    pub const fn address<F: EntryFormat>(self) -> VirtAddr {
        VirtAddr(self.0 << F::PAGE_SHIFT)
    }

    /// Returns the first page of the `level` entry that translates this page.
    #[must_use]
    pub const fn align_down<F: EntryFormat>(self, level: Level) -> Vpn {
        Vpn(self.0 & !(level.pages::<F>() - 1))
    }

    /// Returns which entry of a `level` table translates this page.
    #[must_use]
    pub const fn index<F: EntryFormat>(self, level: Level) -> usize {
        (self.0 >> (F::INDEX_BITS * (level.0 as u32 - 1))) as usize & (F::ENTRIES - 1)
    }
}

impl VirtAddr {
    /// Returns the page that holds this address.
    #[must_use]
    pub const fn page<F: EntryFormat>(self) -> Vpn {
        Vpn(self.0 >> F::PAGE_SHIFT)
    }
}

/// A half-open range of virtual pages: `start` is in it, `end` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VpnRange {
    /// The first page.
    pub start: Vpn,
    /// One past the last page.
    pub end: Vpn,
}

impl VpnRange {
    /// Makes the range of `start..end`; empty where `end` is not above `start`.
    #[must_use]
    pub const fn new(start: Vpn, end: Vpn) -> Self {
        VpnRange { start, end }
    }

    /// Makes the range of `n_pages` pages from `start`; cut off at the last page number there is.
    #[must_use]
    pub const fn from_len(start: Vpn, n_pages: u64) -> Self {
        VpnRange { start, end: Vpn(start.0.saturating_add(n_pages)) }
    }

    /// Returns how many pages the range has.
    #[must_use]
    pub const fn n_pages(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Tells whether the range has no page.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.n_pages() == 0
    }

    /// Tells whether `page` lies in the range.
    #[must_use]
    pub const fn contains(self, page: Vpn) -> bool {
        self.start.0 <= page.0 && page.0 < self.end.0
    }

    /// Tells whether every page of `other` lies in the range.
    #[must_use]
    pub const fn covers(self, other: VpnRange) -> bool {
        self.start.0 <= other.start.0 && other.end.0 <= self.end.0
    }

    /// Returns the smallest range that has all pages of both.
    #[must_use]
    pub fn hull(self, other: VpnRange) -> VpnRange {
        VpnRange::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// Returns the pages that both ranges have; possibly none.
    #[must_use]
    pub fn intersection(self, other: VpnRange) -> VpnRange {
        VpnRange::new(self.start.max(other.start), self.end.min(other.end))
    }
}

/// A level of the page tables, counted from the leaf tables up: level 1 entries map base pages.
///
/// Arm's manuals count the other way, from the root down.
#[doc(alias = "pte")]
#[doc(alias = "pmd")]
#[doc(alias = "pud")]
#[doc(alias = "p4d")]
#[doc(alias = "pgd")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u8);

impl Level {
    /// The level whose entries map base pages.
    pub const LEAF: Level = Level(1);

    /// Returns how many base pages one entry of this level spans.
    #[must_use]
    pub const fn pages<F: EntryFormat>(self) -> u64 {
        1 << (F::INDEX_BITS * (self.0 as u32 - 1))
    }

    /// Returns the pages that the entry of this level translates which translates `page`.
    #[must_use]
    pub const fn span<F: EntryFormat>(self, page: Vpn) -> VpnRange {
        VpnRange::from_len(page.align_down::<F>(self), self.pages::<F>())
    }

    /// Returns the level below; level 1 has none.
    #[must_use]
    pub const fn below(self) -> Option<Level> {
        if self.0 > 1 { Some(Level(self.0 - 1)) } else { None }
    }
}

/// Names an address space for as long as it exists. A request carries this and never a pointer.
///
/// At most 32 bits wide, so that it fits beside the other fields of a request in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId(pub u32);

/// Names the frame of a page-table page. Says nothing about who owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableFrame(pub Pfn);

/// Names one entry of one page-table page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryAt {
    /// The table.
    pub table: TableFrame,
    /// The entry's index in it, below [`EntryFormat::ENTRIES`].
    pub index: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::x86_64::X86_64;

    #[test]
    fn a_span_is_aligned_and_as_long_as_its_level() {
        let page = Vpn(0x7_ffed_9496);
        let span = Level(2).span::<X86_64>(page);
        assert_eq!(span, VpnRange::from_len(Vpn(0x7_ffed_9400), 512));
        assert!(span.contains(page));
        assert_eq!(page.index::<X86_64>(Level(1)), 0x96);
        assert_eq!(page.index::<X86_64>(Level(4)), 0xff);
    }

    #[test]
    fn an_inverted_range_is_empty() {
        let range = VpnRange::new(Vpn(9), Vpn(3));
        assert!(range.is_empty());
        assert!(!range.contains(Vpn(5)));
        assert_eq!(VpnRange::from_len(Vpn(u64::MAX), 5).n_pages(), 0);
    }

    #[test]
    fn addresses_and_page_numbers_convert_both_ways() {
        assert_eq!(VirtAddr(0x7f88_de25_e008).page::<X86_64>(), Vpn(0x7_f88d_e25e));
        assert_eq!(Vpn(0x7_f88d_e25e).address::<X86_64>(), VirtAddr(0x7f88_de25_e000));
        assert_eq!(PhysAddr(0x1234_5678).frame::<X86_64>().address::<X86_64>(), PhysAddr(0x1234_5000));
    }
}
