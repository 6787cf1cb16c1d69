//! One scenario: explored, searched at random, or replayed.

use std::{fs, io::Write, time::Instant};

use shootdown::Fix;
use shootdown_check::{
    Finding, FixSet, Scenario, Schedule, Trace,
    live::{self, ReplayError},
    orders, scenarios,
    suite::{Case, Expected, Verdict},
};

use super::{Arguments, Error, choose, json, n_threads};
use crate::{FINE, VIOLATION};

/// Runs of a random search. What it can find it finds in a few hundred, most of the time.
const N_RUNS: usize = 20_000;

pub(super) fn explore(arguments: &Arguments, name: &str, out: &mut impl Write) -> Result<u8, Error> {
    let scenario = choose::scenario(name, arguments.cpus)?;
    if scenarios::soak::ALL.iter().any(|soak| soak.name == scenario.name) {
        return Err(format!("{name} has more states than anybody can count: see --soak, or --driver live").into());
    }
    let n_threads = n_threads();
    let verdict = Case::new(scenario, arguments.left_out()).check_on(n_threads, arguments.limits());
    let finding = verdict.report.finding.as_ref();
    arguments.draw(finding.map(|finding| &finding.trace))?;
    if arguments.json {
        writeln!(out, "{}", json::line(&(&verdict).into())?)?;
    } else {
        introduce(scenario, out)?;
        write!(out, "{}", verdict.report.summary())?;
        tell(finding, out)?;
        conclude(verdict.case, came_to(&verdict), verdict.is_expected(), out)?;
        let rate = verdict.report.n_states as f64 / verdict.took.as_secs_f64();
        let cores = if n_threads == 1 { "one core".to_owned() } else { format!("{n_threads} cores") };
        writeln!(out, "{:.2} s on {cores}, {:.1} M states a second", verdict.took.as_secs_f64(), rate / 1e6)?;
    }
    Ok(if verdict.is_expected() { FINE } else { VIOLATION })
}

pub(super) fn search(arguments: &Arguments, name: &str, out: &mut impl Write) -> Result<u8, Error> {
    let scenario = choose::scenario(name, arguments.cpus)?;
    let case = Case::new(scenario, arguments.left_out());
    let seed = arguments.seed.unwrap_or(1);
    let began = Instant::now();
    let searched = live::search(scenario, &fixes(case.left_out), seed, N_RUNS);
    let finding = searched.finding.as_ref();
    let is_expected = finding.is_some() == (case.expected != Expected::Pass);
    arguments.draw(finding.map(|finding| &finding.trace))?;
    if arguments.json {
        let outcome = json::Outcome {
            case,
            finding,
            n_states: None,
            n_transitions: searched.n_acts,
            took: began.elapsed(),
            is_exhaustive: false,
        };
        writeln!(out, "{}", json::line(&outcome)?)?;
    } else {
        introduce(scenario, out)?;
        writeln!(out, "{}, {}: {} CPUs, seed {seed}", scenario.name, case.left_out, scenario.machine.cpus)?;
        writeln!(out, "  {} random runs, {} acts; a sample and no proof", searched.n_runs, searched.n_acts)?;
        match (finding, searched.found_by) {
            (Some(_), Some(strategy)) => writeln!(out, "  found by {strategy}, then shrunk")?,
            _ => writeln!(out, "  no failure so far")?,
        }
        tell(finding, out)?;
        conclude(case, kind(finding), is_expected, out)?;
    }
    Ok(if is_expected { FINE } else { VIOLATION })
}

pub(super) fn replay(arguments: &Arguments, schedule: &str, out: &mut impl Write) -> Result<u8, Error> {
    let schedule: Schedule = schedule.parse().map_err(|error| format!("{error}: {schedule:?}"))?;
    let scenario = choose::scenario(arguments.name.as_deref().unwrap_or(&schedule.scenario), None)?;
    if schedule.scenario != scenario.name {
        return Err(ReplayError::OtherScenario(schedule.scenario).to_string().into());
    }
    if schedule.left_out(scenario).is_none()
        && arguments.left_out() == FixSet::NONE
        && let Some(replayed) = orders::replay(scenario, &schedule)
    {
        arguments.draw(Some(&replayed.trace))?;
        write!(out, "{}", replayed.trace)?;
        return Ok(FINE);
    }
    let left_out = left_out_of(arguments, scenario, &schedule)?;
    let case = Case::new(scenario, left_out);
    let began = Instant::now();
    let replayed = live::replay(scenario, &fixes(left_out), &schedule)?;
    let is_expected = replayed.failure.is_some() == (case.expected != Expected::Pass);
    arguments.draw(replayed.failure.is_some().then_some(&replayed.trace))?;
    let n_transitions = schedule.acts.len();
    let finding = replayed.failure.map(|failure| Finding { failure, schedule, trace: replayed.trace.clone() });
    if arguments.json {
        let outcome = json::Outcome {
            case,
            finding: finding.as_ref(),
            n_states: None,
            n_transitions,
            took: began.elapsed(),
            is_exhaustive: false,
        };
        writeln!(out, "{}", json::line(&outcome)?)?;
    } else {
        write!(out, "{}", replayed.trace)?;
        conclude(case, kind(finding.as_ref()), is_expected, out)?;
    }
    Ok(if is_expected { FINE } else { VIOLATION })
}

/// What was left out when the schedule was made. Its fingerprint tells, unless that was more than two fixes; what the
/// command line says must agree.
fn left_out_of(arguments: &Arguments, scenario: &Scenario, schedule: &Schedule) -> Result<FixSet, Error> {
    let asked = arguments.left_out();
    match schedule.left_out(scenario) {
        Some(left_out) if asked == FixSet::NONE || asked == left_out => Ok(left_out),
        Some(left_out) => Err(format!("the schedule is one of {}, {left_out}; not {asked}", scenario.name).into()),
        None if asked != FixSet::NONE => Ok(asked),
        None => Err(format!(
            "the schedule's fingerprint, {}, is not one of {} on its present machine with at most two fixes left out; \
             name them by --without if there were more",
            schedule.fingerprint, scenario.name
        )
        .into()),
    }
}

fn fixes(set: FixSet) -> Vec<Fix> {
    set.iter().collect()
}

fn introduce(scenario: &Scenario, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}\n{}\n", scenario.goal, scenario.method)
}

/// Prints the counterexample and the command that replays it.
pub(super) fn tell(finding: Option<&Finding>, out: &mut impl Write) -> std::io::Result<()> {
    match finding {
        Some(Finding { schedule, trace, .. }) => {
            writeln!(out, "\n{trace}replay: shootdown check {} --replay {schedule}", schedule.scenario)
        }
        None => Ok(()),
    }
}

fn came_to(verdict: &Verdict) -> String {
    match verdict.report.cut_at {
        Some(limit) => format!("cut at {limit}"),
        None => kind(verdict.report.finding.as_ref()),
    }
}

fn kind(finding: Option<&Finding>) -> String {
    finding.map_or_else(|| "no violation".to_owned(), |finding| finding.failure.kind())
}

fn conclude(case: Case, came_to: String, is_expected: bool, out: &mut impl Write) -> std::io::Result<()> {
    let expected = match case.expected {
        Expected::Pass => "a pass",
        Expected::Violation(kind) => kind.unwrap_or("a violation"),
    };
    match is_expected {
        true => writeln!(out, "as expected: {came_to}"),
        false => writeln!(out, "NOT AS EXPECTED: {came_to}; expected {expected}"),
    }
}

impl Arguments {
    /// Writes the diagram, if one was asked for and there is something to draw.
    pub(super) fn draw(&self, trace: Option<&Trace>) -> Result<(), Error> {
        match (&self.svg, trace) {
            (Some(file), Some(trace)) => {
                fs::write(file, trace.to_svg()).map_err(|error| format!("{}: {error}", file.display()))?;
            }
            (Some(file), None) => eprintln!("nothing to draw: {} is not written", file.display()),
            (None, _) => {}
        }
        Ok(())
    }
}
