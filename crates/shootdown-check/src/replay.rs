//! Replays a schedule, act by act.

use std::fmt;

use shootdown::Fix;
use shootdown_sim::smp::{Act, Evicted, Hardware, Walk};

use crate::{
    driver::{Driver, Situation},
    failure::Failure,
    fingerprint::{Fingerprint, Fingerprinting},
    left_out::LeftOut,
    live::{self, Live},
    scenario::Scenario,
    schedule::Schedule,
    trace::{Trace, TraceBuilder},
};

/// A replayed schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// What happened, step by step.
    pub trace: Trace,
    /// What the schedule ran into, if anything. After its last act, every CPU takes its turn until the end.
    pub failure: Option<Failure>,
    /// Which code it was.
    pub(crate) fingerprint: Fingerprint,
}

/// A schedule does not fit the scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError {
    /// It is one of another scenario.
    OtherScenario(String),
    /// It was made with other fixes left out, or on another machine.
    OtherSetting,
    /// The act at this place cannot happen there, or comes after the failure.
    CannotHappen {
        /// The act.
        act: Act,
        /// Its place, from 0.
        index: usize,
        /// What could happen there; nothing after the failure.
        possible: Vec<Act>,
    },
    /// All its acts can happen, but they are not what they were: the code has changed since.
    OtherCode,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::OtherScenario(name) => write!(f, "the schedule is one of scenario {name:?}"),
            ReplayError::OtherSetting => {
                f.write_str("the schedule's fingerprint is one of other left-out fixes or of another machine")
            }
            ReplayError::CannotHappen { act, index, possible } => {
                let possible: Vec<String> = possible.iter().map(|act| in_words(*act)).collect();
                write!(f, "act {index} of the schedule cannot happen: {}", in_words(*act))?;
                match possible.is_empty() {
                    true => f.write_str("; the run is over before it"),
                    false => write!(f, "; what can: {}", possible.join(", ")),
                }
            }
            ReplayError::OtherCode => {
                f.write_str("the schedule's fingerprint does not fit what its acts do: the code has changed since")
            }
        }
    }
}

impl std::error::Error for ReplayError {}

fn in_words(act: Act) -> String {
    let cpu = act.cpu().0;
    match act {
        Act::Step { outcome: 0, .. } => format!("CPU {cpu} steps"),
        Act::Step { outcome, .. } => format!("CPU {cpu} steps, with outcome {outcome}"),
        Act::Interrupt { .. } => format!("CPU {cpu} takes a kick"),
        Act::Tick { .. } => format!("CPU {cpu} takes a tick"),
        Act::Drain { place, .. } => format!("store {place} of CPU {cpu} reaches memory"),
        Act::Walk { walk: Walk::ToCache { index }, .. } => format!("CPU {cpu} caches root entry {index}"),
        Act::Walk { walk: Walk::ToTlb { page, .. }, .. } => format!("CPU {cpu} caches page {}", page.0),
        Act::Evict { what: Evicted::Translation(page), .. } => format!("CPU {cpu} evicts page {}", page.0),
        Act::Evict { what: Evicted::Pointer(index), .. } => format!("CPU {cpu} evicts root entry {index}"),
    }
}

/// Replays a schedule.
///
/// # Errors
/// [`ReplayError`] if the schedule does not fit the scenario, as when the library has changed since.
pub fn replay(scenario: &'static Scenario, left_out: &[Fix], schedule: &Schedule) -> Result<Replayed, ReplayError> {
    replay_without(scenario, left_out.into(), schedule)
}

/// The same with anything left out.
pub(crate) fn replay_without(
    scenario: &'static Scenario,
    left_out: LeftOut,
    schedule: &Schedule,
) -> Result<Replayed, ReplayError> {
    if schedule.scenario != scenario.name {
        return Err(ReplayError::OtherScenario(schedule.scenario.clone()));
    }
    if !schedule.fingerprint.has_setting(scenario, left_out) {
        return Err(ReplayError::OtherSetting);
    }
    let replayed = replay_acts(scenario, left_out, &live::initial(scenario, left_out), &schedule.acts)?;
    match replayed.fingerprint == schedule.fingerprint {
        true => Ok(replayed),
        false => Err(ReplayError::OtherCode),
    }
}

pub(crate) fn replay_acts(
    scenario: &'static Scenario,
    left_out: LeftOut,
    initial: &Hardware,
    acts: &[Act],
) -> Result<Replayed, ReplayError> {
    let mut trace = TraceBuilder::new(scenario, left_out);
    let mut fingerprinting = Fingerprinting::new(scenario, left_out);
    let mut enabled = Vec::new();
    let mut run = Live::start(scenario, left_out, initial);
    for (index, act) in acts.iter().enumerate() {
        let cannot_happen = |possible| ReplayError::CannotHappen { act: *act, index, possible };
        let Ok(live) = &mut run else {
            return Err(cannot_happen(Vec::new()));
        };
        live.enabled(&mut enabled);
        if !enabled.contains(act) {
            return Err(cannot_happen(enabled));
        }
        trace.push(live, *act);
        fingerprinting.hear(live, *act);
        match live.perform(*act) {
            Ok(()) => {}
            // The graph driver, whose schedule this is, does not look for races and went on.
            Err(Failure::Race(_)) if index + 1 < acts.len() => live.ignore_races(),
            Err(failure) => run = Err(failure),
        }
    }
    let failure = run.and_then(|mut live| trace.finish(&mut live)).err();
    Ok(Replayed { trace: trace.end(failure.as_ref()), failure, fingerprint: fingerprinting.finish() })
}
