//! What the kernel did, by its own account in the recording.
//!
//! Owns [`RecordedCounts`] and the rules by which flush and call events add up to it. It deliberately predicts
//! nothing: these are the numbers a replay has to meet.

use rustc_hash::FxHashMap;
use serde::Serialize;

use shootdown_recording::{CallFunction, Event, EventKind, FlushReason, TaskId};

use crate::{account::by_cause::ByCause, account::cause::Cause};

/// The kernel's flushes in a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecordedCounts {
    /// Flush operations, each counted once however many CPUs it concerned.
    pub flushes: ByCause<u64>,
    /// Those of `flushes` that left no local flush in the recording: a concurrent request had already brought the
    /// initiating CPU up to date, and only the request to others shows that there was an operation.
    pub overtaken: ByCause<u64>,
    /// Requests to other CPUs to flush, one for each target.
    pub remote: ByCause<u64>,
    /// Requests to other CPUs so that their walks of page tables end, one for each target.
    pub table_syncs: u64,
}

/// Adds up [`RecordedCounts`] from the events of a recording.
#[derive(Clone, Debug, Default)]
pub struct RecordedCounter {
    counts: RecordedCounts,
    calls: FxHashMap<TaskId, CallFlushes>,
}

/// What a task has flushed in the syscall it is in.
#[derive(Clone, Copy, Debug, Default)]
struct CallFlushes {
    is_sent: bool,
    is_local: bool,
}

impl RecordedCounter {
    /// Takes note of an event and the cause that [`CauseTracker`](crate::CauseTracker) gives it.
    #[inline]
    pub fn observe(&mut self, event: &Event, cause: Cause) {
        match event.kind {
            EventKind::FlushTruth { reason, .. } => self.flush(event, reason, cause),
            EventKind::CallTruth { function: CallFunction::FlushTlb, .. } => self.counts.remote[cause] += 1,
            EventKind::CallTruth { function: CallFunction::TableSync, .. } => self.counts.table_syncs += 1,
            EventKind::SyscallEntry { .. } => {
                if let Some(task) = event.actor.task() {
                    self.calls.insert(task, CallFlushes::default());
                }
            }
            EventKind::SyscallExit { .. } => {
                let call = event.actor.task().and_then(|task| self.calls.remove(&task));
                if let Some(CallFlushes { is_sent: true, is_local: false }) = call {
                    self.counts.flushes[cause] += 1;
                    self.counts.overtaken[cause] += 1;
                }
            }
            EventKind::Exit => {
                // An exiting task has left its address space; a request without a local flush is normal there.
                if let Some(task) = event.actor.task() {
                    self.calls.remove(&task);
                }
            }
            _ => {}
        }
    }

    /// Returns the counts up to the last event observed.
    #[must_use]
    pub fn counts(&self) -> &RecordedCounts {
        &self.counts
    }

    fn flush(&mut self, event: &Event, reason: FlushReason, cause: Cause) {
        if reason == FlushReason::LocalMm {
            self.counts.flushes[cause] += 1;
        }
        let call = event.actor.task().and_then(|task| self.calls.get_mut(&task));
        match (reason, call) {
            (FlushReason::LocalMm, Some(call)) => call.is_local = true,
            (FlushReason::RemoteSend, Some(call)) => call.is_sent = true,
            _ => {}
        }
    }
}
