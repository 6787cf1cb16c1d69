//! Moments in the order of time.
//!
//! perf writes the buffers of all CPUs out in rounds. Whatever is in a round after the next is later than all in a round: at
//! the end of a round, all up to the latest moment of the round before can be told in order.
//!
//! Source: tools/perf/util/ordered-events.c.

use std::collections::VecDeque;

use crate::import::moment::Moment;

/// Moments that wait for earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    waiting: Vec<Moment>,
    ready: VecDeque<Moment>,
    latest_ns: u64,
    latest_before_ns: u64,
}

impl Rounds {
    pub(crate) fn add(&mut self, moment: Moment) {
        self.latest_ns = self.latest_ns.max(moment.at_ns);
        self.waiting.push(moment);
    }

    /// A round ended.
    pub(crate) fn finish_round(&mut self) {
        self.release(self.latest_before_ns);
        self.latest_before_ns = self.latest_ns;
    }

    /// There is no further round.
    pub(crate) fn finish(&mut self) {
        self.release(u64::MAX);
    }

    /// Returns the next in order.
    pub(crate) fn next(&mut self) -> Option<Moment> {
        self.ready.pop_front()
    }

    fn release(&mut self, until_ns: u64) {
        // Stable: moments of one CPU at one time keep their order.
        self.waiting.sort_by_key(|moment| moment.at_ns);
        let n_ready = self.waiting.partition_point(|moment| moment.at_ns <= until_ns);
        self.ready.extend(self.waiting.drain(..n_ready));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::moment::What;

    fn moment(at_ns: u64) -> Moment {
        Moment { at_ns, cpu: 0, process: None, task: 1, what: What::Exit }
    }

    #[test]
    fn what_a_later_round_may_precede_waits() {
        let mut rounds = Rounds::default();
        let mut told = Vec::new();
        for round in [&[5, 9, 3][..], &[8, 12, 10], &[11, 20]] {
            round.iter().for_each(|at_ns| rounds.add(moment(*at_ns)));
            rounds.finish_round();
            told.push(std::iter::from_fn(|| rounds.next()).map(|moment| moment.at_ns).collect::<Vec<_>>());
        }
        assert_eq!(told, [vec![], vec![3, 5, 8, 9], vec![10, 11, 12]]);
        rounds.finish();
        assert_eq!(rounds.next().map(|moment| moment.at_ns), Some(20));
    }
}
