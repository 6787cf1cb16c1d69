//! What the recording shows and the model does not explain, and the other way round.
//!
//! Totals can agree by accident. So predictions are held against the record one by one: each fault by itself, each syscall
//! by itself.

use rustc_hash::FxHashMap;
use serde::Serialize;

use shootdown_recording::{Event, EventKind, FlushReason, TaskId};

use crate::account::{by_cause::ByCause, cause::Cause};

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
    #[inline]
    pub(crate) fn observe(&mut self, event: &Event, cause: Cause, predicted: u64) {
        let Some(task) = event.actor.task() else {
            self.outside(event);
            return;
        };
        let Self { residual, open } = self;
        let stretch = open.entry(task).or_insert(Stretch::new(cause, false));
        match event.kind {
            EventKind::SyscallEntry { .. } => residual.close(stretch, Stretch::new(cause, true)),
            EventKind::Exit => residual.close(stretch, Stretch::new(cause, false)),
            EventKind::Fault { .. } if !stretch.is_call => residual.close(stretch, Stretch::new(cause, false)),
            _ => {}
        }
        stretch.predicted += predicted;
        match event.kind {
            EventKind::FlushTruth { reason: FlushReason::LocalMm, .. } => stretch.recorded += 1,
            EventKind::FlushTruth { reason: FlushReason::RemoteSend, .. } => stretch.is_sent = true,
            EventKind::FlushTruth { reason: FlushReason::LocalBatch, .. } => residual.reclaim += 1,
            EventKind::SyscallExit { .. } => residual.close(stretch, Stretch::new(Cause::Fault, false)),
            _ => {}
        }
    }

    fn outside(&mut self, event: &Event) {
        if let EventKind::FlushTruth { reason: FlushReason::LocalMm | FlushReason::LocalBatch, .. } = event.kind {
            self.residual.outside += 1;
        }
    }

    /// Returns the comparison of everything observed.
    pub(crate) fn finish(self) -> Residual {
        let Self { mut residual, open } = self;
        for mut stretch in open.into_values() {
            residual.close(&mut stretch, Stretch::new(Cause::Fault, false));
        }
        residual
    }
}

impl Residual {
    /// Counts what a stretch came to and begins the next.
    fn close(&mut self, stretch: &mut Stretch, next: Stretch) {
        let Stretch { cause, is_call, predicted, mut recorded, is_sent } = std::mem::replace(stretch, next);
        // Overtaken by a concurrent request; the rule of `RecordedCounts`.
        if is_call && is_sent && recorded == 0 {
            recorded = 1;
        }
        self.explained += predicted.min(recorded);
        self.unexplained[cause] += recorded.saturating_sub(predicted);
        self.not_recorded[cause] += predicted.saturating_sub(recorded);
    }
}
