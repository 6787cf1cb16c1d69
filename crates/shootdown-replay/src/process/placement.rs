//! Which simulated CPU a task runs on, and who runs on each.

use rustc_hash::FxHashMap;
use shootdown::{CpuId, SpaceId};

use shootdown_recording::{RecordedCpu, TaskId};

/// How tasks are placed on simulated CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Where the recording saw them.
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

/// Who runs where.
#[derive(Debug)]
pub(crate) struct Cpus {
    placement: Placement,
    homes: FxHashMap<TaskId, CpuId>,
    doing: Vec<Doing>,
    n_used: usize,
}

impl Cpus {
    pub(crate) fn new(placement: Placement, n_cpus: usize) -> Self {
        Cpus { placement, homes: FxHashMap::default(), doing: vec![Doing::Foreign; n_cpus], n_used: 0 }
    }

    /// The CPU that stands for `recorded` when `task` is concerned.
    pub(crate) fn of(&mut self, task: TaskId, recorded: RecordedCpu) -> CpuId {
        match self.placement {
            Placement::AsRecorded => CpuId(recorded.0),
            Placement::Spread { n_cpus } => {
                let next = self.homes.len() % usize::from(n_cpus.max(1));
                *self.homes.entry(task).or_insert(CpuId(next as u16))
            }
        }
    }

    /// Whether CPUs are those of the recording.
    pub(crate) fn are_recorded(&self) -> bool {
        matches!(self.placement, Placement::AsRecorded)
    }

    /// Whether a preempted task goes on running beside the one that took its recorded CPU.
    pub(crate) fn goes_on_when_preempted(&self) -> bool {
        matches!(self.placement, Placement::Spread { .. })
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
        match self.placement {
            Placement::AsRecorded => self.n_used,
            Placement::Spread { n_cpus } => usize::from(n_cpus),
        }
    }
}
