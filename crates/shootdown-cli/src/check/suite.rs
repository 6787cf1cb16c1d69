//! All scenarios: a line a verdict, and totals.

use std::{collections::HashSet, io::Write, time::Instant};

use shootdown::Fix;
use shootdown_check::{
    FixSet,
    suite::{self, Case, Expected, Verdict},
};

use super::{Arguments, Error, json, n_threads};
use crate::{FINE, VIOLATION, rows::thousands};

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<u8, Error> {
    let cases = suite::cases();
    let columns = Columns::new(&cases);
    let n_threads = n_threads();
    let began = Instant::now();
    let mut totals = Totals::default();
    if !arguments.json {
        writeln!(out, "{}", columns.heading())?;
    }
    let mut written: Result<(), Error> = Ok(());
    suite::run(&cases, arguments.limits(), n_threads, |verdict| {
        totals.add(&verdict);
        if written.is_ok() {
            written = write_line(arguments, &columns, &verdict, out);
        }
    });
    written?;
    if !arguments.json {
        writeln!(out, "{}; {:.1} s", totals.text(), began.elapsed().as_secs_f64())?;
        writeln!(out, "each on its machine, see --list; explored nowhere: {}", suite::NOWHERE_EXPLORED)?;
    }
    Ok(if totals.n_unexpected == 0 { FINE } else { VIOLATION })
}

fn write_line(arguments: &Arguments, columns: &Columns, verdict: &Verdict, out: &mut impl Write) -> Result<(), Error> {
    match arguments.json {
        true => writeln!(out, "{}", json::line(&verdict.into())?)?,
        false => writeln!(out, "{}", columns.line(verdict))?,
    }
    // Whoever watches sees each as it comes.
    Ok(out.flush()?)
}

/// The widths of the columns that differ from run to run.
struct Columns {
    name: usize,
    left_out: usize,
}

/// As wide as the longest name of a failure.
const VERDICT: usize = 26;

impl Columns {
    fn new(cases: &[Case]) -> Self {
        let widest = |text: fn(&Case) -> String| cases.iter().map(|case| text(case).len()).max().unwrap_or_default();
        Columns { name: widest(|case| case.scenario.name.to_owned()), left_out: widest(|case| left_out(case.left_out)) }
    }

    fn heading(&self) -> String {
        let Columns { name, left_out } = *self;
        format!(
            "{:name$}  cpus  {:left_out$}  {:VERDICT$}  {:>11}  {:>11}  steps  seconds",
            "scenario", "left out", "verdict", "states", "transitions"
        )
    }

    fn line(&self, verdict: &Verdict) -> String {
        let Columns { name, left_out: width } = *self;
        let Verdict { case, report, took } = verdict;
        let came_to = match &report.finding {
            Some(finding) => format!("{} ({})", finding.failure.kind(), finding.failure.invariant()),
            None if !report.missed.is_empty() => "misses its point".to_owned(),
            None if report.is_exhausted => "pass".to_owned(),
            None => report.cut_at.map_or_else(String::new, |limit| format!("cut at {limit}")),
        };
        let steps = report.finding.as_ref().map_or_else(String::new, |finding| finding.trace.n_acts().to_string());
        format!(
            "{:name$}  {:>4}  {:width$}  {came_to:VERDICT$}  {:>11}  {:>11}  {steps:>5}  {:>7.2}{}",
            case.scenario.name,
            case.scenario.machine.cpus,
            left_out(case.left_out),
            thousands(report.n_states as u64),
            thousands(report.n_transitions as u64),
            took.as_secs_f64(),
            if verdict.is_expected() { String::new() } else { format!("  <- expected: {}", expected(case.expected)) },
        )
    }
}

fn left_out(fixes: FixSet) -> String {
    match fixes == FixSet::NONE {
        true => "-".to_owned(),
        false => fixes.iter().map(Fix::name).collect::<Vec<_>>().join(", "),
    }
}

fn expected(expected: Expected) -> &'static str {
    match expected {
        Expected::Pass => "pass",
        Expected::Violation(kind) => kind.unwrap_or("a violation"),
    }
}

#[derive(Default)]
struct Totals {
    scenarios: HashSet<&'static str>,
    proved: HashSet<Fix>,
    n_verdicts: usize,
    n_unexpected: usize,
    n_states: usize,
    n_transitions: usize,
    collision_odds: f64,
}

impl Totals {
    fn add(&mut self, verdict: &Verdict) {
        let Verdict { case, report, .. } = verdict;
        self.scenarios.insert(case.scenario.name);
        self.n_verdicts += 1;
        self.n_states += report.n_states;
        self.n_transitions += report.n_transitions;
        self.collision_odds += report.collision_odds();
        if !verdict.is_expected() {
            self.n_unexpected += 1;
        } else {
            self.proved.extend(case.left_out.iter().filter(|fix| case.scenario.proof_of(*fix).is_some()));
        }
    }

    fn text(&self) -> String {
        let unexpected = match self.n_unexpected {
            0 => "all as expected".to_owned(),
            n_unexpected => format!("{n_unexpected} NOT AS EXPECTED"),
        };
        format!(
            "{} scenarios, {} verdicts, {unexpected}; {} states, {} transitions; {} of {} fixes proved; odds that a hash \
             collision hid a state: {:.1e}",
            self.scenarios.len(),
            self.n_verdicts,
            thousands(self.n_states as u64),
            thousands(self.n_transitions as u64),
            self.proved.len(),
            Fix::ALL.len(),
            self.collision_odds,
        )
    }
}
