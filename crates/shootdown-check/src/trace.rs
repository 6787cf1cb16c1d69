//! A run as text: a line for each act, a column for each CPU, and the place in the source.
//!
//! What a CPU does privately between two acts is left out. Acts of the hardware, which no code asked for, begin with `~`;
//! what an interrupt handler does is indented. A run that can no longer come to its end is told up to the first state
//! from which that is so, and then what goes on there forever.

use std::{fmt, panic::Location as Source};

use shootdown::{CpuId, EntryFormat, Invalidate, Level, Modify, Pfn, TableFrame, Vpn, arch::tiny::Tiny};
use shootdown_sim::smp::{Access, Act, Evicted, Hardware, Location, Operation, Translation, Walk, WalkFrom};

use crate::{
    coroutine::Stop,
    driver::{Driver, Situation},
    failure::Failure,
    left_out::LeftOut,
    live::Live,
    places::{PLACES, touched},
    scenario::Scenario,
};

/// Rounds of turns in which what goes on forever must have begun again; otherwise it is not told.
const MAX_ROUNDS: usize = 500;

/// A run, told step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub(crate) title: String,
    pub(crate) n_cpus: usize,
    pub(crate) steps: Vec<Step>,
    /// What goes on forever after the last step, if the run has no end.
    pub(crate) cycle: Vec<Step>,
    pub(crate) end: String,
    pub(crate) has_failed: bool,
}

/// One act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) cpu: CpuId,
    pub(crate) what: String,
    pub(crate) at: Option<&'static Source<'static>>,
    /// Interrupts on top of each other when it happens.
    pub(crate) depth: usize,
    pub(crate) kind: StepKind,
}

/// What an act is to the other CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepKind {
    /// Code does something that is nothing of the following.
    Code,
    /// Interrupts the CPUs whose bits are set.
    Kick(u64),
    /// Takes the interrupt that is pending.
    TakesKick,
    /// Tells this CPU that its request was run.
    Answer(CpuId),
    /// The hardware does something that no code asked for.
    Hardware,
}

impl Trace {
    /// Returns how many acts it has, up to the failure.
    #[must_use]
    pub fn n_acts(&self) -> usize {
        self.steps.len()
    }

    /// Returns how many acts go on forever after those, if the run has no end.
    #[must_use]
    pub fn n_acts_in_cycle(&self) -> usize {
        self.cycle.len()
    }
}

impl Step {
    /// Where in the source it comes from, as `file:line`; nothing for hardware.
    pub(crate) fn source(&self) -> Option<String> {
        self.at.map(|at| format!("{}:{}", short(at.file()), at.line()))
    }
}

/// Listens to a run.
pub(crate) struct TraceBuilder {
    title: String,
    n_cpus: usize,
    steps: Vec<Step>,
    cycle: Vec<Step>,
}

impl TraceBuilder {
    pub(crate) fn new(scenario: &'static Scenario, left_out: LeftOut) -> Self {
        let title = format!("{}, {left_out}", scenario.name);
        TraceBuilder { title, n_cpus: scenario.machine.cpus, steps: Vec::new(), cycle: Vec::new() }
    }

    /// Hears that `act` is about to happen.
    pub(crate) fn push(&mut self, live: &Live, act: Act) {
        self.steps.push(step(live, act));
    }

    /// Brings the run to its end, with every CPU taking its turn, and listens to what goes on if there is none.
    pub(crate) fn finish(&mut self, live: &mut Live) -> Result<(), Failure> {
        let finished = live.finish_fairly();
        if let Err(Failure::Doomed(_)) = finished {
            // It goes round by now.
            self.cycle = cycle(live);
        }
        finished
    }

    pub(crate) fn end(self, failure: Option<&Failure>) -> Trace {
        let TraceBuilder { title, n_cpus, steps, cycle } = self;
        let end = failure.map_or_else(|| "the end, without a failure".to_owned(), Failure::to_string);
        Trace { title, n_cpus, steps, cycle, end, has_failed: failure.is_some() }
    }
}

/// Lets every CPU take its turn until everything is as it was, and returns what happened on the way.
fn cycle(live: &mut Live) -> Vec<Step> {
    let state = |live: &Live| {
        let stops: Vec<Stop> = live.scenario().cpus().map(|cpu| live.stop(cpu).clone()).collect();
        (live.hardware().clone(), stops)
    };
    let first = state(live);
    let mut steps = Vec::new();
    for _ in 0..MAX_ROUNDS {
        for cpu in live.scenario().cpus() {
            if let Some(act) = live.turn(cpu) {
                steps.push(step(live, act));
                if live.perform(act).is_err() {
                    return Vec::new();
                }
            }
        }
        if state(live) == first {
            return steps;
        }
    }
    Vec::new()
}

fn step(live: &Live, act: Act) -> Step {
    let cpu = act.cpu();
    let (what, kind) = match act {
        Act::Step { outcome, .. } => {
            let operation = live.pending(cpu);
            (performs(live.hardware(), cpu, operation, outcome), kind(cpu, operation))
        }
        Act::Interrupt { .. } => ("takes the kick".to_owned(), StepKind::TakesKick),
        Act::Tick { .. } => ("takes a tick".to_owned(), StepKind::Hardware),
        Act::Walk { walk, .. } => (speculates(live.hardware(), cpu, walk), StepKind::Hardware),
        Act::Drain { place, .. } => (drains(live.hardware(), cpu, place), StepKind::Hardware),
        Act::Evict { what, .. } => (evicts(live.hardware(), cpu, what), StepKind::Hardware),
    };
    let at = match (act, live.stop(cpu)) {
        (Act::Step { .. }, Stop::Operation(_, at)) => Some(*at),
        _ => None,
    };
    Step { cpu, what, at, depth: live.hardware().cpu(cpu).depth(), kind }
}

fn kind(cpu: CpuId, operation: Operation) -> StepKind {
    match (operation, touched(operation)) {
        (Operation::Kick(targets), _) => StepKind::Kick(targets),
        (Operation::Load(..), _) | (_, None) => StepKind::Code,
        (_, Some(at)) => match slot_of(at) {
            // A slot's target writes to it only to say that it is done.
            Some((from, to)) if to == cpu => StepKind::Answer(from),
            _ => StepKind::Code,
        },
    }
}

/// The sender and the target of the slot that a word is in, if it is in one; its name says so.
fn slot_of(at: Location) -> Option<(CpuId, CpuId)> {
    let Location::Word(word) = at else {
        return None;
    };
    let (_, whose) = PLACES.name(word).strip_suffix(']')?.rsplit_once('[')?;
    let (from, to) = whose.split_once('>')?;
    Some((CpuId(from.parse().ok()?), CpuId(to.parse().ok()?)))
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = (0..self.n_cpus).map(|cpu| format!("CPU {cpu}").len()).collect();
        for step in self.steps.iter().chain(&self.cycle) {
            let width = &mut widths[usize::from(step.cpu.0)];
            *width = (2 * step.depth + step.what.chars().count()).max(*width);
        }
        writeln!(f, "{}", self.title)?;
        write!(f, "    ")?;
        for (cpu, width) in widths.iter().enumerate() {
            write!(f, "  {:<width$}", format!("CPU {cpu}"))?;
        }
        writeln!(f, "  source")?;
        for (number, step) in (1..).zip(&self.steps) {
            write_line(f, &format!("{number:>4}"), step, &widths)?;
        }
        writeln!(f, "  => {}", self.end)?;
        if !self.cycle.is_empty() {
            writeln!(f, "  again and again:")?;
        }
        self.cycle.iter().try_for_each(|step| write_line(f, "    ", step, &widths))
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, label: &str, step: &Step, widths: &[usize]) -> fmt::Result {
    f.write_str(label)?;
    for (cpu, width) in widths.iter().enumerate() {
        let what = if cpu == usize::from(step.cpu.0) { step.what.as_str() } else { "" };
        let indent = if what.is_empty() { 0 } else { 2 * step.depth };
        write!(f, "  {:indent$}{what:<rest$}", "", rest = width - indent)?;
    }
    writeln!(f, "  {}", step.source().as_deref().unwrap_or("hardware"))
}

/// The file's path within its crate.
fn short(file: &str) -> &str {
    file.rsplit_once("/src/").map_or(file, |(_, rest)| rest)
}

fn performs(hardware: &Hardware, cpu: CpuId, operation: Operation, outcome: u8) -> String {
    // What it will come to: the machine is a value, so a copy can tell.
    let mut after = hardware.clone();
    let result = after.step(cpu, operation, outcome);
    let is_fault = result == Ok(0);
    let result = result.unwrap_or_default();
    match operation {
        Operation::Load(at, _) => format!("{} is {}", name(at), value(at, result)),
        Operation::Store(at, new, _) => format!("{} = {}", name(at), value(at, new)),
        Operation::Modify(at, modify, _) | Operation::Update(at, modify, _) => {
            modifies(at, modify, hardware.peek_from(cpu, at), after.peek_from(cpu, at))
        }
        Operation::Invalidate(what) => format!("forgets {}", forgotten(what)),
        Operation::Broadcast(_, what) => {
            let when = if outcome == 0 { "makes all CPUs forget" } else { "begins to make all CPUs forget" };
            format!("{when} {}", forgotten(what))
        }
        Operation::Complete => "completes".to_owned(),
        Operation::Fence(_) => "fence".to_owned(),
        Operation::LoadRoot(Some(TableFrame(root))) => format!("loads root {}", root.0),
        Operation::LoadRoot(None) => "loads the kernel's tables".to_owned(),
        Operation::LoadTagged { root, tag, keeps } => {
            let what = if keeps { "keeping what it has" } else { "emptied" };
            format!("loads root {} under tag {tag}, {what}", root.0.0)
        }
        Operation::Mask => "masks interrupts".to_owned(),
        Operation::Restore(0) => "unmasks interrupts".to_owned(),
        Operation::Restore(_) => "leaves interrupts masked".to_owned(),
        Operation::Kick(targets) => format!("kicks {}", cpus(targets)),
        Operation::AskClock if result == 0 => "has not waited for long".to_owned(),
        Operation::AskClock => "has waited for too long".to_owned(),
        Operation::AllocTable => takes(result, Level::LEAF),
        Operation::AllocFrame(level) => takes(result, level),
        Operation::FreeTable(TableFrame(frame)) => format!("frees table {}", frame.0),
        Operation::FreeFrame(first, level) => format!("frees {}", frames(first, level)),
        Operation::Choose(n) => format!("goes way {result} of {n}"),
        Operation::AllocBatch if result == 0 => "is refused a batch".to_owned(),
        Operation::AllocBatch => "takes a batch".to_owned(),
        Operation::Access(page, _) if is_fault && hardware.cpu(cpu).knows_absent(page) => {
            format!("faults on page {}, remembering that nothing is there", page.0)
        }
        Operation::Access(page, _) if is_fault && after.cpu(cpu).knows_absent(page) => {
            format!("faults on page {}, and remembers that nothing is there", page.0)
        }
        Operation::Access(page, access) => accesses(&after, cpu, page, access),
        Operation::WriteBack(frame) => format!("writes frame {} back", frame.0),
        Operation::Copy { from, to } => format!("copies frame {} to frame {}", from.0, to.0),
        Operation::ReturnFromInterrupt => "returns".to_owned(),
        Operation::OwnGet(_)
        | Operation::OwnSet(..)
        | Operation::StopUser
        | Operation::ResumeUser
        | Operation::NoteDirty(_)
        | Operation::Promise(_)
        | Operation::Idle => format!("{operation:?}"),
    }
}

fn takes(result: u64, level: Level) -> String {
    match result.checked_sub(1) {
        Some(first) => format!("takes {}", frames(Pfn(first), level)),
        None if level == Level::LEAF => "finds no frame".to_owned(),
        None => "finds no frames that follow each other".to_owned(),
    }
}

/// What a leaf of this level maps.
fn frames(first: Pfn, level: Level) -> String {
    const { assert!(Tiny::ROOT.pages::<Tiny>() == 2) };
    match level {
        Level::LEAF => format!("frame {}", first.0),
        _ => format!("frames {} and {}", first.0, first.0 + 1),
    }
}

fn forgotten(what: Invalidate) -> String {
    match what {
        Invalidate::Leaf(page, _) => format!("page {}", page.0),
        Invalidate::Walk(page, _) => format!("page {} and its table", page.0),
        Invalidate::All => "everything".to_owned(),
        Invalidate::EveryTag => "everything under every tag".to_owned(),
    }
}

fn modifies(at: Location, modify: Modify, was: u64, is: u64) -> String {
    let (was, is) = (value(at, was), value(at, is));
    match modify {
        Modify::CompareExchange { old, .. } if was != value(at, old) => format!("{} stays {was}", name(at)),
        _ => format!("{}: {was} -> {is}", name(at)),
    }
}

fn accesses(after: &Hardware, cpu: CpuId, page: Vpn, access: Access) -> String {
    // A violation may be about to happen, so it is the translations that count and not the result.
    let serves = |to: &Translation| access == Access::Read || to.is_writable;
    let mut frames: Vec<u64> = after.cpu(cpu).translations(page).filter(serves).map(|to| to.frame.0).collect();
    frames.dedup();
    let frames: Vec<String> = frames.into_iter().map(|frame| frame.to_string()).collect();
    let verb = if access == Access::Read { "uses" } else { "writes to" };
    match frames[..] {
        [] => format!("faults on page {}", page.0),
        _ => format!("{verb} page {} in frame {}", page.0, frames.join(" or ")),
    }
}

fn speculates(hardware: &Hardware, cpu: CpuId, walk: Walk) -> String {
    let mut after = hardware.clone();
    let is_possible = after.speculate(cpu, walk).is_ok();
    match walk {
        Walk::ToCache { index } => format!("~ caches the table below root entry {index}"),
        Walk::ToTlb { page, from } => {
            let from = if from == WalkFrom::Cache { ", through the cached table" } else { "" };
            let knows_absent = |hardware: &Hardware| hardware.cpu(cpu).knows_absent(page);
            if is_possible && knows_absent(&after) && !knows_absent(hardware) {
                return format!("~ remembers that nothing is at page {}{from}", page.0);
            }
            let held = |hardware: &Hardware| hardware.cpu(cpu).translations(page);
            // It may have had one of another size, which stays.
            let is_new = |to: &Translation| held(hardware).all(|other| other != *to);
            match held(&after).find(is_new).or_else(|| held(&after).next()).filter(|_| is_possible) {
                Some(to) => {
                    let size = if to.is_large { ", large" } else { "" };
                    format!("~ caches page {} in frame {}{size}{from}", page.0, to.frame.0)
                }
                None => format!("~ walks to page {}{from}", page.0),
            }
        }
    }
}

fn drains(hardware: &Hardware, cpu: CpuId, place: u8) -> String {
    match hardware.waiting_store(cpu, place) {
        Some((at, new)) => format!("~ {} = {} reaches memory", name(at), value(at, new)),
        None => "~ no store is on its way".to_owned(),
    }
}

fn evicts(hardware: &Hardware, cpu: CpuId, what: Evicted) -> String {
    match what {
        Evicted::Translation(page) if hardware.cpu(cpu).knows_absent(page) => {
            format!("~ forgets that nothing is at page {}", page.0)
        }
        Evicted::Translation(page) => format!("~ loses page {}", page.0),
        Evicted::Pointer(index) => format!("~ loses the table below root entry {index}"),
    }
}

fn name(at: Location) -> String {
    match at {
        Location::Word(word) => PLACES.name(word).to_owned(),
        Location::Entry(at) => format!("entry {} of table {}", at.index, at.table.0.0),
    }
}

/// Entries are bits, words are numbers.
fn value(at: Location, value: u64) -> String {
    match at {
        Location::Word(_) => value.to_string(),
        Location::Entry(_) if value == 0 => "absent".to_owned(),
        Location::Entry(_) => format!("{value:#04x}"),
    }
}

fn cpus(targets: u64) -> String {
    let names: Vec<String> =
        (0..u64::BITS).filter(|cpu| targets >> cpu & 1 != 0).map(|cpu| format!("CPU {cpu}")).collect();
    names.join(", ")
}
