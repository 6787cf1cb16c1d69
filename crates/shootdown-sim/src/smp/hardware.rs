//! The machine's whole state, what can happen next, and what an operation does.

use std::{
    hash::{Hash, Hasher},
    ops::Range,
    sync::atomic::Ordering::{self, Relaxed, SeqCst},
};

use shootdown::{CpuId, EntryAt, EntryFormat, Invalidate, Level, Modify, Pfn, TableFrame, arch::tiny::Tiny};

use super::{
    ENTRIES, FRAMES, MAX_CPUS, MAX_DEPTH,
    act::Act,
    broadcast::InFlight,
    config::{Config, MemoryModel, TlbModel},
    cpu::Cpu,
    frame::{Frame, FrameKind, MaybeFrame, led_to},
    operation::{Location, Needs, Operation, releases},
    violation::Violation,
    words::Words,
};

/// What a frame holds before it is zeroed: a translation to a frame that there is not.
const GARBAGE: u8 = 0xff;

/// The state of the machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Hardware {
    pub(super) config: Config,
    pub(super) words: Words,
    pub(super) frames: [Frame; FRAMES],
    /// Those that run and no others, since every state is copied.
    pub(super) cpus: Box<[Cpu]>,
}

impl Clone for Hardware {
    fn clone(&self) -> Self {
        let Hardware { config, words, frames, cpus } = self;
        Hardware { config: *config, words: words.clone(), frames: *frames, cpus: cpus.clone() }
    }

    /// Allocates nothing if both have as many words and CPUs: a search does this for every transition.
    fn clone_from(&mut self, other: &Self) {
        let Hardware { config, words, frames, cpus } = other;
        self.config = *config;
        self.words.clone_from(words);
        self.frames = *frames;
        self.cpus.clone_from(cpus);
    }
}

impl Hash for Hardware {
    /// Leaves the configuration out: whoever collects states collects those of one machine.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.words.hash(hasher);
        // As few words as there can be: every state is hashed.
        for frames in self.frames.chunks((u64::BITS / Frame::BITS) as usize) {
            hasher.write_u64(frames.iter().fold(0, |bits, frame| bits << Frame::BITS | frame.bits()));
        }
        self.cpus.iter().for_each(|cpu| cpu.hash(hasher));
    }
}

impl Hardware {
    /// Makes a machine with so many words of library state, all zero, free frames, and CPUs that have loaded nothing.
    ///
    /// # Panics
    /// If it is to have more CPUs than there is room for.
    #[must_use]
    pub fn new(config: Config, n_words: usize) -> Self {
        assert!(config.cpus <= MAX_CPUS, "there is room for {MAX_CPUS} CPUs");
        Hardware {
            config,
            words: Words::new(n_words),
            frames: Default::default(),
            cpus: vec![const { Cpu::new() }; config.cpus].into_boxed_slice(),
        }
    }

    /// Returns one CPU.
    ///
    /// # Panics
    /// If there is no such CPU.
    #[must_use]
    pub fn cpu(&self, cpu: CpuId) -> &Cpu {
        &self.cpus[usize::from(cpu.0)]
    }

    pub(super) fn cpu_mut(&mut self, cpu: CpuId) -> &mut Cpu {
        &mut self.cpus[usize::from(cpu.0)]
    }

    pub(super) fn frame(&self, frame: Pfn) -> &Frame {
        &self.frames[frame.0 as usize]
    }

    pub(super) fn frame_mut(&mut self, frame: Pfn) -> &mut Frame {
        &mut self.frames[frame.0 as usize]
    }

    /// Returns what a word or entry holds in memory.
    #[must_use]
    pub fn peek(&self, location: Location) -> u64 {
        match location {
            Location::Word(word) => self.words.get(word),
            Location::Entry(at) => u64::from(self.frame(at.table.0).entries[at.index]),
        }
    }

    /// Returns what a load of `cpu` finds: its own stores, also those that have not reached memory.
    #[must_use]
    pub fn peek_from(&self, cpu: CpuId, location: Location) -> u64 {
        self.cpu(cpu).stores.newest(location).unwrap_or_else(|| self.peek(location))
    }

    /// Tells whether all words and frames are as they are in `other`.
    #[must_use]
    pub fn has_same_memory(&self, other: &Hardware) -> bool {
        self.words == other.words && self.frames == other.frames
    }

    pub(super) fn poke(&mut self, location: Location, value: u64) {
        match location {
            Location::Word(word) => self.words.set(word, value),
            Location::Entry(at) => {
                let table = self.frame_mut(at.table.0);
                table.entries[at.index] = u8::try_from(value).expect("an entry is one byte");
                let level = table.level();
                self.note_mapped(led_to(value, level));
            }
        }
    }

    /// Notes that some entry leads to these frames, as far as there are such.
    fn note_mapped(&mut self, frames: Range<u64>) {
        for frame in frames {
            if let Some(frame) = self.frames.get_mut(frame as usize) {
                frame.was_mapped = true;
            }
        }
    }

    /// Checks that code that goes to `at` goes to a word, or to an entry of a table.
    fn check_entry(&self, cpu: CpuId, at: Location) -> Result<(), Violation> {
        match at {
            Location::Entry(at) if !self.frame(at.table.0).kind.is_table() => {
                Err(Violation::EntryOfNoTable { cpu, frame: at.table.0 })
            }
            _ => Ok(()),
        }
    }

    /// Lists everything that can happen next. `pending` holds the operation that each CPU performs next.
    pub fn enabled(&self, pending: &[Operation], acts: &mut Vec<Act>) {
        acts.clear();
        for (number, operation) in (0..).zip(pending) {
            let cpu = CpuId(number);
            let here = self.cpu(cpu);
            acts.extend((0..self.n_outcomes(cpu, *operation)).map(|outcome| Act::Step { cpu, outcome }));
            if self.takes_interrupt(cpu) {
                acts.push(Act::Interrupt { cpu });
            }
            if self.takes_tick(cpu) {
                acts.push(Act::Tick { cpu });
            }
            acts.extend(self.drains(cpu));
            self.push_walks(cpu, acts);
            if self.config.evicts && self.config.tlb == TlbModel::Fills {
                acts.extend(here.tlb().evictable().map(|what| Act::Evict { cpu, what }));
            }
        }
    }

    /// Tells whether `cpu` can take its pending kick now.
    #[must_use]
    pub fn takes_interrupt(&self, cpu: CpuId) -> bool {
        self.cpu(cpu).is_kicked() && self.can_be_interrupted(cpu)
    }

    /// Tells whether the timer of `cpu` can interrupt it now.
    #[must_use]
    pub fn takes_tick(&self, cpu: CpuId) -> bool {
        self.config.ticks && self.can_be_interrupted(cpu)
    }

    fn can_be_interrupted(&self, cpu: CpuId) -> bool {
        let here = self.cpu(cpu);
        !here.is_masked() && here.depth() < MAX_DEPTH && (here.has_drained() || !self.config.serializes)
    }

    /// Lists the stores of `cpu` that can reach memory now.
    pub fn drains(&self, cpu: CpuId) -> impl Iterator<Item = Act> + '_ {
        let stores = &self.cpu(cpu).stores;
        let is_let_in = move |place: &usize| {
            !self.config.is_late() || !stores.peek(*place).is_some_and(|(at, _)| self.is_changed_elsewhere(cpu, at))
        };
        let places = stores.drainable(self.config.memory).filter(is_let_in);
        places.map(move |place| Act::Drain { cpu, place: place as u8 })
    }

    /// How many outcomes the operation can have now. None if it has to wait, or the CPU has come to its end.
    fn n_outcomes(&self, cpu: CpuId, operation: Operation) -> u8 {
        match operation {
            Operation::Idle => 0,
            _ if !self.is_ready(cpu, operation) => 0,
            // Outcome 0 takes effect at once, outcome 1 does not.
            Operation::Broadcast(..) => 2,
            // Outcome 0 gives it, outcome 1 refuses it.
            Operation::AllocBatch if self.config.may_refuse_batches => 2,
            // Outcome 0 says that it has not been too long, outcome 1 that it has.
            Operation::AskClock if self.config.has_clock => 2,
            Operation::AllocTable if self.config.may_refuse_tables => 2,
            Operation::Access(page, access) => self.n_ways(cpu, page, access) as u8,
            Operation::Choose(n) => n,
            _ => 1,
        }
    }

    /// Tells whether `cpu` can perform the operation now, and need not wait for stores.
    #[must_use]
    pub fn is_ready(&self, cpu: CpuId, operation: Operation) -> bool {
        let stores = &self.cpu(cpu).stores;
        let is_late = self.config.is_late();
        let is_let_in = match operation {
            Operation::Modify(at, ..) | Operation::Update(at, ..) if is_late => !self.is_changed_elsewhere(cpu, at),
            _ => true,
        };
        is_let_in
            && match operation.needs(&self.config) {
                Needs::Nothing => true,
                Needs::Room => stores.has_room(),
                Needs::Drained => stores.is_empty(),
                Needs::DrainedAt(at) => {
                    stores.newest(at).is_none() && !stores.has_barrier() && (!is_late || stores.has_room())
                }
                Needs::DrainedInTotalOrder => !stores.has_total_order(),
            }
    }

    /// Tells whether another CPU is in the middle of a change of this place.
    fn is_changed_elsewhere(&self, cpu: CpuId, at: Location) -> bool {
        (0..).map(CpuId).zip(&self.cpus).any(|(other, there)| other != cpu && there.stores.changes(at))
    }

    /// Lets `cpu` take its pending kick.
    ///
    /// # Panics
    /// If it cannot.
    pub fn interrupt(&mut self, cpu: CpuId) {
        assert!(self.takes_interrupt(cpu), "a kick that cannot be taken");
        self.cpu_mut(cpu).is_kicked = false;
        self.cpu_mut(cpu).enter_interrupt();
    }

    /// Lets `cpu` take an interrupt of its timer.
    ///
    /// # Panics
    /// If it cannot.
    pub fn tick(&mut self, cpu: CpuId) {
        assert!(self.takes_tick(cpu), "a tick that cannot be taken");
        self.cpu_mut(cpu).enter_interrupt();
    }

    /// Lets something happen that no code takes part in: an act that is no step, interrupt or tick.
    ///
    /// # Errors
    /// The [`Violation`] that it is.
    ///
    /// # Panics
    /// If code takes part in it.
    pub fn happen(&mut self, act: Act) -> Result<(), Violation> {
        match act {
            Act::Walk { cpu, walk } => self.speculate(cpu, walk),
            Act::Drain { cpu, place } => self.drain(cpu, usize::from(place)),
            Act::Evict { cpu, what } => {
                self.cpu_mut(cpu).tlb_mut().evict(what);
                Ok(())
            }
            Act::Step { .. } | Act::Interrupt { .. } | Act::Tick { .. } => panic!("{act:?} needs the code of its CPU"),
        }
    }

    /// Brings the stores of `cpu` to memory, oldest first.
    ///
    /// # Errors
    /// The [`Violation`] that one of them is.
    pub fn drain_all(&mut self, cpu: CpuId) -> Result<(), Violation> {
        while !self.cpu(cpu).has_drained() {
            self.drain(cpu, 0)?;
        }
        Ok(())
    }

    fn drain(&mut self, cpu: CpuId, place: usize) -> Result<(), Violation> {
        let (at, value) = self.cpu_mut(cpu).stores.take(place);
        self.check_entry(cpu, at)?;
        self.poke(at, value);
        match at {
            Location::Word(_) => Ok(()),
            Location::Entry(_) => self.extend_may_sets(),
        }
    }

    /// Returns where the store at this place is on its way to, and what it stores there.
    #[must_use]
    pub fn waiting_store(&self, cpu: CpuId, place: u8) -> Option<(Location, u64)> {
        self.cpu(cpu).stores.peek(usize::from(place))
    }

    /// Lets `cpu` perform `operation` and returns the result.
    ///
    /// # Errors
    /// The [`Violation`] that doing it is.
    ///
    /// # Panics
    /// If the operation is [`Operation::Idle`], which is none, or has to wait.
    pub fn step(&mut self, cpu: CpuId, operation: Operation, outcome: u8) -> Result<u64, Violation> {
        assert!(self.is_ready(cpu, operation), "{operation:?} waits for stores");
        let result = self.perform(cpu, operation, outcome)?;
        if operation.concerns_walkers() {
            self.extend_may_sets()?;
        }
        Ok(result)
    }

    fn perform(&mut self, cpu: CpuId, operation: Operation, outcome: u8) -> Result<u64, Violation> {
        match operation {
            Operation::Load(at, _) => return self.load(cpu, at),
            Operation::Store(at, value, order) => self.store(cpu, at, value, order)?,
            Operation::Modify(at, modify, order) => return self.modify(cpu, at, modify, order),
            Operation::Update(at, modify, order) => {
                self.modify(cpu, at, modify, order)?;
            }
            Operation::Fence(order) => self.fence(cpu, order),
            Operation::OwnGet(word) => return Ok(self.peek(Location::Word(word))),
            Operation::OwnSet(word, value) => self.poke(Location::Word(word), value),
            Operation::Complete => self.complete(cpu)?,
            Operation::Invalidate(what) => self.cpu_mut(cpu).forget(what),
            Operation::Broadcast(tag, what) => self.broadcast(cpu, InFlight::of(tag, what), outcome),
            Operation::LoadRoot(root) => self.load_root(cpu, root),
            Operation::LoadTagged { root, tag, keeps } => self.load_tagged(cpu, root, tag, keeps)?,
            Operation::Mask => {
                return Ok(u64::from(std::mem::replace(&mut self.cpu_mut(cpu).is_masked, true)));
            }
            Operation::Restore(was) => self.cpu_mut(cpu).is_masked = was != 0,
            Operation::Kick(targets) => self.kick(targets),
            Operation::AskClock => return Ok(u64::from(outcome)),
            Operation::AllocTable if outcome != 0 => {}
            Operation::AllocTable => return Ok(self.allocate_table(cpu)),
            Operation::AllocFrame(level) => return Ok(self.allocate(FrameKind::Data, level)),
            Operation::FreeTable(table) => self.free_table(table.0)?,
            Operation::FreeFrame(first, level) => self.free_data(first, level)?,
            Operation::AllocBatch => return Ok(u64::from(outcome == 0)),
            Operation::Access(page, access) => return self.access(cpu, page, access, usize::from(outcome)),
            Operation::Choose(_) => return Ok(u64::from(outcome)),
            Operation::NoteDirty(frame) => self.frame_mut(frame).is_noted_dirty = true,
            Operation::WriteBack(frame) => self.write_back(frame),
            Operation::Copy { from, to } => self.copy(from, to),
            Operation::Promise(pages) => self.promise(cpu, pages)?,
            Operation::StopUser => self.cpu_mut(cpu).runs_user = false,
            Operation::ResumeUser => self.resume_user(cpu)?,
            Operation::ReturnFromInterrupt => self.cpu_mut(cpu).leave_interrupt(),
            Operation::Idle => panic!("a CPU that has come to its end performs nothing"),
        }
        Ok(0)
    }

    fn load(&self, cpu: CpuId, at: Location) -> Result<u64, Violation> {
        self.check_entry(cpu, at)?;
        Ok(self.peek_from(cpu, at))
    }

    fn store(&mut self, cpu: CpuId, at: Location, value: u64, order: Ordering) -> Result<(), Violation> {
        self.check_entry(cpu, at)?;
        if self.config.memory == MemoryModel::Sc || order == SeqCst && !self.config.is_late() {
            self.poke(at, value);
            return Ok(());
        }
        // In a buffer that is in order anyway a release is nothing special.
        let order = if self.config.memory == MemoryModel::Pso { order } else { Relaxed };
        self.cpu_mut(cpu).stores.push(at, value, order);
        Ok(())
    }

    fn fence(&mut self, cpu: CpuId, order: Ordering) {
        if self.config.memory == MemoryModel::Pso && releases(order) {
            self.cpu_mut(cpu).stores.push_barrier();
        }
    }

    fn modify(&mut self, cpu: CpuId, at: Location, modify: Modify, order: Ordering) -> Result<u64, Violation> {
        self.check_entry(cpu, at)?;
        let was = self.peek(at);
        let value = modify.apply(was);
        match at {
            // One that changes nothing is in memory already.
            Location::Word(_) if self.config.is_late() && value != was => {
                self.cpu_mut(cpu).stores.push_change(at, value, order);
            }
            _ => self.poke(at, value),
        }
        Ok(was)
    }

    fn broadcast(&mut self, cpu: CpuId, begun: InFlight, outcome: u8) {
        if outcome == 0 {
            self.land(begun);
        } else {
            let here = self.cpu_mut(cpu);
            here.in_flight = here.in_flight.join(begun);
        }
    }

    /// Lets all that `cpu` has begun take effect, and nothing that another CPU has.
    fn complete(&mut self, cpu: CpuId) -> Result<(), Violation> {
        let begun = std::mem::replace(&mut self.cpu_mut(cpu).in_flight, InFlight::EMPTY);
        if begun.is_empty() {
            return Ok(());
        }
        self.land(begun);
        self.extend_may_sets()
    }

    fn land(&mut self, begun: InFlight) {
        self.cpus.iter_mut().for_each(|cpu| begun.land(&mut cpu.tlbs));
    }

    fn load_root(&mut self, cpu: CpuId, root: Option<TableFrame>) {
        root.into_iter().for_each(|root| self.note_root(root));
        let has_tags = self.config.has_tags;
        let here = self.cpu_mut(cpu);
        here.root = root.map_or(MaybeFrame::NONE, |table| MaybeFrame::of(table.0));
        if !has_tags {
            here.forget(Invalidate::EveryTag);
        }
    }

    fn load_tagged(&mut self, cpu: CpuId, root: TableFrame, tag: u8, keeps: bool) -> Result<(), Violation> {
        self.note_root(root);
        let here = self.cpu_mut(cpu);
        (here.tag, here.root) = (tag, MaybeFrame::of(root.0));
        let was = std::mem::replace(&mut here.roots[usize::from(tag)], here.root);
        if !keeps {
            here.forget(Invalidate::All);
        }
        if !here.tlb().leads_nowhere() && was != MaybeFrame::of(root.0) {
            return Err(Violation::ForeignTag { cpu, root: root.0 });
        }
        if let Some(table) = here.tlb().freed_table() {
            return Err(Violation::WalkerInFreedTable { cpu, table });
        }
        if here.runs_user { self.check_standing_of_all(cpu) } else { Ok(()) }
    }

    /// Notes that a table is a root, so that its leaves are large.
    fn note_root(&mut self, root: TableFrame) {
        let table = self.frame_mut(root.0);
        if table.kind == FrameKind::Table {
            table.kind = FrameKind::Root;
            let entries = table.entries;
            entries.into_iter().for_each(|raw| self.note_mapped(led_to(u64::from(raw), Tiny::ROOT)));
        }
    }

    fn kick(&mut self, targets: u64) {
        for (number, cpu) in self.cpus.iter_mut().enumerate() {
            let is_lost = self.config.loses_masked_kicks && cpu.is_masked;
            cpu.is_kicked |= targets >> number & 1 != 0 && !is_lost;
        }
    }

    /// Takes a table and zeroes it, with stores as any others.
    fn allocate_table(&mut self, cpu: CpuId) -> u64 {
        let number = self.allocate(FrameKind::Table, Level::LEAF);
        if self.config.memory != MemoryModel::Sc
            && let Some(table) = number.checked_sub(1).map(|frame| TableFrame(Pfn(frame)))
        {
            self.frame_mut(table.0).entries = [GARBAGE; ENTRIES];
            for index in 0..ENTRIES {
                self.cpu_mut(cpu).stores.push(Location::Entry(EntryAt { table, index }), 0, Relaxed);
            }
        }
        number
    }

    /// Takes the lowest free frame, or aligned frames of a higher level that are all free. Returns the first number plus
    /// one: which frames they are must not depend on anything else.
    fn allocate(&mut self, kind: FrameKind, level: Level) -> u64 {
        let n_frames = level.pages::<Tiny>() as usize;
        let mut aligned = (0..).step_by(n_frames).zip(self.frames.chunks_exact_mut(n_frames));
        let Some((first, frames)) =
            aligned.find(|(_, frames)| frames.iter().all(|frame| frame.kind == FrameKind::Free))
        else {
            return 0;
        };
        frames.fill(Frame { kind, ..Frame::default() });
        first + 1
    }
}
