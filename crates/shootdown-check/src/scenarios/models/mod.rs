//! Models of protocols that others ship, written after their public descriptions. They prove no fix and say nothing of
//! the library. Most are expected to fail, and there is a scenario in which the library passes the same script; or, where
//! the library has no part, a model beside it that holds.

mod ack_counter;
mod alpha;
mod bounded_queue;
mod early_free;
mod kernel_addresses;
mod kernel_slots;
mod one_batch;
mod retract;
mod script;
mod shared_tables;
mod user_count;

pub(super) use self::ack_counter::OURS as UNMAP_LEAVE_3CPU;
use self::{
    kernel_addresses::{block, purge, reuse},
    kernel_slots::{counter, error_path, fault, removal, walk},
};
use super::share::split;
use crate::scenario::Scenario;

/// All models.
pub static ALL: [&Scenario; 36] = [
    &ack_counter::ACK_COUNTER,
    &bounded_queue::BOUNDED_QUEUE,
    &early_free::EARLY_FREE,
    &user_count::USER_COUNT,
    &one_batch::ONE_BATCH,
    &shared_tables::REFERENCES,
    &shared_tables::TOO_LATE,
    &split::TOO_EARLY,
    &retract::TWO_HOLDS,
    &alpha::LOCK,
    &alpha::LOCK_AND_POLL,
    &alpha::SEVENTH_CALLER,
    &alpha::HANDLER_FLUSHES,
    &fault::COPIED,
    &fault::THERE_ALREADY,
    &fault::INTERRUPT,
    &fault::KERNEL_THREAD,
    &walk::HANDED_OUT_EARLY,
    &walk::MISSED_ROOT,
    &walk::LOCKED,
    &counter::TWO_NUMBERS,
    &counter::RELAXED,
    &counter::TAKEN_AWAY,
    &counter::NO_SWITCH,
    &counter::RELEASED,
    &removal::COUNTED,
    &removal::EVERYWHERE,
    &error_path::FORGETS,
    &error_path::COPIES,
    &reuse::AT_ONCE,
    &purge::FLUSHES_FIRST,
    &purge::FLUSHES_LAST,
    &purge::TWO_PURGES,
    &purge::ONE_PURGE,
    &block::WITH_ROOM,
    &block::DIRTY,
];

/// Those that do what they are for, and so are expected to pass.
pub static HOLDING: [&Scenario; 9] = [
    &alpha::LOCK_AND_POLL,
    &fault::COPIED,
    &walk::LOCKED,
    &counter::RELEASED,
    &removal::EVERYWHERE,
    &error_path::COPIES,
    &purge::FLUSHES_FIRST,
    &purge::ONE_PURGE,
    &block::DIRTY,
];
