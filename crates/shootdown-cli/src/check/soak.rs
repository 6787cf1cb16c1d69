//! Random operations on every CPU, as many as one likes.

use std::{collections::BTreeSet, io::Write, time::Duration};

use serde::Serialize;
use shootdown::Fix;
use shootdown_check::{FixSet, Scenario, Soaked, scenarios, soak};

use super::{Arguments, Error, json, n_threads, one};
use crate::{FINE, VIOLATION, progress::Progress, rows::thousands};

/// Performs the operations. A violation is expected if a fix was left out, and only then.
pub(super) fn run(arguments: &Arguments, n_operations: u64, out: &mut impl Write) -> Result<u8, Error> {
    let left_out = arguments.left_out();
    let fixes: Vec<Fix> = left_out.iter().collect();
    let seed = arguments.seed.unwrap_or(1);
    let scenarios = scenarios(arguments.name.as_deref())?;
    let mut progress = Progress::new("soak", n_operations);
    let soaked = soak(&scenarios, &fixes, seed, n_operations, n_threads(), |n_performed| progress.update(n_performed));
    let took = progress.finish();
    arguments.draw(soaked.finding.as_ref().map(|finding| &finding.trace))?;
    if arguments.json {
        writeln!(out, "{}", line(&soaked, seed, left_out, took)?)?;
    } else {
        write!(out, "{}", text(&soaked, &scenarios, seed, left_out, took))?;
        one::tell(soaked.finding.as_ref(), out)?;
    }
    let is_expected = soaked.finding.is_some() == (left_out != FixSet::NONE);
    Ok(if is_expected { FINE } else { VIOLATION })
}

/// All, or the one of this name.
fn scenarios(name: Option<&str>) -> Result<Vec<&'static Scenario>, Error> {
    let all = scenarios::soak::ALL;
    let Some(name) = name else { return Ok(all.to_vec()) };
    let named = all.iter().find(|scenario| scenario.name == name);
    let names = || all.map(|scenario| scenario.name).join(", ");
    let none = || format!("{name} is no scenario of random operations; those are {}", names());
    Ok(vec![*named.ok_or_else(none)?])
}

/// As `3 CPUs`, or `3 or 8 CPUs`.
fn cpus(scenarios: &[&'static Scenario]) -> String {
    let numbers: BTreeSet<usize> = scenarios.iter().map(|scenario| scenario.machine.cpus).collect();
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ") + " CPUs"
}

fn text(soaked: &Soaked, scenarios: &[&'static Scenario], seed: u64, left_out: FixSet, took: Duration) -> String {
    let Soaked { n_operations, n_runs, n_acts, finding } = soaked;
    format!(
        "soak, {left_out}, seed {seed}: {} operations on {} in {} runs, {} acts; {:.1} s\n{}\n",
        thousands(*n_operations),
        cpus(scenarios),
        thousands(*n_runs),
        thousands(*n_acts),
        took.as_secs_f64(),
        if finding.is_some() { "1 violation" } else { "0 violations; a sample and no proof" },
    )
}

/// The object, in the order in which its fields are printed.
#[derive(Serialize)]
struct Object<'a> {
    soak: &'a str,
    seed: u64,
    without: Vec<&'a str>,
    operations: u64,
    runs: u64,
    acts: u64,
    verdict: &'a str,
    violation: Option<json::Violation>,
    seconds: f64,
}

fn line(soaked: &Soaked, seed: u64, left_out: FixSet, took: Duration) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Object {
        soak: "random operations",
        seed,
        without: left_out.iter().map(Fix::name).collect(),
        operations: soaked.n_operations,
        runs: soaked.n_runs,
        acts: soaked.n_acts,
        verdict: if soaked.finding.is_none() { "pass" } else { "violation" },
        violation: soaked.finding.as_ref().map(json::Violation::from),
        seconds: took.as_secs_f64(),
    })
}
