//! Who causes what: the library's counters by process, call, address range or CPU.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use shootdown::{Counter, CpuId};
use shootdown_sim::sequential::{Architecture, Sequential};

use shootdown_recording::{Syscall, TaskId};

/// What to group by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// One group, with what the library counted for it. Counters that are 0 are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offender {
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

/// Gives what the library counted to groups.
#[derive(Debug)]
pub(crate) struct Tally {
    grouping: Option<Grouping>,
    last: Counts,
    groups: FxHashMap<Group, Counts>,
}

impl Tally {
    pub(crate) fn new(grouping: Option<Grouping>) -> Self {
        Tally { grouping, last: [0; Counter::COUNT], groups: FxHashMap::default() }
    }

    pub(crate) const fn is_wanted(&self) -> bool {
        self.grouping.is_some()
    }

    /// Gives everything counted since the last time to the group of `place`.
    pub(crate) fn attribute<A: Architecture>(&mut self, machine: &Sequential<A>, place: Whereabouts) {
        let group = match self.grouping {
            Some(Grouping::Process) => Group::Process(place.process),
            Some(Grouping::Call) => Group::Call(place.doing),
            Some(Grouping::Range) => Group::Range(place.process, place.address.map(|address| address / RANGE_BYTES)),
            Some(Grouping::Cpu) | None => return,
        };
        let now = Counter::ALL.map(|counter| machine.counter(counter));
        if now != self.last {
            let counts = self.groups.entry(group).or_insert([0; Counter::COUNT]);
            for (count, (now, last)) in counts.iter_mut().zip(now.into_iter().zip(self.last)) {
                *count += now - last;
            }
            self.last = now;
        }
    }

    /// Returns the groups, most flushes and requests first.
    pub(crate) fn finish<A: Architecture>(self, machine: &Sequential<A>, n_cpus: usize) -> Vec<Offender> {
        let mut groups: Vec<(String, Counts)> = if self.grouping == Some(Grouping::Cpu) {
            (0..n_cpus as u16)
                .map(|cpu| (format!("CPU {cpu}"), Counter::ALL.map(|counter| machine.counter_on(CpuId(cpu), counter))))
                .collect()
        } else {
            self.groups.into_iter().map(|(group, counts)| (group.name(), counts)).collect()
        };
        let weight = |counts: &Counts| counts[Counter::FlushLocal as usize] + counts[Counter::RemoteRequest as usize];
        groups.sort_by(|(name, counts), (other_name, others)| {
            weight(others).cmp(&weight(counts)).then_with(|| name.cmp(other_name))
        });
        groups
            .into_iter()
            .map(|(name, counts)| Offender {
                name,
                counters: Counter::ALL
                    .into_iter()
                    .zip(counts)
                    .filter(|(_, count)| *count > 0)
                    .map(|(counter, count)| (counter.name(), count))
                    .collect(),
            })
            .collect()
    }
}
