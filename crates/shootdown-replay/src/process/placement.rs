//! Which simulated CPU a task runs on, and who runs on each.

use rustc_hash::FxHashMap;
use shootdown::{CpuId, SpaceId};

use shootdown_recording::{Detail, RecordedCpu, TaskId};

/// How tasks are placed on simulated CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Where the recording saw them; each on a CPU of its own, where it never sleeps, if the recording is of calls only.
    AsRecorded,
    /// Each on one CPU of this many, in turn: what the workload might do on another machine.
    Spread {
        /// How many CPUs, at least 1.
        n_cpus: u16,
    },
}

/// What a simulated CPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Runs this task, in user mode or for it in the kernel, in this address space.
    Running(TaskId, SpaceId),
    /// Idle, or in the kernel for nobody: it keeps the address space it had.
    Lazy,
    /// Runs something outside of the recording.
    Foreign,
}

/// How a task's CPU is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// It is that of each event.
    Recorded,
    /// It is the task's own, of so many.
    Spread { n_cpus: usize },
    /// Nobody knows where tasks ran: as if each were on a CPU of its own, until there are no more.
    Unknown { n_cpus: usize },
}

/// Who runs where.
#[derive(Debug)]
pub(crate) struct Cpus {
    rule: Rule,
    homes: FxHashMap<TaskId, CpuId>,
    doing: Vec<Doing>,
    n_used: usize,
}

impl Cpus {
    pub(crate) fn new(placement: Placement, detail: Detail, n_cpus: usize) -> Self {
        let rule = match (placement, detail) {
            (Placement::Spread { n_cpus }, _) => Rule::Spread { n_cpus: usize::from(n_cpus) },
            (Placement::AsRecorded, Detail::Full) => Rule::Recorded,
            // Whoever has ever used an address space is interrupted: no fewer would do in the worst case.
            (Placement::AsRecorded, Detail::Calls) => Rule::Unknown { n_cpus },
        };
        Cpus { rule, homes: FxHashMap::default(), doing: vec![Doing::Foreign; n_cpus], n_used: 0 }
    }

    /// The CPU that stands for `recorded` when `task` is concerned.
    pub(crate) fn of(&mut self, task: TaskId, recorded: RecordedCpu) -> CpuId {
        match self.rule {
            Rule::Recorded => CpuId(recorded.0),
            Rule::Spread { n_cpus } | Rule::Unknown { n_cpus } => {
                let next = self.homes.len() % n_cpus.max(1);
                *self.homes.entry(task).or_insert(CpuId(next as u16))
            }
        }
    }

    /// Whether CPUs are those of the recording.
    pub(crate) fn are_recorded(&self) -> bool {
        self.rule == Rule::Recorded
    }

    /// Whether a preempted task goes on running beside the one that took its recorded CPU.
    pub(crate) fn goes_on_when_preempted(&self) -> bool {
        self.rule != Rule::Recorded
    }

    pub(crate) fn doing(&self, cpu: CpuId) -> Doing {
        self.doing.get(usize::from(cpu.0)).copied().unwrap_or(Doing::Foreign)
    }

    pub(crate) fn set_doing(&mut self, cpu: CpuId, doing: Doing) {
        self.n_used = self.n_used.max(usize::from(cpu.0) + 1);
        if let Some(now) = self.doing.get_mut(usize::from(cpu.0)) {
            *now = doing;
        }
    }

    /// The CPUs that have done anything yet.
    pub(crate) fn used(&self) -> impl Iterator<Item = CpuId> + use<> {
        (0..self.n_used).map(|number| CpuId(number as u16))
    }

    /// How many CPUs a report speaks of.
    pub(crate) fn n_cpus(&self) -> usize {
        match self.rule {
            Rule::Recorded | Rule::Unknown { .. } => self.n_used,
            Rule::Spread { n_cpus } => n_cpus,
        }
    }
}
