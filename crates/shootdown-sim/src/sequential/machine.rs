//! The machine itself: [`Machine`] over plain memory, and what a replay needs to steer it.

use std::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicU64, Ordering},
};

use rustc_hash::FxHashMap;
use shootdown::{
    At, Counter, CpuId, CpuSet, Departure, EntryAt, Fix, Frame, Frames as DataFrames, Invalidate, Level, Machine,
    Modify, NoFrame, OneMemory, PageState, PerCpu, Pfn, Small, Space, SpaceId, TableFrame, UpTo, Vpn, Word,
    call::{self, Present, Slot},
    gather::UnlinkedTables,
    notify::{Ended, Event, Listener, Registration, SecondaryTlb},
    residency,
    table::Descriptor,
    walk::Walkers,
};

use super::{
    architecture::Architecture,
    arena::Arena,
    device::{Dma, IOMMU, Iommu, OTHER_LISTENER, Told},
    frames::Frames,
    remembered::{Oracle, StaleAccess, Writer},
};

/// The most CPUs a machine can have.
pub const MAX_CPUS: usize = 256;

/// Room for [`MAX_CPUS`].
pub(super) type Cpus = UpTo<4>;

/// A word of library state.
///
/// Atomic only because words are shared by type; one thread runs everything.
#[derive(Debug)]
pub struct SequentialWord(AtomicU64);

impl Word for SequentialWord {
    const ZERO: Self = SequentialWord(AtomicU64::new(0));
}

/// How the machine keeps residency masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masks {
    /// A CPU leaves the mask when it switches away.
    Exact,
    /// Its bit stays. The first flush that finds other CPUs in the mask so many nanoseconds after the last trim, or after
    /// the address space was made, clears the bits of those that have loaded something else.
    Trimmed {
        /// Between two trims.
        interval_ns: u64,
    },
}

/// What a machine takes for the proof that walks without a lock have ended, before a table that was shared is put to another
/// use. Who is about to free one looks at flushes either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfWalks {
    /// A flush that has interrupted every CPU that may walk there.
    Flush,
    /// A round of interrupts that is made for nothing else.
    OwnRound,
}

/// What gathers have told a machine by way of hooks that it does nothing else with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Pages that were unhooked, one by one.
    pub unhooked: u64,
    /// Resched points.
    pub resched_points: u64,
    /// Invalidations of single pages for entries of several levels.
    pub of_mixed_levels: u64,
}

/// What a batch page, which is as large as a table, has no room for: two words of header.
const BATCH_HEADER_WORDS: usize = 2;

struct Cpu<A: Architecture> {
    per_cpu: PerCpu<Sequential<A>>,
    is_masked: Cell<bool>,
    counters: [Cell<u64>; Counter::COUNT],
}

/// An invalidation for every CPU, of one address space or of all.
type Broadcast = (Option<SpaceId>, Invalidate);

/// A machine of up to 256 CPUs of which one acts at a time.
pub struct Sequential<A: Architecture> {
    current: Cell<CpuId>,
    // CPUs that have been interrupted and have not noticed.
    kicked: Cell<CpuSet<Cpus>>,
    cpus: Vec<Cpu<A>>,
    // By sender and target.
    slots: Arena<Slot<Sequential<A>>>,
    present: Present<Sequential<A>>,
    spaces: Arena<Space<Sequential<A>>>,
    unused_spaces: RefCell<Vec<SpaceId>>,
    n_spaces: Cell<u32>,
    frames: Frames<A>,
    oracle: Oracle<A>,
    left_out: Vec<Fix>,
    // How many more batches there are, if not any number.
    batches_left: Cell<Option<u64>>,
    joins_frames: Cell<bool>,
    deferred: RefCell<Vec<UnlinkedTables<Sequential<A>>>>,
    heard: Cell<Heard>,
    listener: Option<&'static dyn SecondaryTlb<Sequential<A>>>,
    masks: Masks,
    walkers: Walkers,
    end_of_walks: EndOfWalks,
    // What each CPU has begun to make all CPUs forget and not completed, on a machine that broadcasts.
    begun: Option<Vec<RefCell<Vec<Broadcast>>>>,
    now_ns: Cell<u64>,
    // When each address space is to be trimmed next.
    next_trim_ns: RefCell<FxHashMap<SpaceId, u64>>,
    counters: [Cell<u64>; Counter::COUNT],
}

impl<A: Architecture> Sequential<A> {
    /// Makes a machine with `n_cpus` CPUs, exact masks, walkers that do not show it, and without the fixes in `left_out`. No
    /// CPU [takes part](Self::arrive) in calls to all yet.
    ///
    /// # Panics
    /// If `n_cpus` is 0 or above [`MAX_CPUS`].
    #[must_use]
    pub fn new(n_cpus: usize, left_out: &[Fix]) -> Self {
        assert!((1..=MAX_CPUS).contains(&n_cpus), "1 to 256 CPUs");
        Sequential {
            current: Cell::new(CpuId(0)),
            kicked: Cell::new(CpuSet::EMPTY),
            cpus: (0..n_cpus)
                .map(|_| Cpu { per_cpu: PerCpu::new(), is_masked: Cell::new(false), counters: zeroed() })
                .collect(),
            slots: Arena::new(|_| Slot::new()),
            present: Present::new(),
            spaces: Arena::new(|index| Space::new(SpaceId(index as u32))),
            unused_spaces: RefCell::default(),
            n_spaces: Cell::new(0),
            frames: Frames::new(),
            oracle: Oracle::new(n_cpus),
            left_out: left_out.to_vec(),
            batches_left: Cell::new(None),
            joins_frames: Cell::new(false),
            deferred: RefCell::default(),
            heard: Cell::default(),
            listener: None,
            masks: Masks::Exact,
            walkers: Walkers::Unannounced,
            end_of_walks: EndOfWalks::Flush,
            begun: None,
            now_ns: Cell::new(0),
            next_trim_ns: RefCell::default(),
            counters: zeroed(),
        }
    }

    /// Returns the machine with its residency masks kept so; to be chosen before anything runs.
    #[must_use]
    pub fn with_masks(self, masks: Masks) -> Self {
        Sequential { masks, ..self }
    }

    /// Returns the machine with these walkers; to be chosen before anything runs.
    #[must_use]
    pub fn with_walkers(self, walkers: Walkers) -> Self {
        Sequential { walkers, ..self }
    }

    /// Returns the machine with another proof that walks have ended than a flush; to be chosen before anything runs.
    #[must_use]
    pub fn with_end_of_walks(self, end_of_walks: EndOfWalks) -> Self {
        Sequential { end_of_walks, ..self }
    }

    /// Returns the machine with broadcasts in place of interrupts for flushes; to be chosen before anything runs. Each takes
    /// effect when the CPU that has begun it completes it, as late as it may.
    #[must_use]
    pub fn with_broadcasts(self) -> Self {
        let begun = Some(self.cpus.iter().map(|_| RefCell::default()).collect());
        Sequential { begun, ..self }
    }

    /// Returns the machine with an IOMMU, as listener [`IOMMU`], and a device behind it; to be chosen before anything runs.
    /// Somebody must [register](Registration::new) it.
    #[must_use]
    pub fn with_iommu(mut self) -> Self {
        self.oracle.add_device();
        self
    }

    /// Returns the machine with a listener of the caller's, as number [`OTHER_LISTENER`]; to be chosen before anything runs.
    #[must_use]
    pub fn with_listener(mut self, listener: &'static dyn SecondaryTlb<Self>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Lets the device use `space`: its IOMMU is told of it from now on.
    ///
    /// # Errors
    /// [`Ended`]; the device does not use it.
    ///
    /// # Panics
    /// If the address space has no tables.
    pub fn attach_device(&self, iommu: &Registration, space: SpaceId) -> Result<(), Ended> {
        let place = self.space_of(space);
        iommu.attach(self, place)?;
        let root = place.lock(self).root().expect("an address space that lives has a root");
        self.oracle.device_attached(space, root);
        Ok(())
    }

    /// Lets the device, if there is one and it may use `space`, use `page` there, as far as it is permitted. From then on it
    /// remembers the translation.
    pub fn touch(&self, space: SpaceId, page: Vpn, dma: Dma) {
        self.oracle.device_touches(&self.frames, space, page, dma);
    }

    /// Returns how often the device has touched a page.
    #[must_use]
    pub fn n_touches(&self) -> u64 {
        self.oracle.device().map_or(0, |device| device.borrow().n_touches())
    }

    /// Returns what the IOMMU was told so far.
    #[must_use]
    pub fn told(&self) -> Told {
        self.oracle.device().map_or(Told::default(), |device| device.borrow().told())
    }

    pub(super) fn device_hears(&self, event: Event) {
        self.oracle.device().into_iter().for_each(|device| device.borrow_mut().hears(event));
    }

    /// Says what time it is.
    pub fn set_time(&self, now_ns: u64) {
        self.now_ns.set(now_ns);
    }

    /// Returns how many CPUs it has.
    #[must_use]
    pub fn n_cpus(&self) -> usize {
        self.cpus.len()
    }

    /// Lets `cpu` act: it takes the interrupts that wait for it, and then everything is done on it until another acts.
    pub fn act_on(&self, cpu: CpuId) {
        self.current.set(cpu);
        self.take_interrupt(cpu);
    }

    /// Lets the acting CPU take part in calls to all. It has loaded nothing yet.
    pub fn arrive(&self) {
        call::arrive(self);
    }

    /// Switches the acting CPU to `space`, and looks whether it brings stale translations along.
    pub fn switch_to(&self, space: SpaceId) {
        self.space_of(space).switch_to(self);
        self.oracle.set_lazy(self.cpu(), false);
        self.oracle.switched_in(&self.frames, self.cpu());
    }

    /// Makes the acting CPU lazy: idle, or in a kernel thread.
    pub fn go_lazy(&self) {
        residency::enter_lazy(self);
        self.oracle.set_lazy(self.cpu(), true);
    }

    /// Makes the acting CPU leave its address space for one that the machine does not follow.
    pub fn leave(&self) {
        residency::leave(self);
    }

    /// Says that an operation on `space` is complete: from now on no CPU may use what it changed.
    pub fn operation_returned(&self, space: SpaceId) {
        self.oracle.operation_returned(&self.frames, space);
    }

    /// Takes the stale accesses found since the last time.
    #[must_use]
    pub fn take_stale_accesses(&self) -> Vec<StaleAccess> {
        self.oracle.take_found()
    }

    /// Finds somebody who can store to `frame` without a fault, as nobody can while it is written out.
    #[must_use]
    pub fn writer_of(&self, frame: Pfn) -> Option<Writer> {
        self.oracle.writer_of(&self.frames, frame)
    }

    /// Makes room for an address space; it has no tables yet.
    #[must_use]
    pub fn new_space(&self) -> SpaceId {
        let id = self.unused_spaces.borrow_mut().pop().unwrap_or_else(|| {
            let id = self.n_spaces.get();
            self.n_spaces.set(id + 1);
            SpaceId(id)
        });
        if let Masks::Trimmed { interval_ns } = self.masks {
            self.next_trim_ns.borrow_mut().insert(id, self.now_ns.get().saturating_add(interval_ns));
        }
        id
    }

    /// Lets the id of a destroyed address space be used again.
    pub fn forget_space(&self, id: SpaceId) {
        self.unused_spaces.borrow_mut().push(id);
    }

    /// Returns how often the library counted `counter`.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].get()
    }

    /// Returns how often the library counted `counter` on `cpu`.
    #[must_use]
    pub fn counter_on(&self, cpu: CpuId, counter: Counter) -> u64 {
        self.cpu_of(cpu).counters[counter as usize].get()
    }

    /// Returns how many data frames have been freed.
    #[must_use]
    pub fn n_frames_freed(&self) -> u64 {
        self.frames.n_frames_freed()
    }

    /// Returns how many page-table pages have been freed.
    #[must_use]
    pub fn n_tables_freed(&self) -> u64 {
        self.frames.n_tables_freed()
    }

    /// Returns how many frames, tables included, somebody has.
    #[must_use]
    pub fn n_frames_held(&self) -> u64 {
        self.frames.n_held()
    }

    /// Lets this many more frames and tables be had and no more, or any number.
    pub fn limit_frames(&self, n_left: Option<u64>) {
        self.frames.set_left(n_left);
    }

    /// Lets gathers have this many more batch pages and no more, or any number.
    pub fn limit_batches(&self, n_left: Option<u64>) {
        self.batches_left.set(n_left);
    }

    /// Returns what gathers have told this machine so far.
    #[must_use]
    pub fn heard(&self) -> Heard {
        self.heard.get()
    }

    fn hear(&self, note: impl FnOnce(&mut Heard)) {
        let mut heard = self.heard.get();
        note(&mut heard);
        self.heard.set(heard);
    }

    /// Takes the tables that were deferred, to free them in another way.
    pub fn take_deferred(&self) -> Vec<UnlinkedTables<Self>> {
        self.deferred.take()
    }

    /// Frees the tables that were deferred, as if every lockless walk had ended; returns how many batches they were in.
    pub fn free_deferred(&self) -> usize {
        let deferred = self.take_deferred();
        let n = deferred.len();
        deferred.into_iter().for_each(|tables| tables.free(self));
        n
    }

    /// Lets frames that follow each other leave a gather as one, or not, as it is at first: what recordings are compared
    /// with does so within a folio, and they do not tell folios.
    pub fn join_frames(&self, join: bool) {
        self.joins_frames.set(join);
    }

    /// Overwrites a page-table entry behind the library's back, for tests of who reads it.
    pub fn poke_entry(&self, at: EntryAt, raw: u64) {
        self.frames.entry(at).set(raw);
    }

    fn space_of(&self, id: SpaceId) -> &Space<Sequential<A>> {
        self.spaces.get(id.0 as usize)
    }

    fn cpu_of(&self, cpu: CpuId) -> &Cpu<A> {
        &self.cpus[usize::from(cpu.0)]
    }

    /// Runs the handler of the interrupt that waits for `cpu`, if it can be taken; tells whether it was.
    fn take_interrupt(&self, cpu: CpuId) -> bool {
        let state = self.cpu_of(cpu);
        let mut kicked = self.kicked.get();
        if state.is_masked.get() || !kicked.contains(cpu) {
            return false;
        }
        kicked.remove(cpu);
        self.kicked.set(kicked);
        let interrupted = self.current.replace(cpu);
        state.is_masked.set(true);
        call::handle_kick(self);
        state.is_masked.set(false);
        self.current.set(interrupted);
        true
    }

    // Always inlined, as are its callers: whether a word or an entry is meant is known there, and to ask each time costs a
    // tenth of a replay's speed.
    #[inline(always)]
    fn write(&self, at: At<'_, SequentialWord>, old: u64, new: u64) {
        match at {
            At::Word(word) => word.0.store(new, Ordering::Relaxed),
            At::Entry(at) => {
                self.oracle.entry_changes(&self.frames, at, old, new);
                self.frames.entry(at).set(new);
            }
        }
    }

    #[inline(always)]
    fn read(&self, at: At<'_, SequentialWord>) -> u64 {
        match at {
            At::Word(word) => word.0.load(Ordering::Relaxed),
            At::Entry(at) => self.frames.entry(at).get(),
        }
    }
}

// SAFETY: one host thread runs all CPUs, so memory is trivially coherent and ordered, and no CPU migrates.
// - Invalidation, broadcast: there is no TLB to be wrong; the oracle hears of every request.
// - Interrupts: a masked CPU's handler is not run; a kick stays until it is.
// - Frames, placement: the pools hand each number out once, and arenas never move.
// - `keeps`: the machine is simulated.
#[expect(unsafe_code, reason = "the trait is unsafe to implement")]
unsafe impl<A: Architecture> Machine for Sequential<A> {
    type Format = A;
    type Cpus = Cpus;
    type Word = SequentialWord;
    type Policy = A::Policy;
    type Batch = Box<[u64]>;

    #[inline(always)]
    fn load(&self, at: At<'_, SequentialWord>, _: Ordering) -> u64 {
        self.read(at)
    }

    #[inline(always)]
    fn store(&self, at: At<'_, SequentialWord>, value: u64, _: Ordering) {
        self.write(at, self.read(at), value);
    }

    #[inline(always)]
    fn modify(&self, at: At<'_, SequentialWord>, modify: Modify, _: Ordering) -> u64 {
        let old = self.read(at);
        self.write(at, old, modify.apply(old));
        old
    }

    fn fence(&self, _: Ordering) {}

    #[inline]
    fn cpu(&self) -> CpuId {
        self.current.get()
    }

    fn invalidate(&self, what: Invalidate) {
        if let Invalidate::Leaf(_, hint) | Invalidate::Walk(_, hint) = what
            && hint.levels.is_mixed()
        {
            self.hear(|heard| heard.of_mixed_levels += 1);
        }
        self.oracle.invalidated(self.cpu(), what);
    }

    fn complete(&self) {
        let Some(begun) = &self.begun else {
            return;
        };
        for (space, what) in begun[usize::from(self.cpu().0)].take() {
            self.oracle.broadcast(space, what);
        }
    }

    #[inline]
    fn broadcasts(&self) -> bool {
        self.begun.is_some()
    }

    fn broadcast(&self, space: Option<SpaceId>, what: Invalidate) {
        let begun = self.begun.as_ref().expect("the machine broadcasts");
        begun[usize::from(self.cpu().0)].borrow_mut().push((space, what));
    }

    fn load_root(&self, root: Option<(TableFrame, SpaceId)>) {
        self.oracle.root_loaded(self.cpu(), root);
    }

    fn mask(&self) -> u64 {
        u64::from(self.cpu_of(self.cpu()).is_masked.replace(true))
    }

    fn restore(&self, was: u64) {
        self.cpu_of(self.cpu()).is_masked.set(was != 0);
    }

    #[inline]
    fn walkers(&self) -> Walkers {
        self.walkers
    }

    #[inline]
    fn flushes_end_walks(&self) -> bool {
        self.end_of_walks == EndOfWalks::Flush
    }

    fn kick(&self, to: &CpuSet<Cpus>) {
        let mut kicked = self.kicked.get();
        to.iter().for_each(|cpu| kicked.insert(cpu));
        self.kicked.set(kicked);
    }

    fn spin<R: Small>(&self, ready: impl Fn(&Self) -> Option<R> + Sync) -> R {
        loop {
            if let Some(result) = ready(self) {
                return result;
            }
            let here = self.cpu();
            let n_taken = self.kicked.get().iter().filter(|cpu| *cpu != here && self.take_interrupt(*cpu)).count();
            assert!(n_taken > 0, "CPU {} waits for something that no other CPU will do", here.0);
        }
    }

    fn alloc_table(&self) -> Result<TableFrame, NoFrame> {
        self.frames.alloc_table()
    }

    fn free_table(&self, table: TableFrame) {
        self.oracle.table_freed(table);
        self.frames.free_table(table);
    }

    fn construct_table(&self, table: TableFrame, level: Level) -> Result<(), NoFrame> {
        self.oracle.table_made(table, level);
        if level == A::ROOT
            && let Some((index, raw)) = A::self_map(table)
        {
            self.frames.entry(EntryAt { table, index }).set(raw);
        }
        Ok(())
    }

    fn alloc_batch(&self) -> Option<Box<[u64]>> {
        if let Some(n_left) = self.batches_left.get() {
            self.batches_left.set(Some(n_left.checked_sub(1)?));
        }
        Some(vec![0; A::ENTRIES - BATCH_HEADER_WORDS].into_boxed_slice())
    }

    fn defer(&self, tables: UnlinkedTables<Self>) {
        self.deferred.borrow_mut().push(tables);
    }

    fn unhooked(&self, _: SpaceId, _: Vpn, _: Level) {
        self.hear(|heard| heard.unhooked += 1);
    }

    fn resched(&self) {
        self.hear(|heard| heard.resched_points += 1);
    }

    #[inline]
    fn may_join(&self, _: Pfn, _: Pfn) -> bool {
        self.joins_frames.get()
    }

    #[inline]
    fn per_cpu(&self, cpu: CpuId) -> &PerCpu<Sequential<A>> {
        &self.cpu_of(cpu).per_cpu
    }

    fn slot(&self, from: CpuId, to: CpuId) -> &Slot<Sequential<A>> {
        self.slots.get(usize::from(from.0) * MAX_CPUS + usize::from(to.0))
    }

    fn present(&self) -> &Present<Sequential<A>> {
        &self.present
    }

    #[inline]
    fn space(&self, id: SpaceId) -> Option<&Space<Sequential<A>>> {
        Some(self.space_of(id))
    }

    #[inline]
    fn descriptor(&self, table: TableFrame) -> &Descriptor<Sequential<A>> {
        self.frames.descriptor(table)
    }

    #[inline]
    fn keeps(&self, fix: Fix) -> bool {
        !self.left_out.contains(&fix)
    }

    #[inline]
    fn has_listeners(&self) -> bool {
        self.oracle.device().is_some() || self.listener.is_some()
    }

    fn listener(&self, number: u32) -> Option<Listener<'_, Self>> {
        match number {
            IOMMU if self.oracle.device().is_some() => Some(Listener::Secondary(&Iommu)),
            OTHER_LISTENER => self.listener.map(Listener::Secondary),
            _ => None,
        }
    }

    fn departure(&self) -> Departure {
        match self.masks {
            Masks::Exact => Departure::ClearsBit,
            Masks::Trimmed { .. } => Departure::LeavesBit,
        }
    }

    fn trims(&self, space: SpaceId) -> bool {
        let Masks::Trimmed { interval_ns } = self.masks else {
            return false;
        };
        let now_ns = self.now_ns.get();
        self.next_trim_ns.borrow_mut().get_mut(&space).is_some_and(|next_ns| {
            let is_due = now_ns > *next_ns;
            if is_due {
                *next_ns = now_ns.saturating_add(interval_ns);
            }
            is_due
        })
    }

    fn count(&self, counter: Counter, times: u64) {
        for counters in [&self.counters, &self.cpu_of(self.cpu()).counters] {
            let counter = &counters[counter as usize];
            counter.set(counter.get() + times);
        }
    }
}

// SAFETY: there is one thread.
#[expect(unsafe_code, reason = "as above")]
unsafe impl<A: Architecture> OneMemory for Sequential<A> {}

// SAFETY: the pools hand each frame out once and take it back in `free_frame`; zones are aligned to their level; `page`
// gives each frame its own element.
#[expect(unsafe_code, reason = "as above")]
unsafe impl<A: Architecture> DataFrames for Sequential<A> {
    fn alloc_frame(&self, level: Level) -> Result<Frame, NoFrame> {
        let pfn = self.frames.alloc(level)?;
        // SAFETY: the pool gave this frame, aligned to `level`, to us and to nobody else.
        Ok(unsafe { Frame::claim(pfn, level) })
    }

    fn free_frame(&self, frame: Frame) {
        self.oracle.frame_freed(frame.pfn());
        self.frames.free(frame.pfn());
    }

    // Frames have no contents here.
    fn clear_frame(&self, _: &Frame) {}
    fn copy_frame(&self, _: Pfn, _: Pfn, _: Level) {}

    #[inline]
    fn page(&self, frame: Pfn) -> &PageState<Sequential<A>> {
        self.frames.page(frame)
    }
}

fn zeroed() -> [Cell<u64>; Counter::COUNT] {
    [const { Cell::new(0) }; Counter::COUNT]
}

#[cfg(test)]
mod tests {
    use shootdown::{Attributes, Gather, Vpn, VpnRange, arch::x86_64::X86_64, page};

    use super::*;
    use crate::sequential::{Holder, StaleKind};

    /// A CPU that came back from lazy mode without looking at the generation would use what it must not.
    #[test]
    fn a_cpu_that_comes_back_without_catching_up_is_caught() {
        let machine = Sequential::<X86_64>::new(2, &[]);
        let id = machine.new_space();
        let space = machine.space_of(id);
        space.create(&machine).expect("there is memory");
        let frame = page::allocate(&machine, Level::LEAF).expect("there is memory");
        space.lock(&machine).map(Vpn(7), frame, Attributes::USER_READ).expect("nothing is there");
        for cpu in [1, 0] {
            machine.act_on(CpuId(cpu));
            machine.switch_to(id);
        }
        machine.act_on(CpuId(1));
        machine.go_lazy();
        machine.act_on(CpuId(0));
        let mut gather = Gather::new(&machine, space, &page::DropReference);
        gather.unhook(space.lock(&machine).next_leaf(VpnRange::from_len(Vpn(7), 1)).expect("mapped"));
        gather.finish();
        assert_eq!(machine.take_stale_accesses(), []);
        machine.oracle.set_lazy(CpuId(1), false);
        machine.oracle.switched_in(&machine.frames, CpuId(1));
        let found = machine.take_stale_accesses();
        let is_it = |stale: &StaleAccess| (stale.kind, stale.holder) == (StaleKind::SwitchedIn, Holder::Cpu(CpuId(1)));
        assert!(found.len() == 1 && is_it(&found[0]), "{found:?}");
    }
}
