//! Which cause each event belongs to.

use rustc_hash::FxHashMap;

use shootdown_recording::{Event, EventKind, TaskId};

use crate::account::cause::Cause;

/// Follows every task into and out of its syscalls.
///
/// An event belongs to the syscall its task is in, to exit once the task has begun to exit, and else to a fault. A new
/// task is in no syscall, although it starts out in the middle of its parent's: what it flushes before it first
/// returns is caused by faults of its own.
#[derive(Clone, Debug, Default)]
pub struct CauseTracker {
    /// What tasks do that are in a syscall or exit; a task that is not here can only fault.
    busy: FxHashMap<TaskId, Cause>,
}

impl CauseTracker {
    /// Takes note of an event and returns the cause it belongs to.
    ///
    /// To be called with every event of a recording, in order. The entry and exit of a syscall belong to that syscall;
    /// events of actors outside the recorded tree are [`Cause::Other`].
    #[inline]
    pub fn observe(&mut self, event: &Event) -> Cause {
        let Some(task) = event.actor.task() else {
            return Cause::Other;
        };
        match event.kind {
            EventKind::SyscallEntry { call, .. } => {
                let cause = Cause::of_syscall(call);
                self.busy.insert(task, cause);
                cause
            }
            EventKind::SyscallExit { call, .. } => {
                self.busy.remove(&task);
                Cause::of_syscall(call)
            }
            EventKind::Exit => {
                self.busy.insert(task, Cause::Exit);
                Cause::Exit
            }
            EventKind::NewTask { child, .. } => {
                // The id may be that of a task that has exited.
                self.busy.remove(&child);
                self.cause_of(task)
            }
            _ => self.cause_of(task),
        }
    }

    fn cause_of(&self, task: TaskId) -> Cause {
        self.busy.get(&task).copied().unwrap_or(Cause::Fault)
    }
}
