//! A [`Machine`] whose CPUs are threads and whose interrupts are signals: what a kernel writes to use the library.
//!
//! From top to bottom: a CPU, its interrupt handler, the trait. `host.rs` has the places for library state and the system
//! calls, `mmu.rs` stands for the hardware, and `main.rs` says what takes their place in a kernel.
#![expect(clippy::disallowed_types, reason = "machine words are made of these")]

use std::sync::atomic::{AtomicU64, Ordering, Ordering::SeqCst, fence};
use std::{rc::Rc, sync::Arc};

use shootdown::{At, CpuId, CpuSet, DefaultPolicy, Invalidate, Machine, Modify, Small, TableFrame, call};
use shootdown::{Counter, Descriptor, Fix, NoFrame, PerCpu, Space, SpaceId, arch::x86_64::X86_64};
use shootdown::{Frame, Frames, Level, PageState, Pfn};

use super::{Geometry, host, host::Host, host::Kernel, host::Random, mmu::DATA, mmu::HostWord, mmu::Mmu, mmu::Owner};

/// One CPU. It lives on the stack of its thread; other threads know it by its number.
pub(crate) struct Cpu {
    pub(super) id: CpuId,
    pub(super) host: Arc<Host>,
    pub(super) mmu: Mmu,
    pub(super) random: Random,
    pub(super) kernel: Rc<dyn Kernel>,
}

impl Cpu {
    fn word<'a>(&'a self, at: At<'a, HostWord>) -> &'a AtomicU64 {
        match at {
            At::Word(word) => &word.0,
            At::Entry(at) => self.host.memory.entry(at),
        }
    }
}

/// The interrupt handler. What it reaches neither allocates nor locks, so it may run between any two instructions.
pub(super) extern "C" fn on_kick(_: i32) {
    host::interrupt(call::handle_kick);
}

// SAFETY:
// - Memory: words and entries are atomics of one process, used with the order asked for or a stronger one.
// - Own words: the trait's default, relaxed accesses.
// - Invalidation: `Mmu` forgets at once, and an access made through it is over before its thread does anything else.
// - Interrupts: a masked signal stays pending; the thread that a kick names lives until all bodies have ended.
// - `cpu`: the value never leaves its thread.
// - Frames: a taken frame is nobody else's; `take_table` zeroes it.
// - Placement: one place for each index, all zero at first, kept alive by every CPU.
// - `keeps`: a test that leaves a step out reaches freed frames, but those are atomics in an array or have no contents.
#[expect(unsafe_code, reason = "the contract of `Machine` is kept here")]
unsafe impl Machine for Cpu {
    type Format = X86_64;
    type Cpus = Geometry;
    type Word = HostWord;
    type Policy = DefaultPolicy;
    type Batch = Box<[u64]>;

    // Memory.
    fn load(&self, at: At<'_, HostWord>, order: Ordering) -> u64 {
        self.word(at).load(order)
    }
    fn store(&self, at: At<'_, HostWord>, value: u64, order: Ordering) {
        self.word(at).store(value, order);
    }
    fn modify(&self, at: At<'_, HostWord>, modify: Modify, order: Ordering) -> u64 {
        let word = self.word(at);
        match modify {
            Modify::Swap(value) => word.swap(value, order),
            Modify::Or(bits) => word.fetch_or(bits, order),
            Modify::And(bits) => word.fetch_and(bits, order),
            Modify::Add(value) => word.fetch_add(value, order),
            // A failure has an order of its own: no weaker than any that may be asked for.
            Modify::CompareExchange { old, new } => match word.compare_exchange(old, new, order, SeqCst) {
                Ok(was) | Err(was) => was,
            },
        }
    }
    fn fence(&self, order: Ordering) {
        fence(order);
    }

    // This CPU.
    fn cpu(&self) -> CpuId {
        self.id
    }
    fn invalidate(&self, what: Invalidate) {
        self.mmu.invalidate(what);
    }
    fn complete(&self) {} // `invalidate` did it all
    fn load_root(&self, root: Option<(TableFrame, SpaceId)>) {
        self.mmu.load_root(root);
    }
    fn mask(&self) -> u64 {
        host::mask()
    }
    fn restore(&self, was: u64) {
        host::restore(was);
    }
    fn kick(&self, to: &CpuSet<Geometry>) {
        to.iter().for_each(|cpu| self.host.kick(cpu));
    }
    fn spin<R: Small>(&self, ready: impl Fn(&Self) -> Option<R> + Sync) -> R {
        self.host.spin(self.id, || ready(self))
    }

    // Frames.
    fn alloc_table(&self) -> Result<TableFrame, NoFrame> {
        self.host.memory.take_table().ok_or(NoFrame)
    }
    fn free_table(&self, table: TableFrame) {
        self.host.memory.free(table.0);
    }
    fn alloc_batch(&self) -> Option<Box<[u64]>> {
        (self.random(4) != 0).then(|| Box::from([0; 16])) // so that every way through a gather is taken
    }

    // Where library state lives.
    fn per_cpu(&self, cpu: CpuId) -> &PerCpu<Cpu> {
        &self.host.per_cpu[usize::from(cpu.0)]
    }
    fn slot(&self, from: CpuId, to: CpuId) -> &call::Slot<Cpu> {
        &self.host.slots[usize::from(from.0)][usize::from(to.0)]
    }
    fn present(&self) -> &call::Present<Cpu> {
        &self.host.present
    }
    fn space(&self, id: SpaceId) -> Option<&Space<Cpu>> {
        self.host.spaces.get(id.0 as usize)
    }
    fn descriptor(&self, table: TableFrame) -> &Descriptor<Cpu> {
        &self.host.descriptors[table.0.0 as usize]
    }

    // Hooks.
    fn run(&self, work: call::Work) {
        self.kernel.run(self, work);
    }
    fn noticed(&self, notice: call::Notice) {
        self.kernel.noticed(self, notice);
    }
    fn cpus_come_and_go(&self) -> bool {
        true
    }
    fn is_overdue(&self, waiting: call::Waiting) -> bool {
        self.host.waits_for(self.id, waiting) // signals are not lost, but somebody may hang
    }
    fn keeps(&self, fix: Fix) -> bool {
        self.host.settings.left_out != Some(fix)
    }
    fn count(&self, counter: Counter, times: u64) {
        self.host.count(counter, times);
    }
}

// SAFETY: `take` gives a frame to nobody else until it is freed, and all are aligned to the only level that there is; each has
// a place of its own, zero at first.
#[expect(unsafe_code, reason = "custody of frames begins here")]
unsafe impl Frames for Cpu {
    fn alloc_frame(&self, level: Level) -> Result<Frame, NoFrame> {
        assert_eq!(level, Level::LEAF, "there are no large frames");
        let frame = self.host.memory.take(DATA, Owner::mapping(0)).ok_or(NoFrame)?;
        // SAFETY: it was just taken, so the only reference is ours, and every frame is aligned to the lowest level.
        Ok(unsafe { Frame::claim(frame, level) })
    }
    fn free_frame(&self, frame: Frame) {
        self.host.memory.free(frame.pfn());
    }
    // Frames have owners and no contents.
    fn clear_frame(&self, _: &Frame) {}
    fn copy_frame(&self, _: Pfn, _: Pfn, _: Level) {}
    fn page(&self, frame: Pfn) -> &PageState<Cpu> {
        &self.host.pages[frame.0 as usize]
    }
}
