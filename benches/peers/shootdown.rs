//! `shootdown` on a machine of one CPU that has the address space loaded: what a kernel would write, but that interrupts
//! are not masked and its own TLB is not invalidated, which a process cannot do; both are a few instructions for a whole
//! unmap. The lock, the gather, the generation and the search for other CPUs are there.

use std::{
    cell::{Cell, RefCell},
    mem,
    sync::atomic::{AtomicU64, Ordering, Ordering::SeqCst, fence},
};

use shootdown::{
    At, Attributes, CpuId, CpuSet, DefaultPolicy, Descriptor, EntryFormat, Frame, FrameRun, FrameSink, Gather,
    Invalidate, Level, Machine, Modify, NoFrame, PerCpu, Pfn, Rmap, Small, Space, SpaceId, TableFrame, UpTo, Vpn,
    VpnRange, Word,
    arch::x86_64::X86_64,
    call,
    kspace::{KernelArea, KernelSpace, Sealed},
};

use crate::{
    measure::{MAX_PAGES, Pages, Peer, frame_of},
    memory::{self, PAGE_SIZE},
    roots,
};

/// Words of a batch: a page without its head, as on Linux.
const BATCH_WORDS: usize = 510;
/// Address spaces besides the one that is loaded.
const N_OTHERS: usize = 64;
/// Fewer pages than a gather has room for.
const GATHER_PAGES: u64 = 9_000;

/// Maps pages in one of two ways, and unmaps a range with all that belongs to it: unhook, flush, release.
pub(crate) struct Whole {
    kernel: Kernel,
    map: fn(&Kernel, Pages),
}

/// Unhooks; flush and release are not timed. More pages than a gather holds are in several.
pub(crate) struct Unhook {
    kernel: Kernel,
    gathers: Vec<Gather<'static, Cpu, FreeList>>,
}

/// The whole machine, and where frames go.
struct Kernel {
    m: &'static Cpu,
    free: &'static FreeList,
    attributes: Attributes,
}

/// How frames leave a gather.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frames {
    OneByOne,
    /// Those that follow each other, and here all do, as one.
    InRuns,
}

/// What nobody has written to yet: a walker may still set the dirty bit.
const CLEAN: Attributes = Attributes::USER_WRITE;
/// What somebody has.
const DIRTY: Attributes = Attributes { dirty: true, ..CLEAN };

/// The one CPU, and the places for library state.
struct Cpu {
    per_cpu: PerCpu<Cpu>,
    slot: call::Slot<Cpu>,
    present: call::Present<Cpu>,
    space: Space<Cpu>,
    /// Others, in the order of their ids, which follow that one's.
    others: [Space<Cpu>; N_OTHERS],
    /// In the order of the pages that may become tables.
    descriptors: Box<[Descriptor<Cpu>]>,
    first_table: u64,
    batches: Pool,
    n_invalidations: Cell<u64>,
    joins_frames: bool,
}

struct HostWord(AtomicU64);

impl Word for HostWord {
    const ZERO: Self = HostWord(AtomicU64::new(0));
}

/// Batches that are not in use.
type Pool = &'static RefCell<Vec<Box<[u64]>>>;

/// A page for a gather, which comes back.
struct Batch {
    words: Box<[u64]>,
    pool: Pool,
}

impl AsRef<[u64]> for Batch {
    #[inline]
    fn as_ref(&self) -> &[u64] {
        &self.words
    }
}

impl AsMut<[u64]> for Batch {
    #[inline]
    fn as_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.pool.borrow_mut().push(mem::take(&mut self.words));
    }
}

/// The frames that are free, in the order they came.
struct FreeList {
    frames: Box<[Cell<Pfn>]>,
    n_frames: Cell<usize>,
}

impl FrameSink<Cpu> for FreeList {
    #[inline]
    fn release(&self, _: &Cpu, run: FrameRun) {
        let n_frames = self.n_frames.get();
        let n_more = run.count() as usize;
        for (place, frame) in self.frames[n_frames..n_frames + n_more].iter().zip(run.into_frames()) {
            place.set(frame.pfn());
        }
        self.n_frames.set(n_frames + n_more);
    }
}

impl Cpu {
    #[inline]
    fn word<'a>(&'a self, at: At<'a, HostWord>) -> &'a AtomicU64 {
        match at {
            At::Word(word) => &word.0,
            At::Entry(at) => {
                let table = memory::pointer::<AtomicU64>(at.table.0.0 as usize * PAGE_SIZE);
                // SAFETY: the library asks for entries of tables only. A table is a page of atomics that is there for
                // ever, and the index is less than 512.
                unsafe { &*table.add(at.index) }
            }
        }
    }
}

// SAFETY:
// - Memory: words and entries are atomics of one process, used with the order asked for or a stronger one.
// - Own words: the trait's default, relaxed accesses.
// - Invalidation, interrupts: nothing walks these tables and nothing interrupts, so nothing is remembered or masked.
// - `cpu`: there is one, since the type is not `Sync` and its value stays where it is.
// - Frames: a taken page is nobody else's; `take_zeroed` zeroes it.
// - Placement: one of everything, made once, but for descriptors: one for each page; all zero at first.
// - `keeps`: the trait's default.
unsafe impl Machine for Cpu {
    type Format = X86_64;
    type Cpus = UpTo<1>;
    type Word = HostWord;
    type Policy = DefaultPolicy;
    type Batch = Batch;

    #[inline]
    fn load(&self, at: At<'_, HostWord>, order: Ordering) -> u64 {
        self.word(at).load(order)
    }
    #[inline]
    fn store(&self, at: At<'_, HostWord>, value: u64, order: Ordering) {
        self.word(at).store(value, order);
    }
    #[inline]
    fn modify(&self, at: At<'_, HostWord>, modify: Modify, order: Ordering) -> u64 {
        let word = self.word(at);
        match modify {
            Modify::Swap(value) => word.swap(value, order),
            Modify::Or(bits) => word.fetch_or(bits, order),
            Modify::And(bits) => word.fetch_and(bits, order),
            Modify::Add(value) => word.fetch_add(value, order),
            Modify::CompareExchange { old, new } => match word.compare_exchange(old, new, order, SeqCst) {
                Ok(was) | Err(was) => was,
            },
        }
    }
    #[inline]
    fn fence(&self, order: Ordering) {
        fence(order);
    }
    #[inline]
    fn cpu(&self) -> CpuId {
        CpuId(0)
    }
    #[inline]
    fn invalidate(&self, _: Invalidate) {
        self.n_invalidations.set(self.n_invalidations.get() + 1);
    }
    #[inline]
    fn complete(&self) {}
    #[inline]
    fn load_root(&self, _: Option<(TableFrame, SpaceId)>) {
        self.invalidate(Invalidate::All);
    }
    #[inline]
    fn mask(&self) -> u64 {
        0
    }
    #[inline]
    fn restore(&self, _: u64) {}
    fn kick(&self, to: &CpuSet<UpTo<1>>) {
        unreachable!("there is no other CPU: {to:?}");
    }
    fn spin<R: Small>(&self, _: impl Fn(&Self) -> Option<R> + Sync) -> R {
        unreachable!("there is nobody to wait for");
    }
    fn alloc_table(&self) -> Result<TableFrame, NoFrame> {
        Ok(TableFrame(Pfn((memory::take_zeroed() / PAGE_SIZE) as u64)))
    }
    fn free_table(&self, table: TableFrame) {
        memory::give_back(table.0.0 as usize * PAGE_SIZE);
    }
    #[inline]
    fn alloc_batch(&self) -> Option<Batch> {
        let words = self.batches.borrow_mut().pop();
        Some(Batch { words: words.unwrap_or_else(|| Box::from([0; BATCH_WORDS])), pool: self.batches })
    }
    #[inline]
    fn may_join(&self, _: Pfn, _: Pfn) -> bool {
        self.joins_frames
    }
    #[inline]
    fn per_cpu(&self, _: CpuId) -> &PerCpu<Cpu> {
        &self.per_cpu
    }
    #[inline]
    fn slot(&self, _: CpuId, _: CpuId) -> &call::Slot<Cpu> {
        &self.slot
    }
    #[inline]
    fn present(&self) -> &call::Present<Cpu> {
        &self.present
    }
    #[inline]
    fn space(&self, id: SpaceId) -> Option<&Space<Cpu>> {
        if id == self.space.id() { Some(&self.space) } else { self.others.get(id.0 as usize - 1) }
    }
    #[inline]
    fn descriptor(&self, table: TableFrame) -> &Descriptor<Cpu> {
        &self.descriptors[(table.0.0 - self.first_table) as usize]
    }
}

impl Kernel {
    fn new(frames: Frames, pages: Attributes) -> Self {
        let m: &Cpu = Box::leak(Box::new(Cpu {
            per_cpu: PerCpu::new(),
            slot: call::Slot::new(),
            present: call::Present::new(),
            space: Space::new(SpaceId(0)),
            others: std::array::from_fn(|index| Space::new(SpaceId(1 + index as u32))),
            descriptors: (0..memory::N_PAGES).map(|_| Descriptor::new()).collect(),
            first_table: (memory::first() / PAGE_SIZE) as u64,
            batches: Box::leak(Box::default()),
            n_invalidations: Cell::new(0),
            joins_frames: frames == Frames::InRuns,
        }));
        let frames = (0..MAX_PAGES).map(|_| Cell::new(Pfn(0))).collect();
        let free = Box::leak(Box::new(FreeList { frames, n_frames: Cell::new(0) }));
        m.space.create(m).expect("there is memory");
        call::arrive(m);
        m.space.switch_to(m);
        Kernel { m, free, attributes: pages }
    }

    fn map_each(&self, pages: Pages) {
        let frames = pages.iter().map(frame);
        let mut tables = self.m.space.lock(self.m);
        tables.map_each(Vpn(pages.first), frames, self.attributes).expect("nothing is there");
    }

    fn map(&self, pages: Pages) {
        let mut tables = self.m.space.lock(self.m);
        for page in pages.iter() {
            tables.map(Vpn(page), frame(page), self.attributes).expect("nothing is there");
        }
    }

    fn unhook(&self, pages: Pages) -> Gather<'static, Cpu, FreeList> {
        let mut gather = Gather::new(self.m, &self.m.space, self.free);
        let tables = self.m.space.lock(self.m);
        gather.unhook_range(&tables, range(pages), |_| Rmap::Now);
        gather
    }

    fn unmap(&self, pages: Pages) {
        let mut gather = Gather::new(self.m, &self.m.space, self.free);
        gather.unmap(range(pages), |_| Rmap::Now);
        gather.finish();
    }

    /// Looks whether so many frames are free by now, and the TLB was flushed for them.
    fn look(&self, n_pages: u64) {
        assert_eq!(self.free.n_frames.take() as u64, n_pages);
        assert!(self.m.n_invalidations.take() > 0);
    }

    fn find(&self, page: u64) -> Option<u64> {
        self.m.space.lock(self.m).find(Vpn(page)).map(|leaf| leaf.frame().0)
    }
}

fn range(pages: Pages) -> VpnRange {
    VpnRange::from_len(Vpn(pages.first), pages.n_pages)
}

fn frame(page: u64) -> Frame {
    // SAFETY: nobody else has the frame, if there is one: each page has its own.
    unsafe { Frame::claim(Pfn(frame_of(page)), Level::LEAF) }
}

impl Whole {
    pub(crate) fn clean(frames: Frames) -> Self {
        Whole { kernel: Kernel::new(frames, CLEAN), map: Kernel::map_each }
    }

    pub(crate) fn dirty(frames: Frames) -> Self {
        Whole { kernel: Kernel::new(frames, DIRTY), map: Kernel::map_each }
    }

    pub(crate) fn page_by_page() -> Self {
        Whole { kernel: Kernel::new(Frames::OneByOne, CLEAN), map: Kernel::map }
    }
}

impl Peer for Whole {
    fn map(&mut self, pages: Pages) {
        (self.map)(&self.kernel, pages);
    }

    fn unmap(&mut self, pages: Pages) {
        self.kernel.unmap(pages);
    }

    fn finish(&mut self, n_pages: u64) {
        self.kernel.look(n_pages);
    }

    fn find(&self, page: u64) -> Option<u64> {
        self.kernel.find(page)
    }
}

impl Unhook {
    pub(crate) fn new() -> Self {
        Unhook { kernel: Kernel::new(Frames::OneByOne, CLEAN), gathers: Vec::new() }
    }
}

impl Peer for Unhook {
    fn map(&mut self, pages: Pages) {
        self.kernel.map_each(pages);
    }

    fn unmap(&mut self, pages: Pages) {
        for first in pages.iter().step_by(GATHER_PAGES as usize) {
            let n_pages = GATHER_PAGES.min(pages.iter().end - first);
            self.gathers.push(self.kernel.unhook(Pages { first, n_pages }));
        }
    }

    fn finish(&mut self, n_pages: u64) {
        self.gathers.drain(..).for_each(Gather::finish);
        self.kernel.look(n_pages);
    }

    fn find(&self, page: u64) -> Option<u64> {
        self.kernel.find(page)
    }
}

/// Roots with the kernel's slots in them.
pub(crate) struct Roots {
    m: &'static Cpu,
    kernel: Sealed<'static, Cpu>,
}

impl Roots {
    pub(crate) fn new(n_slots: u64) -> Self {
        let Kernel { m, .. } = Kernel::new(Frames::OneByOne, CLEAN);
        let pages = VpnRange::from_len(X86_64::KERNEL.start, n_slots * X86_64::ROOT.pages::<X86_64>());
        let area = KernelArea::at::<X86_64>(pages).expect("they are whole slots of the kernel's");
        let kernel = Box::leak(Box::new(KernelSpace::new(area)));
        let (kernel, _addresses) = kernel.build(m).expect("there is memory").seal(m);
        Roots { m, kernel }
    }
}

impl roots::Maker for Roots {
    fn make(&mut self) -> usize {
        self.m.others.iter().for_each(|space| space.create_in(self.m, &self.kernel).expect("there is memory"));
        N_OTHERS
    }

    fn unmake(&mut self) {
        self.m.others.iter().for_each(|space| space.destroy_in(self.m, &self.kernel));
    }
}
