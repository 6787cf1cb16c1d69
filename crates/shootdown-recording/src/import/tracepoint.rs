//! The tracepoints of Linux that a recording is made of.

use std::fmt;

/// A tracepoint that matters to a recording.
///
/// It is shown as `SYSTEM:NAME`, as perf wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracepoint {
    /// A call begins.
    Enter,
    /// A call ends.
    Leave,
    /// A task is created.
    NewTask,
    /// A program is executed.
    Exec,
    /// A task ends.
    Exit,
    /// An address space has ended.
    TornDown,
    /// A CPU changes over to another task.
    Switch,
    /// A page fault in user mode.
    FaultOfUser,
    /// A page fault in the kernel.
    FaultOfKernel,
    /// The kernel flushes.
    Flush,
    /// The kernel asks another CPU to call something.
    Call,
}

/// What is known of a tracepoint.
struct Facts {
    system: &'static str,
    name: &'static str,
    /// Those that are read, in the order they are read in.
    fields: &'static [&'static str],
    without: &'static str,
}

impl Tracepoint {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Enter,
        Self::Leave,
        Self::NewTask,
        Self::Exec,
        Self::Exit,
        Self::TornDown,
        Self::Switch,
        Self::FaultOfUser,
        Self::FaultOfKernel,
        Self::Flush,
        Self::Call,
    ];

    const fn facts(self) -> Facts {
        let (system, name, fields, without): (_, _, &[&str], _) = match self {
            Self::Enter => ("raw_syscalls", "sys_enter", &["id", "args"], "what was called is unknown"),
            Self::Leave => ("raw_syscalls", "sys_exit", &["id", "ret"], "what calls returned is unknown"),
            Self::NewTask => ("task", "task_newtask", &["pid", "clone_flags"], "whose child a task is is unknown"),
            Self::Exec => ("sched", "sched_process_exec", &["old_pid"], "when programs began is unknown"),
            Self::Exit => ("sched", "sched_process_exit", &[], "when tasks ended is unknown"),
            Self::TornDown => {
                ("mmap", "exit_mmap", &[], "when address spaces ended is unknown, and a replay frees nothing of them")
            }
            Self::Switch => {
                let fields = &["prev_pid", "prev_state", "next_pid", "next_comm"];
                ("sched", "sched_switch", fields, "who ran where is unknown")
            }
            Self::FaultOfUser => {
                ("exceptions", "page_fault_user", &["address", "error_code"], "which pages were touched is unknown")
            }
            Self::FaultOfKernel => {
                let without = "which pages the kernel touched for tasks is unknown";
                ("exceptions", "page_fault_kernel", &["address", "error_code"], without)
            }
            Self::Flush => {
                ("tlb", "tlb_flush", &["reason", "pages"], "the kernel's own flushes are unknown, and not none")
            }
            Self::Call => {
                let without = "the kernel's own remote requests are unknown, and not none; Linux has it since 6.5";
                ("csd", "csd_queue_cpu", &["cpu", "func"], without)
            }
        };
        Facts { system, name, fields, without }
    }

    /// Returns the group of tracepoints it is in.
    #[must_use]
    pub const fn system(self) -> &'static str {
        self.facts().system
    }

    /// Returns its name in its group.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Says what nobody knows of a recording without it.
    #[must_use]
    pub const fn without(self) -> &'static str {
        self.facts().without
    }

    /// Whether nothing is left of a recording without it.
    #[must_use]
    pub const fn is_needed(self) -> bool {
        !matches!(self, Self::TornDown | Self::Flush | Self::Call)
    }

    /// Finds a tracepoint by its name, with its system's or without it.
    pub(crate) fn by_name(system: Option<&[u8]>, name: &[u8]) -> Option<Self> {
        let is_it = |tracepoint: &Self| {
            let Facts { system: of, name: tracepoint, .. } = tracepoint.facts();
            system.is_none_or(|system| system == of.as_bytes()) && name == tracepoint.as_bytes()
        };
        Self::ALL.into_iter().find(is_it)
    }

    pub(crate) const fn fields(self) -> &'static [&'static str] {
        self.facts().fields
    }
}

impl fmt::Display for Tracepoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.system(), self.name())
    }
}
