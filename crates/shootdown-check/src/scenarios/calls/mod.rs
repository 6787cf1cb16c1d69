//! Cross-CPU calls: who waits for whom, interrupts that are lost, CPUs that come and go.

pub(super) mod calling_handler;
pub(super) mod deferred_work;
pub(super) mod departing;
pub(super) mod lock_and_call;
pub(super) mod lost_edge;
pub(super) mod mutual_calls;
mod script;
pub(super) mod started;
pub(super) mod two_senders;
