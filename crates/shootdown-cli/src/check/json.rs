//! A verdict as one JSON object.

use std::time::Duration;

use serde::Serialize;
use shootdown::Fix;
use shootdown_check::{
    Finding, describe, scenarios,
    suite::{Case, Expected, Verdict},
};

/// What a check came to.
pub(super) struct Outcome<'a> {
    pub(super) case: Case,
    pub(super) finding: Option<&'a Finding>,
    /// States reached; nothing for drivers that remember none.
    pub(super) n_states: Option<usize>,
    pub(super) n_transitions: usize,
    pub(super) took: Duration,
    /// Every interleaving was explored.
    pub(super) is_exhaustive: bool,
}

impl<'a> From<&'a Verdict> for Outcome<'a> {
    fn from(verdict: &'a Verdict) -> Self {
        Outcome {
            case: verdict.case,
            finding: verdict.report.finding.as_ref(),
            n_states: Some(verdict.report.n_states),
            n_transitions: verdict.report.n_transitions,
            took: verdict.took,
            is_exhaustive: verdict.report.is_exhausted,
        }
    }
}

/// The object, in the order in which its fields are printed.
#[derive(Serialize)]
struct Object<'a> {
    scenario: &'a str,
    cpus: usize,
    machine: String,
    without: Vec<&'a str>,
    model: bool,
    expected: &'a str,
    verdict: &'a str,
    violation: Option<Violation>,
    states: Option<usize>,
    transitions: usize,
    seconds: f64,
    exhaustive: bool,
}

#[derive(Serialize)]
pub(super) struct Violation {
    kind: String,
    invariant: &'static str,
    schedule: String,
    steps: usize,
}

impl From<&Finding> for Violation {
    fn from(finding: &Finding) -> Self {
        Violation {
            kind: finding.failure.kind(),
            invariant: finding.failure.invariant(),
            schedule: finding.schedule.to_string(),
            steps: finding.trace.n_acts(),
        }
    }
}

/// Returns the outcome as one line.
pub(super) fn line(outcome: &Outcome<'_>) -> Result<String, serde_json::Error> {
    let Case { scenario, left_out, expected } = outcome.case;
    serde_json::to_string(&Object {
        scenario: scenario.name,
        cpus: scenario.machine.cpus,
        machine: describe(&scenario.machine),
        without: left_out.iter().map(Fix::name).collect(),
        model: scenarios::is_model(scenario),
        expected: if expected == Expected::Pass { "pass" } else { "violation" },
        verdict: if outcome.finding.is_none() { "pass" } else { "violation" },
        violation: outcome.finding.map(Violation::from),
        states: outcome.n_states,
        transitions: outcome.n_transitions,
        seconds: outcome.took.as_secs_f64(),
        exhaustive: outcome.is_exhaustive,
    })
}
