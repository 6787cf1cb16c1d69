//! The library in a program with nothing under it: no standard library, no C library, no allocator.
//!
//! A kernel in miniature. Two CPUs share one stack: an interrupt of the other CPU is a call of its handler.
//! All state is in statics that are zero at birth, in `.bss`. The exit status is 0, or the number of the check that
//! failed.
#![no_std]
#![no_main]
#![expect(clippy::disallowed_types, reason = "machine words are made of these")]

use core::sync::atomic::{AtomicU64, Ordering, Ordering::*, fence};

use runtime::exit;
use shootdown::{
    At, Attributes, CpuId, CpuSet, DefaultPolicy, Descriptor, Entry, EntryAt, EntryFormat, Frame, Gather, Invalidate,
    Level, Machine, Modify, NoFrame, PerCpu, Pfn, Small, Space, SpaceId, TableFrame, UpTo, Vpn, VpnRange, Word,
    arch::x86_64::X86_64,
    call::{self, Present, Slot},
};

mod runtime;

const N_CPUS: usize = 2;
const N_TABLES: usize = 8;
const PAGE: Vpn = Vpn(0x7_f88d_e25e);

struct MetalWord(AtomicU64);

impl Word for MetalWord {
    const ZERO: Self = MetalWord(AtomicU64::new(0));
}

static PER_CPU: [PerCpu<Metal>; N_CPUS] = [const { PerCpu::new() }; N_CPUS];
static PRESENT: Present<Metal> = Present::new();
static SLOTS: [[Slot<Metal>; N_CPUS]; N_CPUS] = [const { [const { Slot::new() }; N_CPUS] }; N_CPUS];
static SPACE: Space<Metal> = Space::new(SpaceId(0));
static DESCRIPTORS: [Descriptor<Metal>; N_TABLES] = [const { Descriptor::new() }; N_TABLES];
static TABLES: [[AtomicU64; X86_64::ENTRIES]; N_TABLES] =
    [const { [const { AtomicU64::new(0) }; X86_64::ENTRIES] }; N_TABLES];
static N_TABLES_USED: AtomicU64 = AtomicU64::new(0);
static N_TABLES_FREED: AtomicU64 = AtomicU64::new(0);
/// The frame that each CPU's TLB remembers for [`PAGE`], plus one.
static REMEMBERED: [AtomicU64; N_CPUS] = [const { AtomicU64::new(0) }; N_CPUS];

/// A CPU. A kernel reads the number from its per-CPU data.
struct Metal(CpuId);

impl Metal {
    fn word<'a>(&self, at: At<'a, MetalWord>) -> &'a AtomicU64 {
        match at {
            At::Word(word) => &word.0,
            At::Entry(EntryAt { table, index }) => &TABLES[table.0.0 as usize][index],
        }
    }

    fn remembered(&self) -> &'static AtomicU64 {
        &REMEMBERED[usize::from(self.0.0)]
    }

    /// Translates [`PAGE`] as a processor does, and remembers the translation.
    fn access(&self) -> bool {
        let mut table = TableFrame(Pfn(0)); // the root is the first table there was
        for level in (1..=X86_64::LEVELS).rev().map(Level) {
            let at = EntryAt { table, index: PAGE.index::<X86_64>(level) };
            match X86_64::decode(self.word(At::Entry(at)).load(Acquire), level) {
                Entry::Table(next) | Entry::SharedTable(next) => table = next,
                Entry::Leaf(frame) => self.remembered().store(frame.0 + 1, Relaxed),
                Entry::Absent => break,
            }
        }
        self.remembered().load(Relaxed) != 0
    }
}

// SAFETY:
// - Memory, own words: atomics in statics, used with the order asked for or a stronger one.
// - Invalidation: the one translation that can be remembered is dropped at once.
// - Interrupts: a kick runs the handler before it returns; there is nothing to mask.
// - `cpu`: the value is the CPU.
// - Frames: each table is given out once, and is zero from the start.
// - Placement: statics, zero at birth, one for each index.
// - `keeps`: the default, `true`.
unsafe impl Machine for Metal {
    type Format = X86_64;
    type Cpus = UpTo<1>;
    type Word = MetalWord;
    type Policy = DefaultPolicy;
    type Batch = [u64; 0]; // never given

    fn load(&self, at: At<'_, MetalWord>, order: Ordering) -> u64 {
        self.word(at).load(order)
    }
    fn store(&self, at: At<'_, MetalWord>, value: u64, order: Ordering) {
        self.word(at).store(value, order);
    }
    fn modify(&self, at: At<'_, MetalWord>, modify: Modify, order: Ordering) -> u64 {
        let word = self.word(at);
        match modify {
            Modify::Swap(value) => word.swap(value, order),
            Modify::Or(bits) => word.fetch_or(bits, order),
            Modify::And(bits) => word.fetch_and(bits, order),
            Modify::Add(value) => word.fetch_add(value, order),
            Modify::CompareExchange { old, new } => {
                word.compare_exchange(old, new, order, SeqCst).unwrap_or_else(|was| was)
            }
        }
    }
    fn fence(&self, order: Ordering) {
        fence(order);
    }
    fn cpu(&self) -> CpuId {
        self.0
    }
    fn invalidate(&self, _: Invalidate) {
        self.remembered().store(0, Relaxed);
    }
    fn complete(&self) {}
    fn load_root(&self, _: Option<(TableFrame, SpaceId)>) {
        self.remembered().store(0, Relaxed);
    }
    fn mask(&self) -> u64 {
        0
    }
    fn restore(&self, _: u64) {}
    fn kick(&self, to: &CpuSet<UpTo<1>>) {
        to.iter().for_each(|cpu| call::handle_kick(&Metal(cpu)));
    }
    fn spin<R: Small>(&self, ready: impl Fn(&Self) -> Option<R> + Sync) -> R {
        loop {
            if let Some(result) = ready(self) {
                return result;
            }
        }
    }
    fn alloc_table(&self) -> Result<TableFrame, NoFrame> {
        let index = N_TABLES_USED.fetch_add(1, Relaxed);
        if index < N_TABLES as u64 { Ok(TableFrame(Pfn(index))) } else { Err(NoFrame) }
    }
    fn free_table(&self, _: TableFrame) {
        N_TABLES_FREED.fetch_add(1, Relaxed);
    }
    fn alloc_batch(&self) -> Option<[u64; 0]> {
        None
    }
    fn per_cpu(&self, cpu: CpuId) -> &PerCpu<Metal> {
        &PER_CPU[usize::from(cpu.0)]
    }
    fn slot(&self, from: CpuId, to: CpuId) -> &Slot<Metal> {
        &SLOTS[usize::from(from.0)][usize::from(to.0)]
    }
    fn present(&self) -> &Present<Metal> {
        &PRESENT
    }
    fn space(&self, id: SpaceId) -> Option<&Space<Metal>> {
        (id == SPACE.id()).then_some(&SPACE)
    }
    fn descriptor(&self, table: TableFrame) -> &Descriptor<Metal> {
        &DESCRIPTORS[table.0.0 as usize]
    }
}

/// Maps a page on two CPUs, unmaps it on one, and sees that neither reaches it when its frame is let go of.
extern "C" fn run() -> ! {
    let [m, other] = [Metal(CpuId(0)), Metal(CpuId(1))];
    check(1, SPACE.create(&m).is_ok());
    // SAFETY: nothing else knows of frame 77, and any frame is aligned to the lowest level.
    let frame = unsafe { Frame::claim(Pfn(77), Level::LEAF) };
    check(2, SPACE.lock(&m).map(PAGE, frame, Attributes::USER_WRITE).is_ok());
    SPACE.switch_to(&m);
    SPACE.switch_to(&other);
    check(3, m.access() && other.access());

    let sink = |_: &Metal, frame: Frame| {
        check(4, frame.pfn() == Pfn(77));
        check(5, REMEMBERED.iter().all(|remembered| remembered.load(Relaxed) == 0));
    };
    let range = VpnRange::from_len(PAGE, 1);
    let mut gather = Gather::new(&m, &SPACE, &sink);
    let mut tables = SPACE.lock(&m);
    check(6, tables.find(PAGE).and_then(|leaf| gather.unhook(leaf)).is_some());
    gather.unhook_tables(&mut tables, range, X86_64::REACH);
    drop(tables);
    check(7, N_TABLES_FREED.load(Relaxed) == 0 && other.remembered().load(Relaxed) != 0);
    gather.finish();
    // All but the root.
    check(8, N_TABLES_FREED.load(Relaxed) == u64::from(X86_64::LEVELS) - 1);
    check(9, !m.access() && !other.access());
    exit(0)
}

fn check(number: u64, holds: bool) {
    if !holds {
        exit(number);
    }
}
