//! [`Sim`]: the [`Machine`] whose every operation is a question to whoever drives the simulation.
//!
//! One value of it lives on each coroutine. An operation suspends the coroutine with what it wants to do; the driver
//! performs it on the simulated hardware when it chooses to, and resumes the coroutine with the result, or first with
//! an interrupt, whose handler then runs as a call on top of the interrupted code.

use std::{panic::Location as Source, sync::atomic::Ordering};

use corosensei::Yielder;
use shootdown::{
    At, Counter, CpuId, CpuSet, Departure, Descriptor, EntryFormat, Fix, Frame, Frames, Invalidate, Level, Machine,
    Modify, NoFrame, Own, PageState, PerCpu, Pfn, Policy, Shared, Small, Space, SpaceId, TableCustody, TableFrame, Tag,
    Tagging, Vpn, VpnRange,
    arch::tiny::Tiny,
    call::{Notice, Present, Slot, Waiting, Work},
    kspace::{Absence, Block, Current, KernelSpace},
    lock::Locked,
    notify::{Event, Listener, MaySleep, RangeListener, SecondaryTlb, Syncs, WouldSleep},
    tag::Context,
    walk::Walkers,
};
use shootdown_sim::smp::{Access, Location, Operation};

use crate::{
    coroutine::{Answer, Ask, Question},
    cpus::Cpus,
    left_out::LeftOut,
    places::{PLACES, WordIndex},
    reach,
    scenario::{Heard, Scenario},
};

/// Bounds small enough that a scenario of two pages meets every one of them.
#[derive(Clone, Copy, Debug)]
pub struct TinyPolicy;

impl Policy for TinyPolicy {
    const FLUSH_CEILING: u64 = 2;
    const GATHER_SLOTS: usize = 2;
    const GATHER_BATCHES: usize = 1;
    const TABLES: TableCustody =
        if cfg!(feature = "deferred-tables") { TableCustody::Deferred } else { TableCustody::WithPages };
    const TAG_SLOTS: usize = 2;
    const LAST_TAG: u16 = 2;
}

/// The machine, as one CPU's code sees it.
///
/// # Invariants
/// `yielder` is that of the coroutine whose stack this value lives on, so it is valid for as long as the value is used.
pub struct Sim {
    cpu: CpuId,
    scenario: &'static Scenario,
    left_out: LeftOut,
    yielder: *const Yielder<Answer, Ask>,
}

impl Sim {
    /// Makes the machine for a coroutine, which must keep it on its own stack.
    pub(crate) fn new(
        cpu: CpuId,
        scenario: &'static Scenario,
        left_out: LeftOut,
        yielder: &Yielder<Answer, Ask>,
    ) -> Self {
        // INVARIANT: the caller is the coroutine's own function, and no `Sim` can leave it: neither `Clone` nor an
        // accessor for the yielder exists, and scenarios only ever see `&Sim`.
        Sim { cpu, scenario, left_out, yielder }
    }

    /// Asks the driver and returns its answer.
    fn ask(&self, question: Question, at: &'static Source<'static>) -> Answer {
        // SAFETY: by the type's invariant the yielder outlives this call, and it is shared by reference only.
        #[expect(unsafe_code, reason = "`Machine: 'static` forbids a borrow of the yielder")]
        let yielder = unsafe { &*self.yielder };
        yielder.suspend(Ask { question, at })
    }

    /// Performs an operation; runs the interrupt handler first, as often as the driver wants.
    #[track_caller]
    fn perform(&self, operation: Operation) -> u64 {
        self.perform_at(operation, Source::caller())
    }

    fn perform_at(&self, operation: Operation, at: &'static Source<'static>) -> u64 {
        // Guards dropped by a panic find a machine that does nothing: the panic is the result of this run.
        if std::thread::panicking() {
            return 0;
        }
        let operation = self.left_out.weaken(operation, at);
        loop {
            match self.ask(Question::Operation(operation), at) {
                Answer::Result(result) => return result,
                Answer::Interrupt => self.handle_interrupt(),
                Answer::Tick => self.handle_tick(),
            }
        }
    }

    /// Runs the scenario's handler for kicks and returns from the interrupt.
    pub(crate) fn handle_interrupt(&self) {
        self.handle(self.scenario.handler);
    }

    /// Runs the scenario's handler for ticks and returns from the interrupt.
    pub(crate) fn handle_tick(&self) {
        self.handle(self.scenario.tick);
    }

    fn handle(&self, handler: fn(&Sim)) {
        // A scope, since nothing of a handler is left when it returns.
        self.scope(handler);
        self.perform(Operation::ReturnFromInterrupt);
    }

    /// Does nothing forever but take interrupts.
    pub(crate) fn idle(&self) -> ! {
        loop {
            self.perform(Operation::Idle);
        }
    }

    /// Tells the driver something that concerns only the structure of the code. Takes no time.
    #[track_caller]
    fn mark(&self, question: Question) {
        if !std::thread::panicking() {
            self.ask(question, Source::caller());
        }
    }

    // What scenarios use beside the library.

    /// Returns one of three address spaces.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn address_space(&self, number: usize) -> &'static Space<Sim> {
        &PLACES.spaces[number]
    }

    /// Returns the address space that scenarios use.
    #[must_use]
    pub fn user_space(&self) -> &'static Space<Sim> {
        self.address_space(0)
    }

    /// Returns another address space, for CPUs to go to.
    #[must_use]
    pub fn other_space(&self) -> &'static Space<Sim> {
        self.address_space(1)
    }

    /// Returns the CPUs that there are.
    pub fn cpus(&self) -> impl Iterator<Item = CpuId> + use<> {
        self.scenario.cpus()
    }

    /// Returns the `index`th word that belongs to no library structure.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn scratch(&self, index: usize) -> &'static Shared<Sim> {
        &PLACES.scratch[index]
    }

    /// Returns the place of kernel space.
    #[must_use]
    pub fn kernel(&self) -> &'static KernelSpace<Sim> {
        &PLACES.kernel
    }

    /// Returns the place of kernel space that has one root.
    #[must_use]
    pub fn lone_kernel(&self) -> &'static KernelSpace<Sim> {
        &PLACES.lone_kernel
    }

    /// Returns the account of the only block of small kernel mappings.
    #[must_use]
    pub fn blocks(&self) -> &'static [Block<Sim>] {
        &PLACES.blocks
    }

    /// Returns the place that says which block CPUs take addresses from: one for all.
    #[must_use]
    pub fn current_blocks(&self) -> &'static [Current<Sim>] {
        &PLACES.current_blocks
    }

    /// Returns the account of waits for the only device.
    #[must_use]
    pub fn syncs(&self) -> &'static Syncs<Sim> {
        &PLACES.syncs
    }

    /// Returns the lock of the only reverse map that scenarios have.
    #[must_use]
    pub fn rmap(&self) -> &'static Locked<Sim, ()> {
        &PLACES.rmap
    }

    /// Returns a word that belongs to no library structure, and to whoever it was handed over to.
    #[must_use]
    pub fn owned(&self) -> &'static Own<Sim> {
        &PLACES.owned
    }

    /// Lets user code read a page. A page that is not mapped faults, which is no violation.
    #[track_caller]
    pub fn access(&self, page: Vpn) {
        self.touch(page, Access::Read);
    }

    /// Lets user code write to a page. One that is not mapped for it faults, which is no violation.
    #[track_caller]
    pub fn write(&self, page: Vpn) {
        self.touch(page, Access::Write);
    }

    /// Lets user code touch a page and tells whether it could. Otherwise it has had a fault.
    #[track_caller]
    #[must_use]
    pub fn tries(&self, page: Vpn, access: Access) -> bool {
        self.perform(Operation::Access(page, access)) != 0
    }

    #[track_caller]
    fn touch(&self, page: Vpn, access: Access) {
        // Whether it faults is nobody's business here; looked at, it would double what comes after.
        let at = Source::caller();
        self.scope(|m| {
            m.perform_at(Operation::Access(page, access), at);
        });
    }

    /// Says that an operation on `pages` of the loaded address space has returned: from now on no user code goes to them
    /// in a way that the tables do not allow. Nobody may be about to map something else there.
    #[track_caller]
    pub fn promises(&self, pages: VpnRange) {
        self.perform(Operation::Promise(pages));
    }

    /// Says that the owner of a frame knows that it must be written back.
    #[track_caller]
    pub fn note_dirty(&self, frame: Pfn) {
        self.perform(Operation::NoteDirty(frame));
    }

    /// Writes a frame back: what user code stores in it later must make it dirty again.
    #[track_caller]
    pub fn write_back(&self, frame: Pfn) {
        self.perform(Operation::WriteBack(frame));
    }

    /// Copies what user code has stored in one frame to another.
    #[track_caller]
    pub fn copy(&self, from: Pfn, to: Pfn) {
        self.perform(Operation::Copy { from, to });
    }

    /// Lets no user code run on this CPU from now on: it is in a kernel thread, or idle.
    #[track_caller]
    pub fn stop_user(&self) {
        self.perform(Operation::StopUser);
    }

    /// Lets user code run on this CPU again; it is a violation if a stale translation is left.
    #[track_caller]
    pub fn resume_user(&self) {
        self.perform(Operation::ResumeUser);
    }

    /// Chooses one of `n` things to do next, at most 8: each of them happens in some interleaving.
    #[track_caller]
    #[must_use]
    pub fn choose(&self, n: u8) -> u64 {
        self.perform(Operation::Choose(n))
    }

    /// Takes a frame for user data.
    ///
    /// # Panics
    /// If there is none left: then the scenario is too big for the machine.
    #[track_caller]
    pub fn alloc_frame(&self) -> Frame {
        self.try_alloc_frame().expect("the scenario needs more frames")
    }

    /// The same, or nothing if there is none left.
    #[track_caller]
    pub fn try_alloc_frame(&self) -> Option<Frame> {
        self.take_frame(Level::LEAF)
    }

    #[track_caller]
    fn take_frame(&self, level: Level) -> Option<Frame> {
        let number = self.perform(Operation::AllocFrame(level)).checked_sub(1)?;
        // SAFETY:
        // - The reference is ours to give up: the machine has just marked what a leaf of `level` maps as data that nobody
        //   else has, and hands it out no second time before `free_frame`.
        // - It takes frames of a level at numbers that are aligned to it.
        #[expect(unsafe_code, reason = "custody of simulated frames begins here")]
        Some(unsafe { Frame::claim(Pfn(number), level) })
    }

    /// Gives a frame back on behalf of its owner, a driver or a file, who knows it by its number.
    #[track_caller]
    pub fn free_frame_of_owner(&self, frame: Pfn) {
        self.perform(Operation::FreeFrame(frame, Level::LEAF));
    }

    /// Gives a frame of user data back; the machine then checks that nothing can reach it.
    #[track_caller]
    pub fn free_frame(&self, frame: Frame) {
        self.perform(Operation::FreeFrame(frame.pfn(), frame.level()));
    }
}

/// The tag of an address space, the same on every CPU.
fn global_tag(space: SpaceId) -> u8 {
    u8::try_from(space.0).expect("there are few address spaces")
}

fn location(at: At<'_, WordIndex>) -> Location {
    match at {
        At::Word(word) => Location::Word(word.id()),
        At::Entry(at) => Location::Entry(at),
    }
}

// SAFETY: nothing real depends on this machine: frames are numbers in plain data, and no memory is handed out for them.
// Still, item by item of the trait's contract:
// - Memory: `Hardware` performs one operation at a time. What a store buffer may delay, `Operation::needs` says.
// - Own words: the driver performs them at once and in program order.
// - Invalidation: takes effect in the step that performs it; `load_root` drops everything, or, with broadcasts, keeps what
//   is remembered under the tag of each address space, which is what a broadcast names.
// - Broadcast: takes effect on all CPUs when its CPU completes, at the latest; `Operation::needs` has fences and completions
//   wait until all stores of their CPU are in memory, where walkers read.
// - Interrupts: `Hardware::enabled` offers no interrupt while they are masked; a kick stays pending until it is taken.
// - `cpu` is fixed for each coroutine.
// - Frames: `AllocTable` takes a free frame and zeroes it.
// - Placement: fixed places in one static, one for each argument; their values are words of `Hardware`, zero at first.
// - `keeps`: the machine is simulated.
#[expect(unsafe_code, reason = "the trait is unsafe to implement")]
unsafe impl Machine for Sim {
    type Format = Tiny;
    type Cpus = Cpus;
    type Word = WordIndex;
    type Policy = TinyPolicy;
    type Batch = [u64; 2];

    fn load(&self, at: At<'_, WordIndex>, order: Ordering) -> u64 {
        self.perform(Operation::Load(location(at), order))
    }

    fn store(&self, at: At<'_, WordIndex>, value: u64, order: Ordering) {
        self.perform(Operation::Store(location(at), value, order));
    }

    fn modify(&self, at: At<'_, WordIndex>, modify: Modify, order: Ordering) -> u64 {
        self.perform(Operation::Modify(location(at), modify, order))
    }

    fn update(&self, at: At<'_, WordIndex>, modify: Modify, order: Ordering) {
        self.perform(Operation::Update(location(at), modify, order));
    }

    fn own_get(&self, word: &WordIndex) -> u64 {
        self.perform(Operation::OwnGet(word.id()))
    }

    fn own_set(&self, word: &WordIndex, value: u64) {
        self.perform(Operation::OwnSet(word.id(), value));
    }

    fn fence(&self, order: Ordering) {
        self.perform(Operation::Fence(order));
    }

    fn cpu(&self) -> CpuId {
        self.cpu
    }

    fn invalidate(&self, what: Invalidate) {
        self.perform(Operation::Invalidate(what));
    }

    fn complete(&self) {
        self.perform(Operation::Complete);
    }

    fn broadcasts(&self) -> bool {
        self.scenario.broadcasts
    }

    fn broadcast(&self, space: Option<SpaceId>, what: Invalidate) {
        self.perform(Operation::Broadcast(space.map(global_tag), what));
    }

    fn load_root(&self, root: Option<(TableFrame, SpaceId)>) {
        self.perform(match root {
            // What is remembered of an address space stays until a broadcast names it.
            Some((root, space)) if self.scenario.broadcasts => {
                Operation::LoadTagged { root, tag: global_tag(space), keeps: true }
            }
            _ => Operation::LoadRoot(root.map(|(table, _)| table)),
        });
    }

    fn load_tagged(&self, root: TableFrame, space: SpaceId, tag: Tag, keeps: bool) {
        if self.scenario.tagging == Tagging::Untagged {
            return self.load_root(Some((root, space)));
        }
        let tag = u8::try_from(tag.0).expect("the machine has few tags");
        self.perform(Operation::LoadTagged { root, tag, keeps });
    }

    fn mask(&self) -> u64 {
        self.perform(Operation::Mask)
    }

    fn restore(&self, was: u64) {
        self.perform(Operation::Restore(was));
    }

    fn kick(&self, to: &CpuSet<Self::Cpus>) {
        self.perform(Operation::Kick(to.iter().fold(0, |bits, cpu| bits | 1 << cpu.0)));
    }

    fn spin<R: Small>(&self, ready: impl Fn(&Self) -> Option<R> + Sync) -> R {
        self.mark(Question::Enter);
        loop {
            if let Some(result) = ready(self) {
                self.mark(Question::Leave(result.to_word()));
                return result;
            }
            self.mark(Question::Again);
        }
    }

    fn scope<R: Small>(&self, body: impl Fn(&Self) -> R + Sync) -> R {
        self.mark(Question::Enter);
        let result = body(self);
        self.mark(Question::Leave(result.to_word()));
        result
    }

    fn alloc_table(&self) -> Result<TableFrame, NoFrame> {
        let number = self.perform(Operation::AllocTable).checked_sub(1).ok_or(NoFrame)?;
        Ok(TableFrame(Pfn(number)))
    }

    fn free_table(&self, table: TableFrame) {
        self.perform(Operation::FreeTable(table));
    }

    fn alloc_batch(&self) -> Option<[u64; 2]> {
        (self.perform(Operation::AllocBatch) != 0).then_some([0; 2])
    }

    fn per_cpu(&self, cpu: CpuId) -> &PerCpu<Self> {
        &PLACES.per_cpu[usize::from(cpu.0)]
    }

    fn slot(&self, from: CpuId, to: CpuId) -> &Slot<Self> {
        &PLACES.slots[usize::from(from.0)][usize::from(to.0)]
    }

    fn present(&self) -> &Present<Self> {
        &PLACES.present
    }

    fn space(&self, id: SpaceId) -> Option<&Space<Self>> {
        PLACES.spaces.get(id.0 as usize)
    }

    fn descriptor(&self, table: TableFrame) -> &Descriptor<Self> {
        &PLACES.descriptors[table.0.0 as usize]
    }

    fn run(&self, work: Work) {
        (self.scenario.work)(self, work);
    }

    fn noticed(&self, notice: Notice) {
        (self.scenario.noticed)(self, notice);
    }

    fn cpus_come_and_go(&self) -> bool {
        self.scenario.cpus_come_and_go
    }

    fn is_overdue(&self, waiting: Waiting) -> bool {
        // Asked for nothing but an answer it makes no difference.
        self.scenario.machine.has_clock
            && matches!(waiting, Waiting::Answer(_))
            && self.perform(Operation::AskClock) != 0
    }

    fn tagging(&self) -> Tagging {
        self.scenario.tagging
    }

    fn context(&self, space: SpaceId, cpu: CpuId) -> Option<&Context<Self>> {
        Some(&PLACES.contexts[space.0 as usize][usize::from(cpu.0)])
    }

    fn walkers(&self) -> Walkers {
        self.scenario.walkers
    }

    fn absence(&self) -> Absence {
        self.scenario.absence
    }

    fn departure(&self) -> Departure {
        self.scenario.departure
    }

    fn has_listeners(&self) -> bool {
        !self.scenario.listeners.is_empty()
    }

    fn listener(&self, number: u32) -> Option<Listener<'_, Self>> {
        static NUMBERED: [Numbered; 2] = [Numbered(0), Numbered(1)];
        let numbered = NUMBERED.get(number as usize)?;
        Some(match self.scenario.listeners.get(number as usize)? {
            Heard::Secondary(_) => Listener::Secondary(numbered),
            Heard::Range { .. } => Listener::Range(numbered),
        })
    }

    fn count(&self, counter: Counter, _times: u64) {
        reach::note(counter);
    }

    fn keeps(&self, fix: Fix) -> bool {
        !self.left_out.contains(fix)
    }
}

/// A listener of whatever scenario it is asked in.
struct Numbered(usize);

impl SecondaryTlb<Sim> for Numbered {
    fn hear(&self, m: &Sim, event: Event) {
        if let Heard::Secondary(hear) = m.scenario.listeners[self.0] {
            hear(m, event);
        }
    }
}

impl RangeListener<Sim> for Numbered {
    fn begin(&self, m: &Sim, _: &Space<Sim>, pages: VpnRange, _: MaySleep) -> Result<(), WouldSleep> {
        if let Heard::Range { begin, .. } = m.scenario.listeners[self.0] {
            begin(m, pages);
        }
        Ok(())
    }

    fn ended(&self, m: &Sim, _: &Space<Sim>) {
        if let Heard::Range { begin, .. } = m.scenario.listeners[self.0] {
            begin(m, Tiny::REACH);
        }
    }

    fn end(&self, m: &Sim, _: &Space<Sim>, pages: VpnRange) {
        if let Heard::Range { end, .. } = m.scenario.listeners[self.0] {
            end(m, pages);
        }
    }
}

// SAFETY: as for `Machine`; `AllocFrame` takes free frames, aligned to their level, and each has a place of its own.
#[expect(unsafe_code, reason = "the trait is unsafe to implement")]
unsafe impl Frames for Sim {
    fn alloc_frame(&self, level: Level) -> Result<Frame, NoFrame> {
        self.take_frame(level).ok_or(NoFrame)
    }

    fn free_frame(&self, frame: Frame) {
        self.perform(Operation::FreeFrame(frame.pfn(), frame.level()));
    }

    // What is looked at is who has stored, and nobody has to a frame that was free.
    fn clear_frame(&self, _: &Frame) {}

    fn copy_frame(&self, from: Pfn, to: Pfn, _: Level) {
        self.copy(from, to);
    }

    fn page(&self, frame: Pfn) -> &PageState<Self> {
        &PLACES.pages[frame.0 as usize]
    }
}
