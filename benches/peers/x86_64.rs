//! `x86_64`: page by page, which is the only way it has.

use x86_64::{
    PhysAddr, VirtAddr,
    structures::paging::{
        FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags as Flags, PhysFrame, Size4KiB,
        Translate,
    },
};

use crate::{
    measure::{Pages, Peer, frame_of},
    memory,
};

pub(crate) struct Tables(OffsetPageTable<'static>);

struct Memory;

// SAFETY: a taken page is nobody else's.
unsafe impl FrameAllocator<Size4KiB> for Memory {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        Some(PhysFrame::containing_address(PhysAddr::new(memory::take() as u64)))
    }
}

impl Tables {
    pub(crate) fn new() -> Self {
        // SAFETY: a zeroed page is a table without entries, and this one is nobody else's for ever.
        let root = unsafe { &mut *memory::pointer::<PageTable>(memory::take_zeroed()) };
        // SAFETY: physical addresses are pointers, and the tables are reached from here only.
        Tables(unsafe { OffsetPageTable::new(root, VirtAddr::zero()) })
    }
}

fn page(number: u64) -> Page {
    Page::containing_address(VirtAddr::new(number << 12))
}

impl Peer for Tables {
    fn map(&mut self, pages: Pages) {
        let flags = Flags::PRESENT | Flags::WRITABLE | Flags::USER_ACCESSIBLE | Flags::ACCESSED | Flags::NO_EXECUTE;
        for number in pages.iter() {
            let frame = PhysFrame::containing_address(PhysAddr::new(frame_of(number) << 12));
            // SAFETY: no CPU walks these tables, so nothing becomes reachable.
            let mapped = unsafe { self.0.map_to(page(number), frame, flags, &mut Memory) };
            mapped.expect("nothing is there").ignore();
        }
    }

    fn unmap(&mut self, pages: Pages) {
        for number in pages.iter() {
            let (_frame, flush) = self.0.unmap(page(number)).expect("mapped");
            flush.ignore();
        }
    }

    fn find(&self, page: u64) -> Option<u64> {
        self.0.translate_addr(VirtAddr::new(page << 12)).map(|address| address.as_u64() >> 12)
    }
}
