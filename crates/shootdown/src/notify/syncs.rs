//! Waiting for a device that performs invalidations in the order in which they were queued.

use crate::{call, fix::Fix, lock::Locked, machine::Machine, word::Own};

/// A queue of a device that invalidates: an IOMMU, as a rule.
pub trait DeviceQueue<M: Machine>: Sync {
    /// What it can be asked to invalidate.
    type Command;

    /// Puts a command at the end. Waits for room, if need be.
    fn push(&self, m: &M, command: Self::Command);

    /// Puts a command at the end that makes the device write `number`, when all commands before it have been performed, to where
    /// [`reached`](Self::reached) reads it.
    #[doc(alias = "COMPLETION_WAIT")]
    fn push_sync(&self, m: &M, number: u64);

    /// Returns the number that the device has written last. Whoever reads it with what came before it in mind uses an acquire.
    fn reached(&self, m: &M) -> u64;
}

/// Who waits for what in a [`DeviceQueue`]: one command that makes the device write a number is for all commands before it, whoever
/// has queued them. So who finds that somebody has queued one after his own command queues none; but he waits for that one.
///
/// ```
/// use shootdown::{Machine, notify::{DeviceQueue, Syncs}};
/// /// Returns when the device has performed `command`.
/// fn perform<M: Machine, Q: DeviceQueue<M>>(m: &M, syncs: &Syncs<M>, queue: &Q, command: Q::Command) {
///     syncs.push(m, queue, command);
///     syncs.wait(m, queue);
/// }
/// ```
pub struct Syncs<M: Machine> {
    queue: Locked<M, Queued<M>>,
}

struct Queued<M: Machine> {
    // The number that the device writes last.
    last: Own<M>,
    // Something was queued after the command that makes it do so.
    is_behind: Own<M>,
}

impl<M: Machine> Syncs<M> {
    /// Makes one for a queue whose device has written 0.
    #[must_use]
    pub const fn new() -> Self {
        Syncs { queue: Locked::new(Queued { last: Own::ZERO, is_behind: Own::ZERO }) }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.queue.visit(visitor, |queued, visitor| {
            queued.last.visit("syncs.last", visitor);
            queued.is_behind.visit("syncs.behind", visitor);
        });
    }

    /// Queues a command.
    ///
    /// # Context
    /// Under any lock that is not taken while this one's is held. Takes the lock of the queue; does not sleep.
    pub fn push<Q: DeviceQueue<M>>(&self, m: &M, queue: &Q, command: Q::Command) {
        let queued = self.queue.lock(m);
        queue.push(m, command);
        queued.is_behind.set(m, 1);
    }

    /// Returns when the device has performed all commands that this CPU has queued before.
    ///
    /// # Context
    /// As [`push`](Self::push). Waits for the device, and serves this CPU's inbox meanwhile.
    ///
    /// # Ordering
    /// Pairs: `queue/reached`.
    pub fn wait<Q: DeviceQueue<M>>(&self, m: &M, queue: &Q) {
        let queued = self.queue.lock(m);
        let is_behind = queued.is_behind.get(m) != 0;
        if is_behind {
            // Numbered under the lock, so that the device writes them in order.
            queued.last.set(m, queued.last.get(m) + 1);
            queue.push_sync(m, queued.last.get(m));
            queued.is_behind.set(m, 0);
        }
        let number = queued.last.get(m);
        drop(queued);
        if is_behind || m.keeps(Fix::WaitForSync) {
            // ORDER(queue/reached): the device writes it after it has performed what came before. It may have come further.
            call::wait(m, |m| (queue.reached(m) >= number).then_some(()));
        }
    }
}

impl<M: Machine> Default for Syncs<M> {
    fn default() -> Self {
        Self::new()
    }
}
