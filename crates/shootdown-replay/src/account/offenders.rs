//! Who causes what: the library's counters by process, call, address range or CPU.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};
use shootdown::{Counter, CpuId};
use shootdown_sim::sequential::{Architecture, Sequential};

use shootdown_recording::{Syscall, TaskId};

/// What to group by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grouping {
    /// The process, named by its first task.
    Process,
    /// The syscall, or fault, or exit.
    Call,
    /// The recorded 2 MiB range of addresses, in a process.
    Range,
    /// The simulated CPU that did it.
    Cpu,
}

impl Grouping {
    /// All of them.
    pub const ALL: [Grouping; 4] = [Grouping::Process, Grouping::Call, Grouping::Range, Grouping::Cpu];

    /// Returns the name used on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Grouping::Process => "process",
            Grouping::Call => "call",
            Grouping::Range => "range",
            Grouping::Cpu => "cpu",
        }
    }

    /// Finds a grouping by its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Grouping> {
        Grouping::ALL.into_iter().find(|grouping| grouping.name() == name)
    }

    /// The group that something at `place` belongs to; a CPU's own counters need none.
    fn group(self, place: Whereabouts) -> Option<Group> {
        match self {
            Grouping::Process => Some(Group::Process(place.process)),
            Grouping::Call => Some(Group::Call(place.doing)),
            Grouping::Range => Some(Group::Range(place.process, place.address.map(|address| address / RANGE_BYTES))),
            Grouping::Cpu => None,
        }
    }
}

impl Serialize for Grouping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One group, with what the library counted for it. Counters that are 0 are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offender {
    /// What it is a group of.
    pub grouping: Grouping,
    /// The group.
    pub name: String,
    /// The library's counters, by name.
    pub counters: BTreeMap<&'static str, u64>,
}

/// What is known about where an event happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whereabouts {
    pub(crate) process: Option<TaskId>,
    pub(crate) doing: Doing,
    pub(crate) address: Option<u64>,
}

/// What a task is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Doing {
    Call(Syscall),
    Exit,
    Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Group {
    Process(Option<TaskId>),
    Call(Doing),
    Range(Option<TaskId>, Option<u64>),
}

impl Group {
    fn name(self) -> String {
        let process = |task: Option<TaskId>| task.map_or_else(|| "others".to_owned(), |task| format!("process {task}"));
        match self {
            Group::Process(task) => process(task),
            Group::Call(Doing::Call(call)) => call.to_string(),
            Group::Call(Doing::Exit) => "exit".to_owned(),
            Group::Call(Doing::Fault) => "fault".to_owned(),
            Group::Range(task, None) => format!("{}, no address", process(task)),
            Group::Range(task, Some(range)) => format!("{}, {:#x}", process(task), range * RANGE_BYTES),
        }
    }
}

const RANGE_BYTES: u64 = 2 << 20;

type Counts = [u64; Counter::COUNT];

/// Gives what the library counted to groups, for several groupings at once.
#[derive(Debug)]
pub(crate) struct Tally {
    groupings: Vec<Grouping>,
    last: Counts,
    groups: FxHashMap<(Grouping, Group), Counts>,
}

impl Tally {
    pub(crate) fn new(groupings: &[Grouping]) -> Self {
        Tally { groupings: groupings.to_vec(), last: [0; Counter::COUNT], groups: FxHashMap::default() }
    }

    pub(crate) const fn is_wanted(&self) -> bool {
        !self.groupings.is_empty()
    }

    /// Gives everything counted since the last time to the groups of `place`.
    pub(crate) fn attribute<A: Architecture>(&mut self, machine: &Sequential<A>, place: Whereabouts) {
        let now = Counter::ALL.map(|counter| machine.counter(counter));
        if now == self.last {
            return;
        }
        for (grouping, group) in self.groupings.iter().filter_map(|by| Some((*by, by.group(place)?))) {
            let counts = self.groups.entry((grouping, group)).or_insert([0; Counter::COUNT]);
            for (count, (now, last)) in counts.iter_mut().zip(now.into_iter().zip(self.last)) {
                *count += now - last;
            }
        }
        self.last = now;
    }

    /// Returns the groups, one grouping after the other, each with most flushes and requests first.
    pub(crate) fn finish<A: Architecture>(self, machine: &Sequential<A>, n_cpus: usize) -> Vec<Offender> {
        let by_cpu = (0..n_cpus as u16).map(|cpu| {
            let counts = Counter::ALL.map(|counter| machine.counter_on(CpuId(cpu), counter));
            (Grouping::Cpu, format!("CPU {cpu}"), counts)
        });
        let by_event = self.groups.iter().map(|((grouping, group), counts)| (*grouping, group.name(), *counts));
        let all: Vec<(Grouping, String, Counts)> = by_event.chain(by_cpu).collect();
        self.groupings.iter().flat_map(|grouping| offenders(*grouping, &all)).collect()
    }
}

/// The groups of one grouping, most flushes and requests first.
fn offenders(grouping: Grouping, groups: &[(Grouping, String, Counts)]) -> Vec<Offender> {
    let weight = |counts: &Counts| counts[Counter::FlushLocal as usize] + counts[Counter::RemoteRequest as usize];
    let mut groups: Vec<(&String, &Counts)> =
        groups.iter().filter(|(of, ..)| *of == grouping).map(|(_, name, counts)| (name, counts)).collect();
    groups.sort_by(|(name, counts), (other_name, others)| {
        weight(others).cmp(&weight(counts)).then_with(|| name.cmp(other_name))
    });
    groups
        .into_iter()
        .map(|(name, counts)| Offender {
            grouping,
            name: name.clone(),
            counters: Counter::ALL
                .into_iter()
                .zip(*counts)
                .filter(|(_, count)| *count > 0)
                .map(|(counter, count)| (counter.name(), count))
                .collect(),
        })
        .collect()
}
