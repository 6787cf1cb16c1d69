//! `page_table_multiarch`: whole regions through a cursor. Off bare metal its flush does nothing.

use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::{MappingFlags, PagingHandler, x86_64::X64PageTable};

use crate::{
    measure::{Pages, Peer},
    memory::{self, PAGE_SIZE},
};

pub(crate) struct Tables(X64PageTable<Memory>);

struct Memory;

impl PagingHandler for Memory {
    fn alloc_frames(n_frames: usize, _align: usize) -> Option<PhysAddr> {
        (n_frames == 1).then(|| PhysAddr::from_usize(memory::take()))
    }

    fn dealloc_frames(address: PhysAddr, n_frames: usize) {
        assert_eq!(n_frames, 1);
        memory::give_back(address.as_usize());
    }

    #[inline]
    fn phys_to_virt(address: PhysAddr) -> VirtAddr {
        VirtAddr::from_usize(address.as_usize())
    }
}

impl Tables {
    pub(crate) fn new() -> Self {
        Tables(X64PageTable::try_new().expect("there is memory"))
    }
}

impl Peer for Tables {
    fn map(&mut self, pages: Pages) {
        let flags = MappingFlags::READ | MappingFlags::WRITE | MappingFlags::USER;
        let frame = |address: VirtAddr| PhysAddr::from_usize(address.as_usize() - pages.start() + pages.frames_start());
        let start = VirtAddr::from_usize(pages.start());
        self.0.cursor().map_region(start, frame, pages.n_bytes(), flags, false).expect("nothing is there");
    }

    fn unmap(&mut self, pages: Pages) {
        self.0.cursor().unmap_region(VirtAddr::from_usize(pages.start()), pages.n_bytes()).expect("mapped");
    }

    fn find(&self, page: u64) -> Option<u64> {
        let found = self.0.query(VirtAddr::from_usize(page as usize * PAGE_SIZE));
        found.ok().map(|(address, ..)| (address.as_usize() / PAGE_SIZE) as u64)
    }
}
