//! A run as text: a line for each act, a column for each CPU, and the place in the source.
//!
//! What a CPU does privately between two acts is left out. Acts of the walker, which no code asked for, begin with `~`;
//! what an interrupt handler does is indented.

use std::{fmt, panic::Location as Source};

use shootdown::{CpuId, Invalidate, Modify, TableFrame};
use shootdown_sim::smp::{Act, Hardware, Location, Operation, Walk, WalkFrom};

use crate::{
    coroutine::Stop, driver::Driver, failure::Failure, fix_set::FixSet, live::Live, places::PLACES, scenario::Scenario,
};

/// A run, told step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    title: String,
    n_cpus: usize,
    steps: Vec<Step>,
    end: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    cpu: CpuId,
    what: String,
    at: Option<&'static Source<'static>>,
}

impl Trace {
    /// Returns how many acts it has.
    #[must_use]
    pub fn n_acts(&self) -> usize {
        self.steps.len()
    }
}

/// Listens to a run.
pub(crate) struct TraceBuilder {
    title: String,
    n_cpus: usize,
    steps: Vec<Step>,
}

impl TraceBuilder {
    pub(crate) fn new(scenario: &'static Scenario, left_out: FixSet) -> Self {
        let title = format!("{}, {left_out}", scenario.name);
        TraceBuilder { title, n_cpus: scenario.machine.cpus, steps: Vec::new() }
    }

    /// Hears that `act` is about to happen.
    pub(crate) fn push(&mut self, live: &Live, act: Act) {
        let cpu = act.cpu();
        let what = match act {
            Act::Step { outcome, .. } => performs(live.hardware(), cpu, live.pending(cpu), outcome),
            Act::Interrupt { .. } => "takes the kick".to_owned(),
            Act::Walk { walk, .. } => speculates(live.hardware(), cpu, walk),
        };
        let at = match (act, live.stop(cpu)) {
            (Act::Step { .. }, Stop::Operation(_, at)) => Some(*at),
            _ => None,
        };
        let indent = "  ".repeat(live.hardware().cpu(cpu).depth());
        self.steps.push(Step { cpu, what: format!("{indent}{what}"), at });
    }

    pub(crate) fn end(self, failure: Option<&Failure>) -> Trace {
        let end = failure.map_or_else(|| "the end, without a failure".to_owned(), Failure::to_string);
        Trace { title: self.title, n_cpus: self.n_cpus, steps: self.steps, end }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = (0..self.n_cpus).map(|cpu| format!("CPU {cpu}").len()).collect();
        for step in &self.steps {
            let width = &mut widths[usize::from(step.cpu.0)];
            *width = step.what.chars().count().max(*width);
        }
        writeln!(f, "{}", self.title)?;
        write!(f, "    ")?;
        for (cpu, width) in widths.iter().enumerate() {
            write!(f, "  {:<width$}", format!("CPU {cpu}"))?;
        }
        writeln!(f, "  source")?;
        for (number, step) in (1..).zip(&self.steps) {
            write!(f, "{number:>4}")?;
            for (cpu, width) in widths.iter().enumerate() {
                let what = if cpu == usize::from(step.cpu.0) { step.what.as_str() } else { "" };
                write!(f, "  {what:<width$}")?;
            }
            match step.at {
                Some(at) => writeln!(f, "  {}:{}", short(at.file()), at.line())?,
                None => writeln!(f, "  hardware")?,
            }
        }
        writeln!(f, "  => {}", self.end)
    }
}

/// The file's path within its crate.
fn short(file: &str) -> &str {
    file.rsplit_once("/src/").map_or(file, |(_, rest)| rest)
}

fn performs(hardware: &Hardware, cpu: CpuId, operation: Operation, outcome: u8) -> String {
    // What it will come to: the machine is a value, so a copy can tell.
    let mut after = hardware.clone();
    let result = after.step(cpu, operation, outcome).unwrap_or_default();
    match operation {
        Operation::Load(at, _) => format!("{} is {}", name(at), value(at, result)),
        Operation::Store(at, new, _) => format!("{} = {}", name(at), value(at, new)),
        Operation::Modify(at, modify, _) | Operation::Update(at, modify, _) => {
            modifies(at, modify, hardware.peek(at), after.peek(at))
        }
        Operation::Invalidate(Invalidate::Leaf(page, _)) => format!("forgets page {}", page.0),
        Operation::Invalidate(Invalidate::Walk(page, _)) => format!("forgets page {} and its table", page.0),
        Operation::Invalidate(Invalidate::All) => "forgets everything".to_owned(),
        Operation::Complete => "completes".to_owned(),
        Operation::Fence(_) => "fence".to_owned(),
        Operation::LoadRoot(Some(TableFrame(root))) => format!("loads root {}", root.0),
        Operation::LoadRoot(None) => "loads the kernel's tables".to_owned(),
        Operation::Mask => "masks interrupts".to_owned(),
        Operation::Restore(0) => "unmasks interrupts".to_owned(),
        Operation::Restore(_) => "leaves interrupts masked".to_owned(),
        Operation::Kick(targets) => format!("kicks{}", cpus(targets)),
        Operation::AllocTable | Operation::AllocFrame => match result.checked_sub(1) {
            Some(frame) => format!("takes frame {frame}"),
            None => "finds no frame".to_owned(),
        },
        Operation::FreeTable(TableFrame(frame)) => format!("frees table {}", frame.0),
        Operation::FreeFrame(frame) => format!("frees frame {}", frame.0),
        Operation::AllocBatch if result == 0 => "is refused a batch".to_owned(),
        Operation::AllocBatch => "takes a batch".to_owned(),
        Operation::Access(page) => match after.cpu(cpu).translation(page) {
            Some(to) => format!("uses page {} in frame {}", page.0, to.frame.0),
            None => format!("faults on page {}", page.0),
        },
        Operation::ReturnFromInterrupt => "returns".to_owned(),
        Operation::OwnGet(_)
        | Operation::OwnSet(..)
        | Operation::StopUser
        | Operation::ResumeUser
        | Operation::Idle => format!("{operation:?}"),
    }
}

fn modifies(at: Location, modify: Modify, was: u64, is: u64) -> String {
    let (was, is) = (value(at, was), value(at, is));
    match modify {
        Modify::CompareExchange { old, .. } if was != value(at, old) => format!("{} stays {was}", name(at)),
        _ => format!("{}: {was} -> {is}", name(at)),
    }
}

fn speculates(hardware: &Hardware, cpu: CpuId, walk: Walk) -> String {
    let mut after = hardware.clone();
    let is_possible = after.speculate(cpu, walk).is_ok();
    match walk {
        Walk::ToCache { index } => format!("~ caches the table below root entry {index}"),
        Walk::ToTlb { page, from } => {
            let from = if from == WalkFrom::Cache { ", through the cached table" } else { "" };
            match after.cpu(cpu).translation(page).filter(|_| is_possible) {
                Some(to) => format!("~ caches page {} in frame {}{from}", page.0, to.frame.0),
                None => format!("~ walks to page {}{from}", page.0),
            }
        }
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
    (0..u64::BITS).filter(|cpu| targets >> cpu & 1 != 0).map(|cpu| format!(" CPU {cpu}")).collect()
}
