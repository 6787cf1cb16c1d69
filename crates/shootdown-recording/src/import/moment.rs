//! What a tracer of a whole machine saw, before it is known whose events matter.

use crate::event::{CallFunction, FaultAccess, FlushReason, Mode, PreviousState};

/// A task's number on the recorded machine; 0 is the idle task of whichever CPU.
pub(crate) type Tid = u32;

/// The idle tasks.
pub(crate) const IDLE: Tid = 0;
/// The ancestor of all kernel threads: they are created by it, and programs are not.
pub(crate) const KERNEL_THREAD_DAEMON: Tid = 2;

/// A tracepoint that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// By the tracer's clock.
    pub(crate) at_ns: u64,
    pub(crate) cpu: u16,
    /// The process, if the tracer told.
    pub(crate) process: Option<u32>,
    pub(crate) task: Tid,
    pub(crate) what: What,
}

/// What happened at a [`Moment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// `raw_syscalls:sys_enter`.
    Enter { number: u32, args: [u64; 6] },
    /// `raw_syscalls:sys_exit`.
    Leave { number: u32, result: i64 },
    /// `task:task_newtask`.
    NewTask { child: Tid, flags: u64 },
    /// `sched:sched_process_exec`; a thread that was not the first of its process had another number before.
    Exec { old: Tid },
    /// `sched:sched_process_exit`.
    Exit,
    /// `mmap:exit_mmap`.
    TornDown,
    /// `sched:sched_switch`.
    Switch { from: Tid, state: PreviousState, to: Tid, to_name: Name },
    /// `exceptions:page_fault_user` and `page_fault_kernel`.
    Fault { address: u64, from: Mode, access: FaultAccess },
    /// `tlb:tlb_flush`.
    Flush { reason: FlushReason, pages: Option<u64> },
    /// `csd:csd_queue_cpu`.
    Call { target: u16, function: CallFunction },
    /// The tracer could not keep up.
    Lost { n_events: u64 },
    /// A task has, or gets, a name.
    Named { task: Tid, name: Name },
    /// A task was there before, or appears, created by another; as a thread of the same process, or as a process.
    Known { task: Tid, parent: Tid, is_thread: bool },
}

/// A task's name as the kernel keeps it: 15 bytes, filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name([u8; Name::BYTES]);

impl Name {
    const BYTES: usize = 16;

    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut name = [0; Self::BYTES];
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        name.iter_mut().zip(text.iter().take(Self::BYTES - 1)).for_each(|(to, from)| *to = *from);
        Name(name)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}
