//! The machine's whole state, and what an operation does to it.

use shootdown::{CpuId, Modify, Pfn, Vpn};

use super::{
    ENTRIES, FRAMES, MAX_CPUS,
    act::{Act, WalkFrom},
    cpu::Cpu,
    frame::{Frame, FrameKind},
    operation::{Location, Operation, WordId},
    violation::Violation,
};

/// What a machine can do, beyond its geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many CPUs run, up to [`MAX_CPUS`].
    pub cpus: usize,
    /// Requests for scratch memory may be refused.
    pub may_refuse_batches: bool,
    /// Walkers cache pointers to tables, so that walks begin in the middle.
    pub caches_walks: bool,
}

/// The state of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hardware {
    words: Box<[u64]>,
    frames: [Frame; FRAMES],
    cpus: [Cpu; MAX_CPUS],
}

impl Hardware {
    /// Makes a machine with so many words of library state, all zero, free frames, and CPUs that have loaded nothing.
    #[must_use]
    pub fn new(n_words: usize) -> Self {
        Hardware {
            words: vec![0; n_words].into_boxed_slice(),
            frames: Default::default(),
            cpus: [const { Cpu::new() }; MAX_CPUS],
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

    fn frame_mut(&mut self, frame: Pfn) -> &mut Frame {
        &mut self.frames[frame.0 as usize]
    }

    /// Returns what a word or entry holds.
    #[must_use]
    pub fn peek(&self, location: Location) -> u64 {
        match location {
            Location::Word(WordId(word)) => self.words[usize::from(word)],
            Location::Entry(at) => u64::from(self.frame(at.table.0).entries[at.index]),
        }
    }

    /// Tells whether all words and frames are as they are in `other`.
    #[must_use]
    pub fn has_same_memory(&self, other: &Hardware) -> bool {
        self.words == other.words && self.frames == other.frames
    }

    fn poke(&mut self, location: Location, value: u64) {
        match location {
            Location::Word(WordId(word)) => self.words[usize::from(word)] = value,
            Location::Entry(at) => {
                self.frame_mut(at.table.0).entries[at.index] = u8::try_from(value).expect("an entry is one byte");
            }
        }
    }

    /// Lists everything that can happen next. `pending` holds the operation that each CPU performs next.
    pub fn enabled(&self, config: &Config, pending: &[Operation], acts: &mut Vec<Act>) {
        acts.clear();
        for (number, operation) in (0..).zip(pending) {
            let cpu = CpuId(number);
            acts.extend((0..operation.n_outcomes(config)).map(|outcome| Act::Step { cpu, outcome }));
            if self.cpu(cpu).takes_interrupt() {
                acts.push(Act::Interrupt { cpu });
            }
            self.push_walks(config, cpu, acts);
        }
    }

    /// Lets `cpu` take its pending kick.
    ///
    /// # Panics
    /// If none is pending, or interrupts are masked.
    pub fn interrupt(&mut self, cpu: CpuId) {
        self.cpu_mut(cpu).enter_interrupt();
    }

    /// Lets `cpu` perform `operation` and returns the result.
    ///
    /// # Errors
    /// The [`Violation`] that doing it is.
    ///
    /// # Panics
    /// If the operation is [`Operation::Idle`], which is none.
    pub fn step(&mut self, cpu: CpuId, operation: Operation, outcome: u8) -> Result<u64, Violation> {
        match operation {
            Operation::Load(at, _) => return Ok(self.peek(at)),
            Operation::Store(at, value, _) => self.poke(at, value),
            Operation::Modify(at, modify, _) => return Ok(self.modify(at, modify)),
            Operation::Update(at, modify, _) => {
                self.modify(at, modify);
            }
            Operation::OwnGet(word) => return Ok(self.peek(Location::Word(word))),
            Operation::OwnSet(word, value) => self.poke(Location::Word(word), value),
            Operation::Fence(_) | Operation::Complete => {}
            Operation::Invalidate(what) => self.cpu_mut(cpu).forget(what),
            Operation::LoadRoot(root) => {
                let here = self.cpu_mut(cpu);
                here.forget_everything();
                here.root = root.map(|table| table.0);
            }
            Operation::Mask => {
                return Ok(u64::from(std::mem::replace(&mut self.cpu_mut(cpu).is_masked, true)));
            }
            Operation::Restore(was) => self.cpu_mut(cpu).is_masked = was != 0,
            Operation::Kick(targets) => self.kick(targets),
            Operation::AllocTable => return Ok(self.allocate(FrameKind::Table)),
            Operation::AllocFrame => return Ok(self.allocate(FrameKind::Data)),
            Operation::FreeTable(table) => self.free_table(table.0)?,
            Operation::FreeFrame(frame) => self.free_data(frame)?,
            Operation::AllocBatch => return Ok(u64::from(outcome == 0)),
            Operation::Access(page) => self.access(cpu, page)?,
            Operation::StopUser => self.cpu_mut(cpu).runs_user = false,
            Operation::ResumeUser => self.resume_user(cpu)?,
            Operation::ReturnFromInterrupt => self.cpu_mut(cpu).leave_interrupt(),
            Operation::Idle => panic!("a CPU that has come to its end performs nothing"),
        }
        Ok(0)
    }

    fn modify(&mut self, at: Location, modify: Modify) -> u64 {
        let was = self.peek(at);
        self.poke(at, modify.apply(was));
        was
    }

    fn kick(&mut self, targets: u64) {
        for (number, cpu) in self.cpus.iter_mut().enumerate() {
            cpu.is_kicked |= targets >> number & 1 != 0;
        }
    }

    /// The lowest free frame's number plus one: which frame it is must not depend on anything else.
    fn allocate(&mut self, kind: FrameKind) -> u64 {
        let Some(number) = self.frames.iter().position(|frame| frame.kind == FrameKind::Free) else {
            return 0;
        };
        self.frames[number] = Frame { kind, entries: [0; ENTRIES] };
        number as u64 + 1
    }

    fn free_table(&mut self, table: Pfn) -> Result<(), Violation> {
        self.free(table, FrameKind::Table)?;
        for (number, cpu) in (0..).zip(&self.cpus) {
            if cpu.root == Some(table) || cpu.walk_cache.contains(&Some(table)) {
                return Err(Violation::WalkerInFreedTable { cpu: CpuId(number), table });
            }
        }
        Ok(())
    }

    fn free_data(&mut self, frame: Pfn) -> Result<(), Violation> {
        self.free(frame, FrameKind::Data)?;
        for (number, cpu) in (0..).zip(&mut self.cpus) {
            let page = cpu.translations().find(|(_, to)| to.frame == frame && !to.is_stale).map(|(page, _)| page);
            match page {
                Some(page) if cpu.runs_user => {
                    return Err(Violation::StaleAtFree { cpu: CpuId(number), page, frame });
                }
                _ => cpu.mark_stale(frame),
            }
        }
        Ok(())
    }

    fn free(&mut self, frame: Pfn, kind: FrameKind) -> Result<(), Violation> {
        let place = self.frame_mut(frame);
        if place.kind == FrameKind::Free {
            return Err(Violation::DoubleFree { frame });
        }
        if place.kind != kind {
            return Err(Violation::WrongFree { frame });
        }
        *place = Frame::default();
        Ok(())
    }

    fn access(&mut self, cpu: CpuId, page: Vpn) -> Result<(), Violation> {
        match self.cpu(cpu).translation(page) {
            Some(to) if to.is_stale => Err(Violation::StaleInUse { cpu, page, frame: to.frame }),
            Some(_) => Ok(()),
            None => self.fill(cpu, page, WalkFrom::Root),
        }
    }

    fn resume_user(&mut self, cpu: CpuId) -> Result<(), Violation> {
        let here = self.cpu_mut(cpu);
        here.runs_user = true;
        match here.translations().find(|(_, to)| to.is_stale) {
            Some((page, to)) => Err(Violation::StaleInUse { cpu, page, frame: to.frame }),
            None => Ok(()),
        }
    }
}
