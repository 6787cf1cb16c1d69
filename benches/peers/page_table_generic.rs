//! `page-table-generic`: ranges. It takes the entry format from its user, here x86-64's.

use page_table_generic::{FrameAllocator, MapConfig, PageTable, PageTableEntry, PhysAddr, TableMeta, VirtAddr};

use crate::{
    measure::{Pages, Peer},
    memory::{self, PAGE_SIZE},
};

const PRESENT: u64 = 1 << 0;
const HUGE: u64 = 1 << 7;
/// Writable, user, accessed, no-execute.
const USER_WRITE: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 63;
const FRAME: u64 = 0x000f_ffff_ffff_f000;

pub(crate) struct Tables(PageTable<Format, Memory>);

#[derive(Clone, Copy, Debug)]
struct Entry(u64);

#[derive(Clone, Copy)]
struct Format;

#[derive(Clone, Copy)]
struct Memory;

impl PageTableEntry for Entry {
    type PteConfig = u64;

    #[inline]
    fn new_page(address: PhysAddr, config: u64, is_huge: bool) -> Self {
        Entry(address.as_usize() as u64 | config | PRESENT | if is_huge { HUGE } else { 0 })
    }

    #[inline]
    fn new_table(address: PhysAddr) -> Self {
        Entry(address.as_usize() as u64 | 0b111)
    }

    #[inline]
    fn paddr(&self, _is_dir: bool) -> PhysAddr {
        PhysAddr::from_usize((self.0 & FRAME) as usize)
    }

    #[inline]
    fn config(&self, _is_dir: bool) -> u64 {
        self.0 & !FRAME
    }

    #[inline]
    fn present(&self) -> bool {
        self.0 & PRESENT != 0
    }

    #[inline]
    fn huge(&self, is_dir: bool) -> bool {
        is_dir && self.0 & HUGE != 0
    }

    #[inline]
    fn unused(&self) -> bool {
        self.0 == 0
    }

    #[inline]
    fn clear(&mut self) {
        self.0 = 0;
    }
}

impl TableMeta for Format {
    type P = Entry;
    const PAGE_SIZE: usize = PAGE_SIZE;
    const LEVEL_BITS: &[usize] = &[9; 4];
    const MAX_BLOCK_LEVEL: usize = 3;

    #[inline]
    fn flush(_: Option<VirtAddr>) {}
}

impl FrameAllocator for Memory {
    fn alloc_frame(&self) -> Option<PhysAddr> {
        Some(PhysAddr::from_usize(memory::take()))
    }

    fn dealloc_frame(&self, frame: PhysAddr) {
        memory::give_back(frame.as_usize());
    }

    #[inline]
    fn phys_to_virt(&self, address: PhysAddr) -> *mut u8 {
        memory::pointer(address.as_usize())
    }
}

impl Tables {
    pub(crate) fn new() -> Self {
        Tables(PageTable::new(Memory).expect("there is memory"))
    }
}

impl Peer for Tables {
    fn map(&mut self, pages: Pages) {
        let config = MapConfig {
            vaddr: VirtAddr::from_usize(pages.start()),
            paddr: PhysAddr::from_usize(pages.frames_start()),
            size: pages.n_bytes(),
            pte: USER_WRITE,
            allow_huge: false,
            flush: false,
        };
        self.0.map(&config).expect("nothing is there");
    }

    fn unmap(&mut self, pages: Pages) {
        self.0.unmap(VirtAddr::from_usize(pages.start()), pages.n_bytes()).expect("mapped");
    }

    fn find(&self, page: u64) -> Option<u64> {
        let found = self.0.translate_phys(VirtAddr::from_usize(page as usize * PAGE_SIZE));
        found.ok().map(|address| (address.as_usize() / PAGE_SIZE) as u64)
    }
}
