//! When flushes happen, and on which CPU.
//!
//! Owns [`Timeline`]: a fixed number of bins whose width doubles whenever the recording runs past the last one, so that a
//! recording of any length streams through the same memory.

use serde::Serialize;
use shootdown::{Counter, CpuId};
use shootdown_recording::RecordedCpu;
use shootdown_sim::sequential::{Architecture, Sequential};

use crate::account::{compared::Compared, truth::RecordedCounts};

/// At most this many bins. A recording that is longer than the first of them uses at least half.
const N_BINS: usize = 240;

/// What a bin is wide at first. Recordings end after seconds: it has doubled often by then.
const FIRST_BIN_NS: u64 = 1_000;

/// Flush operations and remote requests over recorded time, for each CPU.
///
/// All bins of a kind add up to the totals of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// Recorded time that a bin stands for, in nanoseconds.
    pub bin_ns: u64,
    /// The CPUs, by number.
    pub cpus: Vec<CpuTimeline>,
}

/// What one CPU began in each bin: predicted on the simulated CPU of this number, recorded on the recorded one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CpuTimeline {
    /// The CPU.
    pub cpu: u16,
    /// Flush operations.
    pub flushes: Compared<Vec<u64>>,
    /// Requests to other CPUs to flush, one for each target, where they were sent.
    pub remote: Compared<Vec<u64>>,
}

impl CpuTimeline {
    fn new(cpu: usize) -> Self {
        let empty = || Compared { predicted: vec![0; N_BINS], recorded: vec![0; N_BINS] };
        CpuTimeline { cpu: cpu as u16, flushes: empty(), remote: empty() }
    }

    fn all_bins(&mut self) -> [&mut Vec<u64>; 4] {
        let CpuTimeline { flushes, remote, .. } = self;
        [&mut flushes.predicted, &mut flushes.recorded, &mut remote.predicted, &mut remote.recorded]
    }
}

/// Flush operations and remote requests up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    flushes: u64,
    remote: u64,
}

impl Counted {
    fn of(count: impl Fn(Counter) -> u64) -> Self {
        // A request so that walks end is no flush.
        let remote = count(Counter::RemoteRequest) - count(Counter::QuiescenceRequest);
        Counted { flushes: count(Counter::FlushLocal), remote }
    }
}

/// Adds up a [`Timeline`].
#[derive(Debug)]
pub(crate) struct TimelineCounter {
    bin_ns: u64,
    // The bin of now.
    bin_idx: usize,
    cpus: Vec<CpuTimeline>,
    predicted: Counted,
    predicted_on: Vec<Counted>,
    recorded: Counted,
}

impl TimelineCounter {
    pub(crate) fn new() -> Self {
        TimelineCounter {
            bin_ns: FIRST_BIN_NS,
            bin_idx: 0,
            cpus: Vec::new(),
            predicted: Counted::default(),
            predicted_on: Vec::new(),
            recorded: Counted::default(),
        }
    }

    /// Says when it is: whatever is counted from here on has happened now.
    pub(crate) fn set_time(&mut self, now_ns: u64) {
        while now_ns / self.bin_ns >= N_BINS as u64 {
            self.widen();
        }
        self.bin_idx = (now_ns / self.bin_ns) as usize;
    }

    /// Doubles the width of bins: two become one.
    fn widen(&mut self) {
        self.bin_ns *= 2;
        for bins in self.cpus.iter_mut().flat_map(CpuTimeline::all_bins) {
            let pairs: Vec<u64> = bins.chunks(2).map(|pair| pair.iter().sum()).collect();
            *bins = pairs;
            bins.resize(N_BINS, 0);
        }
    }

    /// Takes in what the library counted since the last time, on the first `n_cpus` CPUs.
    pub(crate) fn predicted<A: Architecture>(&mut self, machine: &Sequential<A>, n_cpus: usize) {
        let now = Counted::of(|counter| machine.counter(counter));
        // Most events count nothing; only the others look at every CPU.
        if now == self.predicted {
            return;
        }
        self.predicted = now;
        self.predicted_on.resize(self.predicted_on.len().max(n_cpus), Counted::default());
        for cpu in 0..n_cpus {
            let now = Counted::of(|counter| machine.counter_on(CpuId(cpu as u16), counter));
            let was = std::mem::replace(&mut self.predicted_on[cpu], now);
            if now != was {
                let idx = self.bin_idx;
                let timeline = self.timeline_of(cpu);
                timeline.flushes.predicted[idx] += now.flushes - was.flushes;
                timeline.remote.predicted[idx] += now.remote - was.remote;
            }
        }
    }

    /// Takes in flush operations that the library does not count.
    pub(crate) fn predicted_besides(&mut self, cpu: CpuId, n_flushes: u64) {
        let idx = self.bin_idx;
        self.timeline_of(usize::from(cpu.0)).flushes.predicted[idx] += n_flushes;
    }

    /// Takes in what the kernel recorded since the last time, by an event on `cpu`.
    pub(crate) fn recorded(&mut self, counts: &RecordedCounts, cpu: RecordedCpu) {
        let now = Counted { flushes: counts.flushes.total(), remote: counts.remote.total() };
        let was = std::mem::replace(&mut self.recorded, now);
        if now != was {
            let idx = self.bin_idx;
            let timeline = self.timeline_of(usize::from(cpu.0));
            timeline.flushes.recorded[idx] += now.flushes - was.flushes;
            timeline.remote.recorded[idx] += now.remote - was.remote;
        }
    }

    fn timeline_of(&mut self, cpu: usize) -> &mut CpuTimeline {
        while self.cpus.len() <= cpu {
            self.cpus.push(CpuTimeline::new(self.cpus.len()));
        }
        &mut self.cpus[cpu]
    }

    /// Returns the bins up to now, of at least `n_cpus` CPUs.
    pub(crate) fn finish(mut self, n_cpus: usize) -> Timeline {
        if let Some(last) = n_cpus.checked_sub(1) {
            self.timeline_of(last);
        }
        for bins in self.cpus.iter_mut().flat_map(CpuTimeline::all_bins) {
            bins.truncate(self.bin_idx + 1);
        }
        Timeline { bin_ns: self.bin_ns, cpus: self.cpus }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_grow_wider_and_lose_nothing() {
        let mut counter = TimelineCounter::new();
        let ends = [0, 900, 1_000, 239_999, 240_000, 10_000_000, 3_600_000_000_000];
        for (n_before, end) in ends.into_iter().enumerate() {
            counter.set_time(end);
            counter.predicted_besides(CpuId(2), 1 + n_before as u64);
        }
        let timeline = counter.finish(1);
        assert_eq!(timeline.cpus.len(), 3, "CPUs that did nothing have their place");
        let bins = &timeline.cpus[2].flushes.predicted;
        assert_eq!(bins.iter().sum::<u64>(), 28);
        assert_eq!((bins.first(), bins.last()), (Some(&21), Some(&7)), "an hour: one bin for the first second");
        assert!(bins.len() > N_BINS / 2 && bins.len() <= N_BINS);
        assert!(timeline.bin_ns * bins.len() as u64 > 3_600_000_000_000);
    }

    #[test]
    fn a_short_recording_has_few_bins() {
        let mut counter = TimelineCounter::new();
        counter.set_time(2_500);
        let timeline = counter.finish(2);
        assert_eq!((timeline.bin_ns, timeline.cpus.len()), (FIRST_BIN_NS, 2));
        assert_eq!(timeline.cpus[1].remote.recorded, [0; 3]);
    }
}
