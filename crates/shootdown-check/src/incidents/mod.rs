//! What has gone wrong elsewhere, and what shows that it does not here: the catalogue behind `INCIDENTS.md`.
//!
//! Each known race of the field and each step that a checker must notice to be missing has a row, those that nothing here
//! shows yet as well: the table is a promise only if its gaps are in it.

mod mutations;
mod races;

use std::fmt::Write as _;

use shootdown::Fix;

use crate::{scenario::Scenario, scenarios};

/// A known way to go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Incident {
    /// Its name in the catalogue: `R-` for a race, `M` and a number for a step left out.
    pub id: &'static str,
    /// What happened, or could.
    pub what: &'static str,
    /// What shows that it does not happen here.
    pub state: State,
}

/// What shows that an incident does not happen here.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum State {
    /// The scenario passes with the fix and fails without it.
    Shown(&'static str, Fix),
    /// The scenario passes. No fix stands for this incident alone.
    Holds(&'static str),
    /// Nothing yet: this is missing.
    NotYet(&'static str),
    /// It cannot happen: there is nothing here that it could happen to.
    NotApplicable(&'static str),
}

impl State {
    const fn scenario(&self) -> Option<&'static str> {
        match self {
            State::Shown(scenario, _) | State::Holds(scenario) => Some(scenario),
            State::NotYet(_) | State::NotApplicable(_) => None,
        }
    }
}

const fn incident(id: &'static str, what: &'static str, state: State) -> Incident {
    Incident { id, what, state }
}

/// Returns the whole catalogue.
pub fn all() -> impl Iterator<Item = &'static Incident> {
    races::RACES.iter().chain(mutations::MUTATIONS)
}

/// Returns the incidents that a scenario is about.
pub fn of_scenario(scenario: &Scenario) -> impl Iterator<Item = &'static Incident> {
    let name = scenario.name;
    all().filter(move |incident| incident.state.scenario() == Some(name))
}

/// Returns the scenarios that prove a fix.
pub fn proving(fix: Fix) -> impl Iterator<Item = &'static Scenario> {
    scenarios::ALL.into_iter().filter(move |scenario| scenario.proof_of(fix).is_some())
}

/// Returns the catalogue as the text of `INCIDENTS.md`.
///
/// # Panics
/// If it names a scenario that does not exist, or one that does not prove the fix beside it.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    for (heading, incidents) in
        [("Races of the field", races::RACES), ("Steps that a checker must find missing", mutations::MUTATIONS)]
    {
        write!(text, "\n## {heading}\n\n{}.\n\n", tally(incidents)).expect(WRITABLE);
        text += "| | incident | scenario | fix | with it | without it |\n|---|---|---|---|---|---|\n";
        incidents.iter().for_each(|incident| text += &row(incident));
    }
    text += "\n## Models\n\nProtocols of others, written after their public descriptions. The checker must come to this of each.\n\n";
    text += "| model | what could go wrong | verdict |\n|---|---|---|\n";
    scenarios::models::ALL.into_iter().for_each(|model| text += &model_row(model));
    text += "\n## Fixes\n\nEvery step of the library that can be left out, and the scenarios that fail without it.\n\n";
    text += "| fix | without it | in scenarios |\n|---|---|---|\n";
    Fix::ALL.into_iter().for_each(|fix| text += &fix_row(fix));
    text
}

const WRITABLE: &str = "a string can be written to";

const INTRODUCTION: &str = "\
# Incidents

What has gone wrong in kernels, and what shows that it does not go wrong here. `cargo run --release -- check` explores every
interleaving of each scenario named below, on the machine that `check --list` describes: *pass* means that none fails; the
other name is how the shortest failing interleaving ends once the fix is left out.

This file is generated: `cargo run --release -- check --list --markdown > INCIDENTS.md`. The rows are in
`crates/shootdown-check/src/incidents/`.
";

fn tally(incidents: &[Incident]) -> String {
    let count = |is: fn(&State) -> bool| incidents.iter().filter(|incident| is(&incident.state)).count();
    format!(
        "{} entries: {} shown both ways, {} hold in a scenario, {} not yet, {} not applicable",
        incidents.len(),
        count(|state| matches!(state, State::Shown(..))),
        count(|state| matches!(state, State::Holds(_))),
        count(|state| matches!(state, State::NotYet(_))),
        count(|state| matches!(state, State::NotApplicable(_))),
    )
}

fn row(Incident { id, what, state }: &Incident) -> String {
    match *state {
        State::Shown(name, fix) => {
            let scenario = scenarios::by_name(name).unwrap_or_else(|| panic!("{id}: no scenario {name}"));
            let proof = scenario.proof_of(fix).unwrap_or_else(|| panic!("{id}: {name} does not prove {fix:?}"));
            format!("| {id} | {what} | `{name}` | `{}` | pass | {} |\n", fix.name(), proof.failure)
        }
        State::Holds(name) => format!("| {id} | {what} | `{name}` | | pass | |\n"),
        State::NotYet(missing) => format!("| {id} | {what} | not yet: {missing} | | | |\n"),
        State::NotApplicable(why) => format!("| {id} | {what} | not applicable: {why} | | | |\n"),
    }
}

fn model_row(model: &Scenario) -> String {
    let verdict = if scenarios::must_hold(model) { "holds" } else { "fails" };
    format!("| `{}` | {} | {verdict} |\n", model.name, model.goal)
}

fn fix_row(fix: Fix) -> String {
    let mut failures: Vec<&str> = proving(fix).filter_map(|scenario| Some(scenario.proof_of(fix)?.failure)).collect();
    failures.sort_unstable();
    failures.dedup();
    let names: Vec<String> = proving(fix).map(|scenario| format!("`{}`", scenario.name)).collect();
    format!("| `{}` | {} | {} |\n", fix.name(), failures.join(", "), names.join(", "))
}
