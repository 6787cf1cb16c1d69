//! The port: [`Machine`] for x86-64, with tags where the CPUs have them. This is what a kernel writes to use the library.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, Ordering::*, fence};

use shootdown::{
    At, Counter, CpuId, CpuSet, DefaultPolicy, Descriptor, EntryAt, EntryFormat, Fix, Invalidate, Level, Machine,
    Modify, NoFrame, OneMemory, PerCpu, Pfn, Small, Space, SpaceId, TableFrame, Tag, Tagging, UpTo, Vpn, Word,
    arch::x86_64::X86_64,
    call::{Present, Slot},
    walk::Walkers,
};

use crate::{
    apic,
    cpu::{self, MAX_CPUS, Number},
    jobs, memory, places, smp, tlb,
};

/// The entries' format.
pub(crate) type Format = X86_64;

/// Room for [`MAX_CPUS`].
pub(crate) type Cpus = UpTo<1>;
const _: () = assert!(MAX_CPUS == 64);

/// This machine, seen from the CPU that runs. Nobody migrates, so the CPU's number is always at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metal;

/// One machine word.
pub(crate) struct MetalWord(AtomicU64);

impl Word for MetalWord {
    const ZERO: Self = MetalWord(AtomicU64::new(0));
}

/// A page of a gather's own.
pub(crate) struct Batch(Pfn);

/// Rounds after which a wait is a deadlock. A round ends this CPU's turn, or takes longer than the pause.
const MAX_ROUNDS: u64 = 1 << 21;

/// For tests: whether [`Machine::kick`] loses its interrupts.
static LOSES_KICKS: AtomicBool = AtomicBool::new(false);

/// Makes kicks get lost from now on, or no longer.
pub(crate) fn lose_kicks(loses: bool) {
    LOSES_KICKS.store(loses, Relaxed);
}

#[inline]
fn word(at: At<'_, MetalWord>) -> &AtomicU64 {
    match at {
        At::Word(word) => &word.0,
        At::Entry(EntryAt { table, index }) => &memory::table(table.0)[index],
    }
}

/// The address of a page, its highest bit copied to those above, as the hardware wants it.
fn address(page: Vpn) -> u64 {
    const UNUSED_BITS: u32 = 64 - Format::PAGE_SHIFT - Format::INDEX_BITS * Format::LEVELS as u32;
    let address = page.address::<Format>().0;
    ((address << UNUSED_BITS).cast_signed() >> UNUSED_BITS).cast_unsigned()
}

// SAFETY:
// - Memory: words and entries are atomics, used with the order asked for or a stronger one; the walker reads entries
//   where the direct map has them.
// - Own words: the trait's default, relaxed accesses.
// - Invalidation: INVLPG drops the translation and every cached pointer on its path, a write of CR3 all that is not
//   global, of the tag that is written where there are tags; INVPCID or a change of CR4.PGE drop everything. All are
//   serializing (SDM 3A §4.10.4.1, rev 86, and "Serializing Instructions"), so `complete` has nothing left to do. No user
//   page is global. Tags differ for different slots, and from the kernel's.
// - Interrupts: `mask` clears the flag. A kick is a fixed interrupt to one CPU, which its controller keeps until it can
//   be taken; stores made before are seen, see `apic::kick`. When a test loses kicks, timers make up for it.
// - `cpu`: from this CPU's own block; nobody migrates.
// - Frames: the pool gives a frame to one, and a table is all zeroes, see `memory::take_table`.
// - Placement: statics, zero at birth, one place for each index.
// - `keeps`: a step is left out only to show what comes of it. Frames for data are atomics and no memory of Rust's, and
//   freed tables are still in the tables' pool.
unsafe impl Machine for Metal {
    type Format = Format;
    type Cpus = Cpus;
    type Word = MetalWord;
    type Policy = DefaultPolicy;
    type Batch = Batch;

    // Memory.
    #[inline]
    fn load(&self, at: At<'_, MetalWord>, order: Ordering) -> u64 {
        word(at).load(order)
    }
    #[inline]
    fn store(&self, at: At<'_, MetalWord>, value: u64, order: Ordering) {
        word(at).store(value, order);
    }
    #[inline]
    fn modify(&self, at: At<'_, MetalWord>, modify: Modify, order: Ordering) -> u64 {
        let word = word(at);
        match modify {
            Modify::Swap(value) => word.swap(value, order),
            Modify::Or(bits) => word.fetch_or(bits, order),
            Modify::And(bits) => word.fetch_and(bits, order),
            Modify::Add(value) => word.fetch_add(value, order),
            // The last argument is the order of a failure: no weaker than any that may be asked for.
            Modify::CompareExchange { old, new } => {
                word.compare_exchange(old, new, order, SeqCst).unwrap_or_else(|was| was)
            }
        }
    }
    #[inline]
    fn fence(&self, order: Ordering) {
        fence(order);
    }

    // This CPU.
    #[inline]
    fn cpu(&self) -> CpuId {
        CpuId(cpu::number().0)
    }
    #[inline]
    fn invalidate(&self, what: Invalidate) {
        match what {
            // One instruction for both: INVLPG drops cached pointers too.
            Invalidate::Leaf(page, _) | Invalidate::Walk(page, _) => tlb::invalidate_page(address(page)),
            Invalidate::All => tlb::invalidate_all(),
            Invalidate::EveryTag => tlb::invalidate_everything(),
        }
    }
    #[inline]
    fn complete(&self) {}
    #[inline]
    fn load_root(&self, root: Option<(TableFrame, SpaceId)>) {
        let root = root.map_or_else(smp::kernel_root, |(table, _)| table.0.0 << Format::PAGE_SHIFT);
        // SAFETY: the kernel's own root is for ever. Another one has a copy of its upper half, see `construct_table`,
        // and the library frees it when no CPU has it loaded any more.
        unsafe { tlb::load_root(root) }
    }
    #[inline]
    fn load_tagged(&self, root: TableFrame, space: SpaceId, tag: Tag, keeps: bool) {
        if !tlb::has_tags() {
            return self.load_root(Some((root, space)));
        }
        // SAFETY: as in `load_root`. The library looks at the generation before it keeps anything.
        unsafe { tlb::load_tagged_root(root.0.0 << Format::PAGE_SHIFT, tag, keeps) }
    }
    #[inline]
    fn mask(&self) -> u64 {
        cpu::mask_interrupts()
    }
    #[inline]
    fn restore(&self, was: u64) {
        cpu::restore_interrupts(was);
    }
    #[inline]
    fn kick(&self, to: &CpuSet<Cpus>) {
        if cfg!(not(feature = "bench")) {
            if LOSES_KICKS.load(Relaxed) {
                return;
            }
            // What was changed has been, and others do not know yet.
            jobs::dawdle();
        }
        cpu::count_kicks(to.len() as u64);
        apic::kick(to.iter().map(|cpu| Number(cpu.0)));
    }
    #[inline]
    #[track_caller]
    fn spin<R: Small>(&self, ready: impl Fn(&Self) -> Option<R> + Sync) -> R {
        for _ in 0..MAX_ROUNDS {
            match ready(self) {
                Some(result) => return result,
                None => cpu::pause(),
            }
        }
        panic!("CPU {} waits for ever", cpu::number().0)
    }

    // Frames.
    fn alloc_table(&self) -> Result<TableFrame, NoFrame> {
        memory::take_table().map(TableFrame).ok_or(NoFrame)
    }
    fn free_table(&self, table: TableFrame) {
        memory::TABLES.give_back(table.0);
    }
    fn construct_table(&self, table: TableFrame, level: Level) -> Result<(), NoFrame> {
        if level == Format::ROOT {
            smp::copy_kernel_half(table);
            memory::will_not_be_clear(table.0);
        }
        Ok(())
    }
    fn alloc_batch(&self) -> Option<Batch> {
        memory::TABLES.take_or_fail().inspect(|frame| memory::will_not_be_clear(*frame)).map(Batch)
    }

    // Where library state lives.
    #[inline]
    fn per_cpu(&self, cpu: CpuId) -> &PerCpu<Metal> {
        places::per_cpu(Number(cpu.0))
    }
    #[inline]
    fn here(&self) -> &PerCpu<Metal> {
        cpu::here()
    }
    #[inline]
    fn slot(&self, from: CpuId, to: CpuId) -> &Slot<Metal> {
        places::slot(Number(from.0), Number(to.0))
    }
    #[inline]
    fn present(&self) -> &Present<Metal> {
        &places::PRESENT
    }
    #[inline]
    fn space(&self, id: SpaceId) -> Option<&Space<Metal>> {
        places::SPACES.get(id.0 as usize)
    }
    #[inline]
    fn descriptor(&self, table: TableFrame) -> &Descriptor<Metal> {
        &places::DESCRIPTORS[memory::TABLES.index(table.0)]
    }

    // Hooks.
    #[inline]
    fn tagging(&self) -> Tagging {
        if tlb::has_tags() { Tagging::Slots } else { Tagging::Untagged }
    }
    #[inline]
    fn keeps(&self, fix: Fix) -> bool {
        cfg!(feature = "bench") || !places::is_left_out(fix)
    }
    fn cpus_come_and_go(&self) -> bool {
        true
    }
    /// `user::transfer` does, as Linux does in `get_user_pages_fast`.
    #[inline]
    fn walkers(&self) -> Walkers {
        Walkers::Unannounced
    }
    #[inline]
    fn count(&self, counter: Counter, times: u64) {
        if cfg!(not(feature = "bench")) {
            places::count(counter, times);
        }
    }
}

// SAFETY: all CPUs share one memory, which the library's words, being atomics, order.
unsafe impl OneMemory for Metal {}

impl AsRef<[u64]> for Batch {
    fn as_ref(&self) -> &[u64] {
        let words = memory::words(self.0);
        // SAFETY: an atomic is laid out as what it holds, and nobody else has the frame as long as this value lives.
        unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
    }
}

impl AsMut<[u64]> for Batch {
    fn as_mut(&mut self) -> &mut [u64] {
        let words = memory::words(self.0);
        // SAFETY: as in `as_ref`, and this value is borrowed alone. The pointer is to atomics, which may be written.
        unsafe { core::slice::from_raw_parts_mut(words.as_ptr().cast_mut().cast(), words.len()) }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        memory::TABLES.give_back(self.0);
    }
}
