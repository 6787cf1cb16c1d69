//! What a file says of itself at its end.

use crate::event::{CallFunction, Event, EventKind, FlushReason};

/// Counts of what was written, for a reader to check that it read that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    events: u64,
    local_flushes: u64,
    remote_requests: u64,
    table_syncs: u64,
    lost_events: u64,
}

impl Totals {
    pub(super) const NAMES: [&str; 5] = ["events", "local flushes", "remote requests", "table syncs", "lost events"];

    pub(super) fn count(&mut self, event: &Event) {
        self.events += 1;
        match event.kind {
            EventKind::FlushTruth { reason: FlushReason::LocalMm, .. } => self.local_flushes += 1,
            EventKind::CallTruth { function: CallFunction::FlushTlb, .. } => self.remote_requests += 1,
            EventKind::CallTruth { function: CallFunction::TableSync, .. } => self.table_syncs += 1,
            // Modulo 2^64: it is compared, not used.
            EventKind::Lost { n_events } => self.lost_events = self.lost_events.wrapping_add(n_events),
            _ => {}
        }
    }

    /// The counts in the order of [`NAMES`](Self::NAMES).
    pub(super) fn numbers(&self) -> [u64; 5] {
        [self.events, self.local_flushes, self.remote_requests, self.table_syncs, self.lost_events]
    }
}
