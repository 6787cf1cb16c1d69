//! `aarch64-paging`: ranges, in tables that no CPU has loaded, so that it does not look for what must be broken first.
//!
//! It unmaps in two ways. [`ModifyRange`] visits each entry. [`MapRange`] drops whole tables and whatever is in them, so
//! nobody learns which pages were mapped.

use std::{cell::Cell, ptr::NonNull};

use aarch64_paging::{
    Mapping,
    descriptor::{El1Attributes as Attributes, PhysicalAddress},
    paging::{Constraints, El1And0, MemoryRegion, PageTable, Translation, VaRange},
};

use crate::{
    measure::{Pages, Peer},
    memory::{self, PAGE_SIZE},
};

/// Unmaps entry by entry.
pub(crate) struct ModifyRange(Tables);

/// Unmaps by mapping nothing.
pub(crate) struct MapRange(Tables);

struct Tables(Mapping<Memory, El1And0>);

struct Memory;

impl Translation<Attributes> for Memory {
    fn allocate_table(&mut self) -> (NonNull<PageTable<Attributes>>, PhysicalAddress) {
        let address = memory::take_zeroed();
        (self.physical_to_virtual(PhysicalAddress(address)), PhysicalAddress(address))
    }

    unsafe fn deallocate_table(&mut self, table: NonNull<PageTable<Attributes>>) {
        memory::give_back(table.addr().get());
    }

    #[inline]
    fn physical_to_virtual(&self, address: PhysicalAddress) -> NonNull<PageTable<Attributes>> {
        NonNull::new(memory::pointer(address.0)).expect("no table is at 0")
    }
}

impl Tables {
    fn new() -> Self {
        Tables(Mapping::with_asid_and_va_range(Memory, 1, 0, El1And0, VaRange::Lower))
    }

    fn map(&mut self, pages: Pages, flags: Attributes) {
        let frame = PhysicalAddress(pages.frames_start());
        self.0.map_range(&region(pages), frame, flags, Constraints::NO_BLOCK_MAPPINGS).expect("nothing is there");
    }

    fn find(&self, page: u64) -> Option<u64> {
        let found = Cell::new(None);
        let only = region(Pages { first: page, n_pages: 1 });
        let walked = self.0.walk_range(&only, &mut |_, entry, _| {
            found.set(entry.is_valid().then(|| (entry.output_address().0 / PAGE_SIZE) as u64));
            Ok(())
        });
        walked.expect("in range");
        found.get()
    }
}

fn region(pages: Pages) -> MemoryRegion {
    MemoryRegion::new(pages.start(), pages.start() + pages.n_bytes())
}

fn writable() -> Attributes {
    Attributes::VALID
        | Attributes::ACCESSED
        | Attributes::NON_GLOBAL
        | Attributes::USER
        | Attributes::UXN
        | Attributes::INNER_SHAREABLE
        | Attributes::ATTRIBUTE_INDEX_1
}

impl ModifyRange {
    pub(crate) fn new() -> Self {
        ModifyRange(Tables::new())
    }
}

impl Peer for ModifyRange {
    fn map(&mut self, pages: Pages) {
        self.0.map(pages, writable());
    }

    fn unmap(&mut self, pages: Pages) {
        let unmapped =
            self.0.0.modify_range(&region(pages), &|_, entry| entry.set(PhysicalAddress(0), Attributes::empty()));
        unmapped.expect("mapped");
    }

    fn find(&self, page: u64) -> Option<u64> {
        self.0.find(page)
    }
}

impl MapRange {
    pub(crate) fn new() -> Self {
        MapRange(Tables::new())
    }
}

impl Peer for MapRange {
    fn map(&mut self, pages: Pages) {
        self.0.map(pages, writable());
    }

    fn unmap(&mut self, pages: Pages) {
        self.0.map(pages, Attributes::empty());
    }

    fn find(&self, page: u64) -> Option<u64> {
        self.0.find(page)
    }
}
