//! Finding out by what steps a clock goes.
//!
//! Owns [`estimate`]. Only additions, multiplications, divisions and roundings of numbers, so that every machine comes to the
//! same. A wrong answer costs bytes and nothing else.

use crate::columns::clock::Step;

/// Distances that are looked at, at most.
const N_SAMPLES: usize = 400;
/// With fewer, chance would find a step.
const N_SAMPLES_NEEDED: usize = 50;
/// Distances this short show a step that is only roughly right.
const SHORT_NS: u64 = 2_000;
/// Distances longer than this one show the drift of clocks rather than their steps.
const LONG_NS: u64 = 128_000;
/// Steps that are tried, in ns. Shorter ones save nothing.
const SHORTEST_STEP: f64 = 3.0;
const LONGEST_STEP: f64 = 64.0;
/// Distances are off by more than this part of the step if they have none: by a quarter on average.
const FITTING: f64 = 0.12;

/// Finds the step by which these times grow, if `last` is not it still.
pub(super) fn estimate(times: &[(u64, u16)], last: Step) -> Step {
    // A clock that has fewer decimals than nanoseconds need.
    let common = times.iter().fold(0, |common, (since_ns, _)| greatest_common_divisor(common, *since_ns));
    if common > 1 {
        return step_of(common as f64);
    }
    let short = distances(times, 1, SHORT_NS);
    if short.len() < N_SAMPLES_NEEDED {
        return Step::ONE_NS;
    }
    if last != Step::ONE_NS && misfit(&short, in_ns(last)) < FITTING {
        return last;
    }
    found(&short).map_or(Step::ONE_NS, |step| refined(times, step))
}

/// Finds the step that short distances are made of, if there is one.
fn found(short: &[f64]) -> Option<f64> {
    let longer = |step: &f64| Some(step + resolution(*step, SHORT_NS));
    let steps = std::iter::successors(Some(SHORTEST_STEP), longer).take_while(|step| *step < LONGEST_STEP);
    let step = near(short, best(short, steps), SHORT_NS);
    // Distances are made of half a step, too.
    let double = near(short, 2.0 * step, SHORT_NS);
    let step = if misfit(short, double) <= misfit(short, step) { double } else { step };
    (misfit(short, step) < FITTING).then_some(step)
}

/// Finds the step about this one that fits best.
fn near(distances: &[f64], step: f64, distance_ns: u64) -> f64 {
    let by = resolution(step, distance_ns) / 6.0;
    best(distances, (-12..=12).map(|n| step + f64::from(n) * by))
}

/// The part of a step that makes a sixth of it over a distance.
fn resolution(step: f64, distance_ns: u64) -> f64 {
    step * step / (6 * distance_ns) as f64
}

/// Makes a step exact by looking at ever longer distances.
fn refined(times: &[(u64, u16)], mut step: f64) -> Step {
    let mut distance_ns = SHORT_NS;
    while distance_ns < LONG_NS {
        distance_ns *= 2;
        let distances = distances(times, distance_ns / 2, distance_ns);
        let better = near(&distances, step, distance_ns);
        if distances.len() < N_SAMPLES_NEEDED || misfit(&distances, better) > FITTING {
            break;
        }
        step = better;
    }
    step_of(step)
}

/// Distances of events of one CPU without one of another between them: CPUs may be out of step.
fn distances(times: &[(u64, u16)], least_ns: u64, below_ns: u64) -> Vec<f64> {
    let (mut distance, mut last_cpu) = (0_u64, None);
    let whole = times.iter().filter_map(|(since_ns, cpu)| {
        let is_alone = last_cpu.replace(*cpu) == Some(*cpu);
        distance = if is_alone { distance.saturating_add(*since_ns) } else { 0 };
        (distance >= least_ns).then(|| std::mem::take(&mut distance))
    });
    whole.filter(|distance| *distance < below_ns).take(N_SAMPLES).map(|distance| distance as f64).collect()
}

fn best(distances: &[f64], steps: impl Iterator<Item = f64>) -> f64 {
    let scored = steps.map(|step| (misfit(distances, step), step));
    scored.min_by(|one, other| one.0.total_cmp(&other.0)).map_or(1.0, |(_, step)| step)
}

/// By how much of a step distances are off, on average.
fn misfit(distances: &[f64], step: f64) -> f64 {
    let off = distances.iter().map(|distance| distance / step).map(|n_steps| (n_steps - n_steps.round()).abs());
    off.sum::<f64>() / distances.len().max(1) as f64
}

fn in_ns(step: Step) -> f64 {
    step.code() as f64 / Step::ONE_NS.code() as f64
}

fn step_of(ns: f64) -> Step {
    Step::from_code((ns * Step::ONE_NS.code() as f64).round() as u64).unwrap_or(Step::ONE_NS)
}

fn greatest_common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances of readings of a clock, from 20 ns to 3 microseconds.
    fn readings(step_ns: f64) -> Vec<(u64, u16)> {
        let mut shown = 0;
        let mut steps = 0.0;
        let readings = (1..2000_u32).map(|n| {
            steps += f64::from(20 + n.wrapping_mul(2_654_435_761) % 3000) / step_ns;
            let now = (steps.round() * step_ns) as u64;
            (now - std::mem::replace(&mut shown, now), 0)
        });
        readings.collect()
    }

    #[test]
    fn the_step_of_a_clock_is_found() {
        for step_ns in [10.0149, 18.5185, 41.6667, 1000.0] {
            let found = in_ns(estimate(&readings(step_ns), Step::ONE_NS));
            assert!((found - step_ns).abs() < step_ns / 5000.0, "{found} of {step_ns}");
        }
    }

    #[test]
    fn a_clock_that_counts_nanoseconds_has_no_other_step() {
        assert_eq!(estimate(&readings(1.0), Step::ONE_NS), Step::ONE_NS);
        assert_eq!(estimate(&[], Step::ONE_NS), Step::ONE_NS);
        assert_eq!(estimate(&[(0, 0); 10], Step::ONE_NS), Step::ONE_NS);
    }
}
