//! [`Machine`]: the one trait a kernel implements.

use core::sync::atomic::Ordering;

use crate::{
    addr::{EntryAt, Level, Pfn, SpaceId, TableFrame, Vpn},
    call::{Notice, Present, Slot, Waiting, Work},
    counters::Counter,
    cpu::{CpuGeometry, CpuId, CpuSet},
    fix::Fix,
    format::EntryFormat,
    frame::NoFrame,
    gather::UnlinkedTables,
    kspace::Absence,
    notify::Listener,
    policy::Policy,
    residency::{Departure, PerCpu, Space},
    stale::Hint,
    table::Descriptor,
    tag::{Context, Tag, Tagging},
    walk::Walkers,
    word::Word,
};

/// What a memory operation addresses: a word of library state, or an entry of a page table.
#[derive(Debug)]
pub enum At<'a, W> {
    /// A word of library state.
    Word(&'a W),
    /// An entry of a page table, which hardware walkers read at the same time.
    Entry(EntryAt),
}

impl<W> Clone for At<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for At<'_, W> {}

/// A change made in one indivisible step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Modify {
    /// Writes this value.
    Swap(u64),
    /// Sets these bits.
    Or(u64),
    /// Keeps only these bits.
    And(u64),
    /// Adds this value, wrapping.
    Add(u64),
    /// Writes `new` if the word is `old`.
    CompareExchange {
        /// The value that allows the change.
        old: u64,
        /// The value written then.
        new: u64,
    },
}

impl Modify {
    /// Returns what a word that is `was` becomes.
    #[inline]
    #[must_use]
    pub const fn apply(self, was: u64) -> u64 {
        match self {
            Modify::Swap(value) => value,
            Modify::Or(bits) => was | bits,
            Modify::And(bits) => was & bits,
            Modify::Add(value) => was.wrapping_add(value),
            Modify::CompareExchange { old, new } if was == old => new,
            Modify::CompareExchange { .. } => was,
        }
    }
}

/// How much of what a CPU remembers of a translation must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// The translation itself.
    Leaf,
    /// The translation and every cached pointer to a table on the way to it (paging-structure or walk caches).
    Walk,
    /// Everything of the address space.
    Full,
}

/// One invalidation, of this CPU's own TLB or, if it is [broadcast](Machine::broadcast), of every CPU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalidate {
    /// The translation of one page.
    Leaf(Vpn, Hint),
    /// The translation of one page, and cached pointers to the tables on its path.
    Walk(Vpn, Hint),
    /// All translations and cached table pointers that are not global of the loaded address space, or of the one that a
    /// broadcast names.
    All,
    /// All translations and cached table pointers, of every address space and global ones. On a machine without tags and
    /// global entries the same as `All`.
    EveryTag,
}

/// What a wait or a scope may return: something that one word identifies, so that the explorer can tell results apart.
pub trait Small: Copy {
    /// Returns a number that differs for different values.
    fn to_word(self) -> u64;
}

impl Small for () {
    #[inline]
    fn to_word(self) -> u64 {
        0
    }
}

impl Small for bool {
    #[inline]
    fn to_word(self) -> u64 {
        u64::from(self)
    }
}

impl Small for u64 {
    #[inline]
    fn to_word(self) -> u64 {
        self
    }
}

/// What a kernel gives the library: memory, this CPU's TLB, its interrupts, frames for tables, and places for state.
///
/// The value is a handle that any code running on a CPU can have; every method takes `&self`, since an interrupt handler
/// may enter the same object on top of the code it interrupted. A complete implementation for threads of an ordinary
/// process, with signals for interrupts, is `examples/host_threads/machine.rs`.
///
/// # Safety
///
/// A wrong implementation corrupts memory: the library tells the kernel that frames are free on the strength of it. An
/// implementation promises, for every CPU of the machine:
///
/// * **Memory.** `load`, `store`, `modify` and `fence` behave as the atomic operations of
///   [`core::sync::atomic`] with the order asked for, on one coherent memory, for words and entries alike. A
///   compare-exchange that fails has the order asked for as far as it is about loads. Entries are what the hardware
///   walker reads.
/// * **Own words.** `own_get` and `own_set` behave as plain memory of the CPU that uses them.
/// * **Invalidation.** After `invalidate` and then `complete` return, this CPU uses nothing it remembered before of what
///   was named, and accesses made through it have been performed. `load_root` drops everything of other address spaces
///   that is not global; where the machine broadcasts it may keep what a broadcast reaches.
/// * **Broadcast**, where [`broadcasts`](Machine::broadcasts) says that there is such a thing. After `broadcast` and then,
///   on the same CPU, `complete` return, the same holds for every CPU: it uses nothing it remembered before of what was
///   named, whatever it has loaded by now. What other CPUs have begun `complete` need not wait for. A walk that begins
///   after the broadcast has taken effect, on any CPU, finds all that was stored to entries before a `fence(SeqCst)` before
///   the broadcast (`dsb ishst` on arm64).
/// * **Interrupts.** Between `mask` and `restore` no handler runs on this CPU. A `kick` is delivered: the target runs
///   [`call::handle_kick`](crate::call::handle_kick) some time after it can take interrupts, and that sees every store made
///   before the `kick`. (If kicks may be lost, calls are only as sure to end as [`Machine::is_overdue`] or the next
///   [`call::on_interrupt_exit`](crate::call::on_interrupt_exit) is to come.) (Where the interrupt controller is written by a register that orders nothing, as x2APIC's is, the
///   implementation puts a fence before it: SDM 3A §10.12.3.)
/// * **`cpu`** is the number of the CPU that runs the caller, who does not migrate during a library call.
/// * **Frames.** A frame from `alloc_table` is used by nobody else and reads as zero.
/// * **Placement.** Each accessor returns the same place for the same argument every time, and different places for
///   different arguments; the places are zero at first and live as long as the machine. The place of an address space
///   may be used for another one after it was destroyed, under the same id.
/// * **`keeps`** returns `true`, unless the machine is simulated.
#[expect(unsafe_code, reason = "the library believes whatever the implementation says")]
pub unsafe trait Machine: Sized + 'static {
    /// Entry format and table geometry.
    type Format: EntryFormat;
    /// How many CPUs there can be.
    type Cpus: CpuGeometry;
    /// A word of library state.
    type Word: Word;
    /// Bounds on the library's work.
    type Policy: Policy;
    /// Scratch memory of a gather, private to its thread: a page on real machines.
    type Batch: AsRef<[u64]> + AsMut<[u64]>;

    // Memory.

    /// Reads a word or an entry.
    #[track_caller]
    fn load(&self, at: At<'_, Self::Word>, order: Ordering) -> u64;

    /// Writes a word or an entry.
    #[track_caller]
    fn store(&self, at: At<'_, Self::Word>, value: u64, order: Ordering);

    /// Changes a word or an entry in one indivisible step and returns what it was.
    #[track_caller]
    fn modify(&self, at: At<'_, Self::Word>, modify: Modify, order: Ordering) -> u64;

    /// Like [`modify`](Machine::modify), where the caller does not look at what was there: the explorer then does not
    /// tell the outcomes apart.
    #[inline]
    #[track_caller]
    fn update(&self, at: At<'_, Self::Word>, modify: Modify, order: Ordering) {
        self.modify(at, modify, order);
    }

    /// Reads a word that this CPU owns for now.
    #[inline]
    #[track_caller]
    fn own_get(&self, word: &Self::Word) -> u64 {
        self.load(At::Word(word), Ordering::Relaxed)
    }

    /// Writes a word that this CPU owns for now.
    #[inline]
    #[track_caller]
    fn own_set(&self, word: &Self::Word, value: u64) {
        self.store(At::Word(word), value, Ordering::Relaxed);
    }

    /// Orders this CPU's memory operations.
    #[track_caller]
    fn fence(&self, order: Ordering);

    // This CPU.

    /// Returns the CPU that runs the caller.
    fn cpu(&self) -> CpuId;

    /// Begins to drop what this CPU remembers of the loaded address space.
    #[track_caller]
    fn invalidate(&self, what: Invalidate);

    /// Returns when every `invalidate` this CPU began has taken effect, and every [`broadcast`](Machine::broadcast) this CPU
    /// began has on all CPUs.
    #[track_caller]
    fn complete(&self);

    /// Tells whether this CPU can make all CPUs forget translations, without an interrupt. Always the same.
    ///
    /// Asked at run time, since x86 CPUs say by CPUID whether they have `INVLPGB`; where it is a constant the question
    /// vanishes. A machine that says yes does [`broadcast`](Machine::broadcast), and hands out tags by itself:
    /// [`tagging`](Machine::tagging) is [`Tagging::Untagged`].
    #[inline]
    fn broadcasts(&self) -> bool {
        false
    }

    /// Begins to drop what every CPU remembers of `space`, loaded or not, or of the addresses that all address spaces share
    /// if none is named (`TLBI ..IS` on arm64, `INVLPGB` on x86). Asked for only where the machine
    /// [`broadcasts`](Machine::broadcasts).
    ///
    /// How hardware knows the address space is the machine's business: by a tag that is the same on every CPU, or by hitting
    /// those pages in all address spaces.
    ///
    /// # Panics
    /// If the machine has none, as by default.
    #[doc(alias("tlbi", "invlpgb"))]
    #[track_caller]
    fn broadcast(&self, space: Option<SpaceId>, what: Invalidate) {
        panic!("a machine that does not broadcast is asked to: {what:?} of {space:?}");
    }

    /// Makes this CPU translate through `root`, or through the kernel's own tables, which are never freed, where there
    /// is none: then nothing more is remembered under the tag that was loaded.
    #[track_caller]
    fn load_root(&self, root: Option<(TableFrame, SpaceId)>);

    /// Makes this CPU translate through `root`, and its TLB work under `tag`. If it `keeps`, what the TLB remembers under
    /// that tag is used again; otherwise it must be dropped, of this tag only. What it remembers under other tags stays, or
    /// does not.
    ///
    /// A machine without tags drops everything, which is always right.
    #[inline]
    #[track_caller]
    fn load_tagged(&self, root: TableFrame, space: SpaceId, tag: Tag, keeps: bool) {
        let _ = (tag, keeps);
        self.load_root(Some((root, space)));
    }

    /// Masks interrupts on this CPU and returns what [`restore`](Machine::restore) needs to undo it. Nests.
    #[track_caller]
    fn mask(&self) -> u64;

    /// Puts the interrupt mask back to what it was when `mask` returned `was`.
    #[track_caller]
    fn restore(&self, was: u64);

    /// Interrupts these CPUs, so that each runs [`call::handle_kick`](crate::call::handle_kick).
    #[track_caller]
    fn kick(&self, to: &CpuSet<Self::Cpus>);

    /// Runs `ready` until it returns something. The raw loop hook: library code waits with
    /// [`call::wait`](crate::call::wait), which also serves this CPU's inbox. A kernel's own loop is the place to count
    /// rounds and to keep the longest wait.
    #[track_caller]
    fn spin<R: Small>(&self, ready: impl Fn(&Self) -> Option<R> + Sync) -> R;

    /// Runs `body`, which leaves nothing behind in Rust but its result: the explorer merges all ways through it that
    /// returned the same.
    #[inline]
    #[track_caller]
    fn scope<R: Small>(&self, body: impl Fn(&Self) -> R + Sync) -> R {
        body(self)
    }

    // Frames.

    /// Takes a zeroed frame for a page-table page; may run dry at any time, and may not sleep.
    ///
    /// # Errors
    /// [`NoFrame`] if there is none.
    #[track_caller]
    fn alloc_table(&self) -> Result<TableFrame, NoFrame>;

    /// Takes a page-table page back. Nothing can reach it any more.
    #[track_caller]
    fn free_table(&self, table: TableFrame);

    /// Prepares a new page-table page of this level before anything points at it; a kernel copies its half into a root
    /// here, and does its accounting.
    ///
    /// # Errors
    /// [`NoFrame`] if what it needs could not be had; the page is freed again.
    fn construct_table(&self, table: TableFrame, level: Level) -> Result<(), NoFrame> {
        let _ = (table, level);
        Ok(())
    }

    /// Undoes [`construct_table`](Machine::construct_table), just before the page is freed.
    fn destruct_table(&self, table: TableFrame, level: Level) {
        let _ = (table, level);
    }

    /// Takes scratch memory for a gather, or not: may fail at any time, must not sleep, need not be zeroed. Two words at
    /// least, and always as many.
    #[track_caller]
    fn alloc_batch(&self) -> Option<Self::Batch>;

    /// Frees page-table pages as soon as no software walker that takes no lock can be reading them: asked only where
    /// [`Policy::TABLES`] says [`Deferred`](crate::TableCustody::Deferred). May keep them for later, as `call_rcu` does.
    ///
    /// By default every CPU is interrupted first, which ends the walks of those that mask interrupts meanwhile.
    fn defer(&self, tables: UnlinkedTables<Self>) {
        tables.free_after_rendezvous(self);
    }

    // Where library state lives.

    /// Returns the library's state of one CPU.
    fn per_cpu(&self, cpu: CpuId) -> &PerCpu<Self>;

    /// Returns the library's state of the CPU that runs the caller. A kernel that has a pointer to it at hand spares the way
    /// through the number.
    #[inline]
    fn here(&self) -> &PerCpu<Self> {
        self.per_cpu(self.cpu())
    }

    /// Returns the slot for requests from one CPU to another.
    fn slot(&self, from: CpuId, to: CpuId) -> &Slot<Self>;

    /// Returns the set of CPUs that take part. The same place for every CPU.
    fn present(&self) -> &Present<Self>;

    /// Returns the address space of this id, if there is one.
    fn space(&self, id: SpaceId) -> Option<&Space<Self>>;

    /// Returns the descriptor of a frame that is, or may become, a page-table page.
    fn descriptor(&self, table: TableFrame) -> &Descriptor<Self>;

    // Hooks that cost nothing unless used.

    /// Hears of each page whose translation was taken out, for MMUs that keep a hash of them. The entry is absent, no TLB
    /// has been told, and the page-table lock is held.
    #[inline]
    fn unhooked(&self, space: SpaceId, page: Vpn, level: Level) {
        let _ = (space, page, level);
    }

    /// Tells whether two base frames, of which one follows the other, may leave a gather as one
    /// [`FrameRun`](crate::FrameRun): for kernels whose sinks want to see a folio at a time.
    #[inline]
    fn may_join(&self, frame: Pfn, next: Pfn) -> bool {
        let _ = (frame, next);
        true
    }

    /// Called between two [chunks](Policy::RELEASE_CHUNK) of what a gather lets go of where its caller holds no page-table
    /// lock: a place to let others run.
    fn resched(&self) {}

    /// Tells whether a fix is in place. Only simulated machines ever say no.
    #[inline]
    fn keeps(&self, fix: Fix) -> bool {
        let _ = fix;
        true
    }

    /// Says what becomes of a CPU's residency bit when it switches away. Always the same.
    #[inline]
    fn departure(&self) -> Departure {
        Departure::ClearsBit
    }

    /// Says how tags are handed out, if the machine has any. Always the same.
    #[inline]
    fn tagging(&self) -> Tagging {
        Tagging::Untagged
    }

    /// Says who walks page tables without a lock. Always the same.
    #[inline]
    fn walkers(&self) -> Walkers {
        Walkers::None
    }

    /// Tells whether a flush that has interrupted every CPU that may walk the tables is taken for what it is: a proof that
    /// walks have ended before a table is [put to another use](crate::share). Always the same. Otherwise there is a round of
    /// interrupts of its own for that, as in Linux, which relies on flushes for nothing else.
    #[inline]
    fn flushes_end_walks(&self) -> bool {
        true
    }

    /// Says whether CPUs may remember that nothing is mapped somewhere, and what is done about it for kernel addresses. Always
    /// the same.
    ///
    /// For user addresses the fault handler does it: where it finds that the page permits what was tried, it makes this CPU
    /// forget the page.
    #[inline]
    fn absence(&self) -> Absence {
        Absence::Forgotten
    }

    /// Tells whether somebody besides CPUs keeps translations, or copies of them. Always the same. Otherwise nobody is looked for.
    #[inline]
    fn has_listeners(&self) -> bool {
        false
    }

    /// Returns the [listener](crate::notify) of this number, below [`MAX_LISTENERS`](crate::notify::MAX_LISTENERS). Always the same
    /// one, and there as long as it is registered.
    #[inline]
    fn listener(&self, number: u32) -> Option<Listener<'_, Self>> {
        let _ = number;
        None
    }

    /// Returns the place of an address space's tag on one CPU, on machines whose tags are
    /// [numbered](Tagging::Numbered).
    #[inline]
    fn context(&self, space: SpaceId, cpu: CpuId) -> Option<&Context<Self>> {
        let _ = (space, cpu);
        None
    }

    /// Asked once for each flush of an address space with other CPUs in its mask, where bits stay: whether CPUs that have
    /// loaded something else are to be interrupted, to be rid of their bits.
    #[inline]
    fn trims(&self, space: SpaceId) -> bool {
        let _ = space;
        false
    }

    /// Does the kernel's own work for another CPU that called with [`call::on_each`](crate::call::on_each) and the like.
    ///
    /// Interrupts are masked. It must not wait or lock, since the caller waits for it and may hold any lock.
    fn run(&self, work: Work) {
        let _ = work;
    }

    /// Drops what this CPU has fetched of instructions, as `imb` does on Alpha and a serializing instruction on x86.
    fn synchronize_instructions(&self) {}

    /// Hears a notice that another CPU gave with [`call::notify`](crate::call::notify). Interrupts are masked. It must not
    /// wait, lock or call: this CPU may be about to. If it is [`Notice::Stop`] this need not return.
    fn noticed(&self, notice: Notice) {
        let _ = notice;
    }

    /// Tells whether CPUs [depart](crate::call::depart) while others run. Always the same. If not, calls need not look
    /// again whether their targets are still there.
    #[inline]
    fn cpus_come_and_go(&self) -> bool {
        false
    }

    /// Asked after each round of a wait that found nothing: whether it has lasted so long that the interrupt for what is
    /// waited for may have been lost, and should be raised again.
    ///
    /// Where interrupts are never lost it says no. It is also where a watchdog hears who waits for whom: since when, it
    /// knows from the first time it is asked.
    #[inline]
    fn is_overdue(&self, waiting: Waiting) -> bool {
        let _ = waiting;
        false
    }

    /// Hears that something happened `times` times.
    #[inline]
    fn count(&self, counter: Counter, times: u64) {
        let _ = (counter, times);
    }
}

/// Interrupts masked on this CPU until dropped.
#[must_use = "interrupts are masked only while this lives"]
pub struct Masked<'m, M: Machine> {
    m: &'m M,
    was: u64,
}

impl<'m, M: Machine> Masked<'m, M> {
    /// Masks interrupts on this CPU.
    #[inline]
    #[track_caller]
    pub fn new(m: &'m M) -> Self {
        Masked { m, was: m.mask() }
    }
}

impl<M: Machine> Drop for Masked<'_, M> {
    #[inline]
    fn drop(&mut self) {
        self.m.restore(self.was);
    }
}
