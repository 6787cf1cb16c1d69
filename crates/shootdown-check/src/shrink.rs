//! Makes a failing run shorter: leaves acts out as long as it still fails in the same way (ddmin, by Zeller and
//! Hildebrandt).
//!
//! What is left out changes what can happen later. Acts that can no longer happen are skipped, and at the end every CPU
//! takes its turn; what that adds counts as well, so a run is taken only if it is really shorter.

use shootdown_sim::smp::{Act, Hardware};

use crate::{
    driver::{Driver, Situation},
    failure::Failure,
    left_out::LeftOut,
    live::{Live, Recording},
    scenario::Scenario,
};

/// Returns a run that fails in the same way, as short as leaving acts out can make it, and how it fails.
pub(crate) fn shrink(
    scenario: &'static Scenario,
    left_out: LeftOut,
    initial: &Hardware,
    mut acts: Vec<Act>,
    mut failure: Failure,
) -> (Vec<Act>, Failure) {
    let kind = failure.kind();
    let mut chunk = acts.len() / 2;
    while chunk > 0 {
        let mut start = 0;
        let n_acts = acts.len();
        while start < acts.len() {
            let end = acts.len().min(start + chunk);
            let without = acts[..start].iter().chain(&acts[end..]);
            match play(scenario, left_out, initial, without) {
                Some((shorter, other)) if shorter.len() < acts.len() && other.kind() == kind => {
                    (acts, failure) = (shorter, other);
                }
                _ => start = end,
            }
        }
        // As long as single acts can be left out it may pay to try all of them again.
        if chunk > 1 || acts.len() == n_acts {
            chunk /= 2;
        }
    }
    (acts, failure)
}

/// Lets those acts happen that can; returns what did happen, if it failed.
fn play<'a>(
    scenario: &'static Scenario,
    left_out: LeftOut,
    initial: &Hardware,
    acts: impl Iterator<Item = &'a Act>,
) -> Option<(Vec<Act>, Failure)> {
    let mut run = Recording::new(Live::start(scenario, left_out, initial).ok()?);
    let mut enabled = Vec::new();
    for act in acts {
        run.enabled(&mut enabled);
        if enabled.contains(act)
            && let Err(failure) = run.perform(*act)
        {
            return Some((run.acts, failure));
        }
    }
    let failure = run.finish().err()?;
    Some((run.acts, failure))
}
