//! `shootdown boot`.

mod archive;
mod bench;
mod build;
mod guest;
mod outcome;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::builder::PossibleValuesParser;
use serde_json::json;
use shootdown::Fix;

use self::{
    archive::Archive,
    guest::{Guest, System},
    outcome::Outcome,
};
use crate::{FINE, VIOLATION, names};

/// The names of the kernel's tests and what they are about.
const TESTS: &str = include_str!("../../../kernel/tests.tsv");

/// What is no test, and needs a kernel of its own.
const BENCH: &str = "bench";

/// Arguments of `shootdown boot`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The kernel is built with cargo from the folder kernel/ that this command was built beside, and runs on emulated CPUs: no
right or hardware is needed, only the program qemu-system-x86_64 (on Debian and Ubuntu the package qemu-system-x86).

Examples:
  shootdown boot                                         all tests on 4 CPUs
  shootdown boot --without flush-remote                  what comes of it; exit status 1
  shootdown boot --cpus 8 --test stress --operations 1000000
  shootdown boot --test stress --icount --seed 7         the same interleaving each time
  shootdown boot --cpus 2 --parallel                     two CPUs at the same time
  shootdown boot --test user --cpus 8 --operations 1000000
                                                         programs in user mode do everything at random
  shootdown boot --test bench --icount                   how many instructions a shootdown takes, and what programs do
  shootdown boot --linux /boot/vmlinuz --icount          the same programs on a Linux kernel, which has what they need
                                                         built in, as Debian's linux-image-*-cloud-amd64 has

Exit status: 0 all tests passed, 1 a test failed or something stale was used, 2 unusable input, or no QEMU.")]
pub(crate) struct Arguments {
    /// How many CPUs the machine has
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=64))]
    cpus: u16,
    /// Run this test only
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// The seed of what the CPUs do, and of when they are interrupted
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Leave a fix out
    #[arg(long, value_name = "FIX", value_parser = PossibleValuesParser::new(Fix::ALL.map(Fix::name)))]
    without: Option<String>,
    /// Operations that the stress does, on all CPUs together; `dirty` does rounds in proportion
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    operations: u64,
    /// Count instructions instead of time: the same seed gives the same interleaving, a few times more slowly
    #[arg(long)]
    icount: bool,
    /// Run the CPUs at the same time, each on a thread of the host, which must have a core for each
    #[arg(long, conflicts_with = "icount")]
    parallel: bool,
    /// Boot this Linux kernel instead, with the program of the bench as its only process
    #[arg(long, value_name = "VMLINUZ", requires = "icount", conflicts_with_all = ["test", "seed", "without", "operations", "parallel", "build_only"])]
    linux: Option<PathBuf>,
    /// Build the kernel that would be booted, and print where it is
    #[arg(long)]
    build_only: bool,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    time_limit: u64,
    /// Print one JSON object instead of what the kernel prints
    #[arg(long)]
    json: bool,
    /// List the tests
    #[arg(long, conflicts_with_all = ["cpus", "test", "seed", "without", "operations", "icount", "parallel", "linux", "build_only", "time_limit"])]
    list: bool,
}

type Error = Box<dyn std::error::Error>;

/// Runs the command and returns its exit status.
pub(crate) fn run(arguments: &Arguments) -> Result<u8, Error> {
    if arguments.list {
        list(arguments.json)?;
        return Ok(FINE);
    }
    let kind = kind(arguments)?;
    if arguments.build_only {
        writeln!(std::io::stdout(), "{}", build::kernel(kind)?.display())?;
        return Ok(FINE);
    }
    if let Some(kernel) = arguments.linux.as_deref().filter(|kernel| !kernel.is_file()) {
        return Err(format!("there is no kernel image {}", kernel.display()).into());
    }
    guest::find_qemu()?;
    let program = build::program()?;
    if let Some(kernel) = &arguments.linux {
        let archive = Archive::with_program(&program)?;
        return boot_linux(arguments, kernel, archive.path());
    }
    let kernel = build::kernel(kind)?;
    let began = Instant::now();
    let guest = Guest::start(arguments, &System::Ours { kernel: &kernel, program: &program })?;
    let outcome = guest.watch(Duration::from_secs(arguments.time_limit), !arguments.json)?;
    let mut out = std::io::stdout();
    if arguments.json {
        writeln!(out, "{}", outcome.json(arguments, began.elapsed()))?;
    } else if let Some(reason) = outcome.without_verdict() {
        writeln!(out, "{reason}")?;
    } else if let Some(measured) = outcome.measured(arguments.cpus) {
        write!(out, "\n{}", bench::compare(&measured, Some(&bench::linux()?)))?;
    }
    Ok(if outcome.is_fine() { FINE } else { VIOLATION })
}

/// Runs the program on a Linux kernel.
fn boot_linux(arguments: &Arguments, kernel: &Path, archive: &Path) -> Result<u8, Error> {
    let guest = Guest::start(arguments, &System::Linux { kernel, archive })?;
    let outcome = guest.watch(Duration::from_secs(arguments.time_limit), !arguments.json)?;
    let Some(measured) = outcome.measured(arguments.cpus).filter(|_| outcome.has_ended_well()) else {
        let reason = outcome.without_verdict().unwrap_or_else(|| "the program did not end well".to_owned());
        return Err(format!("{} has not run the program to its end: {reason}", kernel.display()).into());
    };
    let mut out = std::io::stdout();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&measured)?)?;
    } else {
        write!(out, "{}", bench::compare(&measured, None))?;
    }
    Ok(FINE)
}

/// The kernel that is wanted; refuses what makes no sense for it.
fn kind(arguments: &Arguments) -> Result<build::Kind, Error> {
    match arguments.test.as_deref() {
        Some(BENCH) if arguments.without.is_some() => {
            Err("bench measures the library as it ships: no fix can be left out".into())
        }
        Some(BENCH) if !arguments.icount => Err("bench counts instructions, and needs --icount for that".into()),
        Some(BENCH) => Ok(build::Kind::Bench),
        Some(name) if !tests().any(|(other, _)| other == name) => {
            let hint = names::near(name, tests().map(|(name, _)| name).chain([BENCH]));
            Err(format!("there is no test {name:?}{hint} (see `shootdown boot --list`)").into())
        }
        _ => Ok(build::Kind::Tests),
    }
}

fn tests() -> impl Iterator<Item = (&'static str, &'static str)> {
    TESTS.lines().filter_map(|line| line.split_once('\t'))
}

fn list(is_json: bool) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let bench = (
        BENCH,
        "not among the tests: instructions of a shootdown, and of what programs do, beside Linux's; with --icount",
    );
    for (name, about) in tests().chain([bench]) {
        if is_json {
            writeln!(out, "{}", json!({ "test": name, "about": about }))?;
        } else {
            writeln!(out, "{name:<12} {about}")?;
        }
    }
    Ok(())
}
