//! Cross-CPU calls that cannot deadlock, and the one way to wait.
//!
//! A sender fills its slot towards each target, sets its bit in the target's inbox, and interrupts the target only if
//! the inbox was empty: whoever made it non-empty has interrupted already, and the target drains all of it, those first
//! whose senders wait. Completion is a state of each slot and never a count, so one CPU's answer cannot stand in for
//! another's.
//!
//! A CPU that waits serves its own inbox meanwhile, whether it waits for an answer or for a lock. So calls are legal with
//! interrupts masked, under locks and in interrupt handlers, and CPUs that call each other cannot deadlock. What runs on
//! the target must not wait for anything, and so must not take a lock: what is not caught at once is caught when it serves
//! the inbox a second time.
//!
//! | the kernel calls | when |
//! |---|---|
//! | [`handle_kick`] | in the handler of the interrupt that [`Machine::kick`](crate::Machine::kick) raises |
//! | [`on_interrupt_exit`] | at the end of every other interrupt's handler, before deferred work runs |
//! | [`arrive`], [`depart`] | when a CPU begins to take part, and when it ceases to |
//!
//! Calls do not queue. There is room for one synchronous and one asynchronous call from each CPU to each other; a sender
//! waits for its previous one of the same kind to the same target.
//!
//! Lock order: none. Nothing here takes a lock.

mod closure;
mod inbox;
mod notice;
mod operation;
mod post;
mod present;
mod send;
mod serve;
mod slot;
mod wait;

pub use self::{
    closure::{start_with, with},
    notice::{Notice, notify},
    operation::Work,
    present::{Present, arrive, depart},
    send::{
        Started, on_all, on_each, on_each_if, on_others, rendezvous, rendezvous_all, start, synchronize_instructions,
    },
    serve::{handle_kick, on_interrupt_exit, serve},
    slot::Slot,
    wait::{Waiting, wait},
};
pub(crate) use self::{
    inbox::Inbox,
    operation::{N_WORDS, Operation, Words},
    post::{Kind, post, wait_for},
    send::run_on_all,
};
