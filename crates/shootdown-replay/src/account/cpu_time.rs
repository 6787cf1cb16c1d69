//! How long the recorded tasks ran.

use shootdown_recording::{Event, EventKind};

/// Adds up the time in which recorded CPUs ran tasks of the recorded tree, as far as the events show.
#[derive(Debug, Default)]
pub(crate) struct CpuTime {
    // Since when each CPU has been running one.
    since_ns: Vec<Option<u64>>,
    sum_ns: u64,
    now_ns: u64,
}

impl CpuTime {
    pub(crate) fn observe(&mut self, event: &Event) {
        let cpu = usize::from(event.cpu.0);
        if self.since_ns.len() <= cpu {
            self.since_ns.resize(cpu + 1, None);
        }
        let runs = match event.kind {
            EventKind::Switch { next, .. } => next.task().is_some(),
            // A CPU may leave idle without an event: whoever does something there is running there.
            _ => event.actor.task().is_some(),
        };
        self.now_ns = event.at_ns;
        let since = &mut self.since_ns[cpu];
        match (*since, runs) {
            (None, true) => *since = Some(event.at_ns),
            (Some(began), false) => {
                self.sum_ns += event.at_ns.saturating_sub(began);
                *since = None;
            }
            _ => {}
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        let still: u64 = self.since_ns.iter().flatten().map(|began| self.now_ns.saturating_sub(*began)).sum();
        (self.sum_ns + still) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use shootdown_recording::{Actor, PreviousState, RecordedCpu, TaskId};

    use super::*;

    #[test]
    fn time_between_switches_is_a_tasks_and_idle_time_is_nobodys() {
        let mut time = CpuTime::default();
        let task = Actor::Task(TaskId(1000));
        let switch = |next| EventKind::Switch { next, previous: PreviousState::Asleep };
        for (at_ns, cpu, actor, kind) in [
            (0, 0, task, EventKind::Exec),
            (100, 0, task, switch(Actor::Idle)),
            (300, 0, Actor::Idle, switch(task)),
            (350, 0, task, switch(Actor::Foreign)),
            (400, 1, task, EventKind::Exec),
            (1_000, 0, Actor::Foreign, switch(Actor::Idle)),
        ] {
            time.observe(&Event { at_ns, cpu: RecordedCpu(cpu), actor, kind });
        }
        assert_eq!(time.seconds(), 750e-9, "150 ns on CPU 0, and since 400 ns on CPU 1");
    }
}
