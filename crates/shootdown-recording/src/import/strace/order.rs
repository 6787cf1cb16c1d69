//! Events in the order of time.
//!
//! A line tells of a call when the call has returned, so what comes last on one line may come after what begins the next ones.
//! It waits here; a task does one call at a time, so no more waits than there are tasks in calls.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

use crate::event::{Actor, Event, EventKind, RecordedCpu, TaskId};

/// When it is due, and its place in the order in which such things were said.
type Key = (u64, u64);

/// What has been said and what has yet to be.
#[derive(Debug, Default)]
pub(super) struct Order {
    ready: VecDeque<Event>,
    /// By time, and at one time by the order it was said in.
    later: BTreeMap<Key, (TaskId, EventKind)>,
    /// The keys of each task: a damaged file may have any number of tasks wait.
    of_task: FxHashMap<TaskId, Vec<Key>>,
    n_said: u64,
    /// Whatever happens happens no earlier.
    released_ns: u64,
}

impl Order {
    /// Says what a task did, and when.
    pub(super) fn say(&mut self, at_ns: u64, task: TaskId, kind: EventKind) {
        self.n_said += 1;
        let key = (at_ns.max(self.released_ns), self.n_said);
        self.later.insert(key, (task, kind));
        self.of_task.entry(task).or_default().push(key);
    }

    /// Moves what waits for later than `until_ns` to then: the task does something else, so it is over.
    pub(super) fn hurry(&mut self, task: TaskId, until_ns: u64) {
        let Some(keys) = self.of_task.get_mut(&task) else {
            return;
        };
        let mut late: Vec<Key> = keys.extract_if(.., |(at_ns, _)| *at_ns > until_ns).collect();
        late.sort_unstable();
        for key in late {
            if let Some((task, kind)) = self.later.remove(&key) {
                self.say(until_ns, task, kind);
            }
        }
    }

    /// Tells all up to this time: nothing earlier will be said.
    pub(super) fn release(&mut self, until_ns: u64) {
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= until_ns) {
            let (key, (task, kind)) = first.remove_entry();
            self.forget(task, key);
            // Nobody knows where tasks ran.
            self.ready.push_back(Event { at_ns: key.0, cpu: RecordedCpu(0), actor: Actor::Task(task), kind });
        }
        self.released_ns = self.released_ns.max(until_ns);
    }

    fn forget(&mut self, task: TaskId, key: Key) {
        if let Some(keys) = self.of_task.get_mut(&task) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.of_task.remove(&task);
            }
        }
    }

    /// Returns the next event, if it is known which it is.
    pub(super) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_later_is_told_later() {
        let (one, other) = (TaskId(1000), TaskId(1001));
        let mut order = Order::default();
        order.say(10, one, EventKind::TornDown);
        order.release(5);
        assert_eq!(order.next(), None);
        order.say(5, other, EventKind::Exec);
        order.say(12, other, EventKind::TornDown);
        order.hurry(other, 11);
        order.release(11);
        let told: Vec<(u64, Actor)> =
            std::iter::from_fn(|| order.next()).map(|event| (event.at_ns, event.actor)).collect();
        assert_eq!(told, [(5, Actor::Task(other)), (10, Actor::Task(one)), (11, Actor::Task(other))]);
    }
}
