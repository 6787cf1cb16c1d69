//! What the recording shows and the model does not explain, and the other way round.
//!
//! Totals can agree by accident. So predictions are held against the record one by one: each fault by itself, each syscall
//! by itself.

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::{
    account::{by_cause::ByCause, cause::Cause},
    recording::event::{Event, EventKind, FlushReason, TaskId},
};

/// Flush operations, compared fault by fault and call by call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Residual {
    /// Recorded and predicted in the same fault or call.
    pub explained: u64,
    /// Recorded where none, or fewer, were predicted.
    pub unexplained: ByCause<u64>,
    /// Predicted where none, or fewer, were recorded.
    pub not_recorded: ByCause<u64>,
    /// Flushes for batches of pages that reclaim unmapped: not modelled.
    pub reclaim: u64,
    /// Flushes by kernel threads and others outside of the recorded processes: not modelled.
    pub outside: u64,
}

/// A fault or a syscall that has begun.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    cause: Cause,
    is_call: bool,
    predicted: u64,
    recorded: u64,
    is_sent: bool,
}

impl Stretch {
    const fn new(cause: Cause, is_call: bool) -> Self {
        Stretch { cause, is_call, predicted: 0, recorded: 0, is_sent: false }
    }
}

/// Adds up a [`Residual`].
#[derive(Clone, Debug, Default)]
pub(crate) struct ResidualCounter {
    residual: Residual,
    open: FxHashMap<TaskId, Stretch>,
}

impl ResidualCounter {
    /// Takes note of an event, its cause, and how many flush operations playing it predicted.
    pub(crate) fn observe(&mut self, event: &Event, cause: Cause, predicted: u64) {
        let Some(task) = event.actor.task() else {
            self.outside(event);
            return;
        };
        let in_call = self.open.get(&task).is_some_and(|stretch| stretch.is_call);
        match event.kind {
            EventKind::SyscallEntry { .. } => self.begin(task, Stretch::new(cause, true)),
            EventKind::Exit => self.begin(task, Stretch::new(cause, false)),
            EventKind::Fault { .. } if !in_call => self.begin(task, Stretch::new(cause, false)),
            _ => {}
        }
        let stretch = self.open.entry(task).or_insert(Stretch::new(cause, false));
        stretch.predicted += predicted;
        match event.kind {
            EventKind::FlushTruth { reason: FlushReason::LocalMm, .. } => stretch.recorded += 1,
            EventKind::FlushTruth { reason: FlushReason::RemoteSend, .. } => stretch.is_sent = true,
            EventKind::FlushTruth { reason: FlushReason::LocalBatch, .. } => self.residual.reclaim += 1,
            EventKind::SyscallExit { .. } => self.end(task),
            _ => {}
        }
    }

    fn outside(&mut self, event: &Event) {
        if let EventKind::FlushTruth { reason: FlushReason::LocalMm | FlushReason::LocalBatch, .. } = event.kind {
            self.residual.outside += 1;
        }
    }

    fn begin(&mut self, task: TaskId, stretch: Stretch) {
        self.end(task);
        self.open.insert(task, stretch);
    }

    fn end(&mut self, task: TaskId) {
        let Some(Stretch { cause, is_call, predicted, mut recorded, is_sent }) = self.open.remove(&task) else {
            return;
        };
        // Overtaken by a concurrent request; the rule of `RecordedCounts`.
        if is_call && is_sent && recorded == 0 {
            recorded = 1;
        }
        self.residual.explained += predicted.min(recorded);
        self.residual.unexplained[cause] += recorded.saturating_sub(predicted);
        self.residual.not_recorded[cause] += predicted.saturating_sub(recorded);
    }

    /// Returns the comparison of everything observed.
    pub(crate) fn finish(mut self) -> Residual {
        let open: Vec<TaskId> = self.open.keys().copied().collect();
        open.into_iter().for_each(|task| self.end(task));
        self.residual
    }
}
