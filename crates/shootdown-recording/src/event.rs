//! The events of a recording.
//!
//! Owns the vocabulary ([`Event`], [`EventKind`] and the small types in them). It deliberately knows nothing of the
//! forms it is written in.

use std::fmt;

use crate::syscall::Syscall;

/// A CPU of the recorded machine, as an index from 0.
///
/// Not a simulated CPU: a replay may map the recorded CPUs onto more or fewer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordedCpu(pub u16);

impl RecordedCpu {
    /// The highest index a recording may use; anything above is taken for a damaged file.
    pub const MAX: Self = Self(4095);
}

impl fmt::Display for RecordedCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A user task (a thread) of the recorded process tree; recordings number them from 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "tid")]
pub struct TaskId(pub u32);

impl TaskId {
    /// The lowest id a recording gives to a user task.
    pub const FIRST: Self = Self(1000);
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Who runs on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A task of the recorded process tree.
    Task(TaskId),
    /// The idle task of the CPU.
    Idle,
    /// A kernel thread, which runs on a borrowed address space.
    KernelThread,
    /// Any task outside of the recorded tree.
    Foreign,
}

impl Actor {
    /// Returns the recorded task, or `None` for the actors a recording does not tell apart.
    #[must_use]
    pub fn task(self) -> Option<TaskId> {
        match self {
            Self::Task(task) => Some(task),
            Self::Idle | Self::KernelThread | Self::Foreign => None,
        }
    }
}

/// One event of a recording: what happened, when, where and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Time since the first event of the recording.
    pub at_ns: u64,
    /// The CPU it happened on.
    pub cpu: RecordedCpu,
    /// Who ran there at that moment; for [`EventKind::Switch`] the one that is switched away from.
    pub actor: Actor,
    /// What happened.
    pub kind: EventKind,
}

/// What happened in an [`Event`].
///
/// [`FlushTruth`](Self::FlushTruth) and [`CallTruth`](Self::CallTruth) are what the kernel did: the answer a replay is
/// compared with, not an input to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `E`: a task enters a syscall.
    SyscallEntry {
        /// The syscall.
        call: Syscall,
        /// Its arguments; those the recorder left out as irrelevant are 0.
        args: [u64; 6],
    },
    /// `X`: a task leaves a syscall. A new task's first event of this kind has no entry: it leaves its parent's call.
    SyscallExit {
        /// The syscall.
        call: Syscall,
        /// What it returned: an error if negative, the child's task id for calls that create one.
        result: i64,
    },
    /// `N`: a task creates another one, before it leaves the syscall that does so.
    NewTask {
        /// The new task.
        child: TaskId,
        /// The `CLONE_*` flags.
        flags: u64,
    },
    /// `C`: an `execve` passed its point of no return.
    Exec,
    /// `Q`: a task begins to exit. It still switches away, and may still tear down its address space, after that.
    Exit,
    /// `M`: the tear-down of an address space has ended.
    #[doc(alias = "exit_mmap")]
    TornDown,
    /// `S`: a context switch.
    Switch {
        /// Who runs next.
        next: Actor,
        /// What became of the actor switched away from.
        previous: PreviousState,
    },
    /// `F` and `K`: a page fault on a user address.
    Fault {
        /// The address, with its offset in the page.
        address: u64,
        /// The mode the CPU was in.
        from: Mode,
        /// What was attempted.
        access: FaultAccess,
    },
    /// `T`: the kernel flushed, or asked others to flush.
    #[doc(alias = "tlb_flush")]
    FlushTruth {
        /// Which of its flushes this is.
        reason: FlushReason,
        /// The number of base pages; `None` for a full flush.
        pages: Option<u64>,
    },
    /// `I`: the kernel queued a call to another CPU.
    #[doc(alias = "csd_queue_cpu")]
    CallTruth {
        /// The CPU that is called.
        target: RecordedCpu,
        /// What it is asked to do.
        function: CallFunction,
    },
    /// `L`: the recorder could not keep up, and events are missing here.
    #[doc(alias = "PERF_RECORD_LOST")]
    Lost {
        /// How many.
        n_events: u64,
    },
}

impl EventKind {
    /// Says whether an event is about its task, so that idle or a foreign task in its place makes no sense.
    pub(crate) fn needs_task(&self) -> bool {
        match self {
            Self::SyscallEntry { .. }
            | Self::SyscallExit { .. }
            | Self::NewTask { .. }
            | Self::Exec
            | Self::Exit
            | Self::Fault { .. } => true,
            // A kernel thread may drop the last use of an address space, and flush or call on anybody's behalf.
            Self::TornDown
            | Self::Switch { .. }
            | Self::FlushTruth { .. }
            | Self::CallTruth { .. }
            | Self::Lost { .. } => false,
        }
    }
}

/// What became of the actor that a context switch took off its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreviousState {
    /// It was preempted: on a machine with more CPUs it would still run.
    Runnable,
    /// It waits for something, was stopped, or is dead.
    Asleep,
}

/// The mode a CPU was in when it faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// User code touched the address.
    User,
    /// The kernel touched a user address, for instance to copy a syscall's data.
    Kernel,
}

/// What a faulting access attempted, from the x86 page-fault error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultAccess {
    /// The page was present but its protection forbade the access (else: nothing was mapped).
    pub protection: bool,
    /// It was a write.
    pub write: bool,
    /// It ran with user privilege.
    pub user: bool,
    /// It was an instruction fetch.
    pub instruction: bool,
}

impl FaultAccess {
    /// Decodes an x86 page-fault error code; bits that a replay has no use for are ignored.
    #[must_use]
    pub fn from_error_code(code: u16) -> Self {
        // SDM 3A §4.7, figure 4-12: bit 0 P, 1 W/R, 2 U/S, 4 I/D.
        Self {
            protection: code & 1 != 0,
            write: code & 1 << 1 != 0,
            user: code & 1 << 2 != 0,
            instruction: code & 1 << 4 != 0,
        }
    }

    /// Returns the error code that [`from_error_code`](Self::from_error_code) makes this of.
    #[must_use]
    pub fn error_code(self) -> u16 {
        let Self { protection, write, user, instruction } = self;
        u16::from(protection) | u16::from(write) << 1 | u16::from(user) << 2 | u16::from(instruction) << 4
    }
}

/// Which of the kernel's flushes a [`EventKind::FlushTruth`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlushReason {
    /// 0: a switch to a task of another address space.
    TaskSwitch,
    /// 1: on the receiving end of another CPU's request.
    Remote,
    /// 2: on this CPU, for a batch of pages that reclaim unmapped.
    LocalBatch,
    /// 3: on this CPU, for its own address space: one flush operation.
    LocalMm,
    /// 4: a request to others. It is reported before lazy CPUs are filtered out, so it does not count interrupts.
    RemoteSend,
    /// 5: a request that arrived at a CPU no longer on that address space.
    RemoteWrongCpu,
}

impl FlushReason {
    /// Every reason, at its number in the kernel's `tlb_flush_reason`.
    pub const ALL: [Self; 6] =
        [Self::TaskSwitch, Self::Remote, Self::LocalBatch, Self::LocalMm, Self::RemoteSend, Self::RemoteWrongCpu];

    /// Finds a reason by its number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// What a cross-CPU call asks its target to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallFunction {
    /// `flush_tlb_func`: flush the TLB.
    FlushTlb,
    /// `tlb_remove_table_smp_sync`: only to answer, which proves that no lockless page-table walk is under way.
    TableSync,
    /// Any other function.
    Other,
}

impl CallFunction {
    /// Names a function by its symbol in the kernel.
    #[must_use]
    pub fn by_symbol(symbol: &[u8]) -> Self {
        match symbol {
            b"flush_tlb_func" => Self::FlushTlb,
            b"tlb_remove_table_smp_sync" => Self::TableSync,
            _ => Self::Other,
        }
    }

    /// Returns the symbol, or `other`.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::FlushTlb => "flush_tlb_func",
            Self::TableSync => "tlb_remove_table_smp_sync",
            Self::Other => "other",
        }
    }
}
