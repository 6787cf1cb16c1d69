//! `shootdown record`.

mod machine;
mod perf;

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
};

use shootdown_recording::{Interpretation, Root, Tracepoint};

use self::machine::{Machine, Obstacle};
use crate::{
    FINE,
    import::{COMPACT, Conversion},
};

/// Arguments of `shootdown record`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shootdown record -- make -j8                   record a build into make.tlbt.zst
  shootdown record -o db.tlbt.zst -- ./bench.sh  under another name
  shootdown record --print -- ./bench.sh         the commands to be run on another machine, and what this one lacks
  shootdown replay db.tlbt.zst --cpus 128        then: what it costs, here on a larger machine

Records the whole machine with perf, which takes root, and keeps what the tasks of CMD did: which memory they mapped and
touched, and where they ran. Command lines, names, other tasks and their addresses are not kept; --perf-data keeps all.

Exit status: 0 recorded, 2 it was not.")]
pub(crate) struct Arguments {
    /// Where the recording goes: NAME.tlbt.zst, or NAME.tlbt for text; CMD's name if it is not said
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite it, and the file of --perf-data, if they are there
    #[arg(long)]
    force: bool,
    /// Print the commands to be run, and what is missing here, instead of running them
    #[arg(long)]
    print: bool,
    /// Keep what perf recorded, of all tasks of the machine and with their command lines, in this file
    #[arg(long, value_name = "FILE")]
    perf_data: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long, conflicts_with = "print")]
    json: bool,
    /// Memory for events that wait to be written, in pages for each CPU, a power of two
    #[arg(long, value_name = "PAGES", default_value_t = 8192, value_parser = power_of_two)]
    buffer: u32,
    /// The command, with its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn power_of_two(text: &str) -> Result<u32, String> {
    let pages = text.parse::<u32>().ok().filter(|pages| pages.is_power_of_two() && *pages <= 1 << 20);
    pages.ok_or_else(|| "expected a power of two from 1 to 1048576".to_owned())
}

type Error = Box<dyn std::error::Error>;

/// Runs the command and returns its exit status.
pub(crate) fn run(arguments: &Arguments) -> Result<u8, Error> {
    let machine = Machine::look();
    let obstacles = machine.obstacles();
    if arguments.print {
        return print(arguments, &obstacles);
    }
    let mut conversion = Conversion {
        input: PathBuf::new(),
        output: output(arguments),
        force: arguments.force,
        interpretation: Interpretation { workload: Some(workload(arguments)), ..Interpretation::default() },
        notes: Vec::new(),
    };
    conversion.check_output()?;
    if let Some(path) = arguments.perf_data.as_deref().filter(|path| path.exists() && !arguments.force) {
        let expected = "expected a name that is not in use, or --force to replace it";
        return Err(format!("--perf-data {}: is there already; {expected}", path.display()).into());
    }
    let fatal: Vec<&str> = obstacles.iter().filter_map(Obstacle::fatal).collect();
    if !fatal.is_empty() {
        return Err(format!("{}\n{}", fatal.join("\nerror: "), perf::FALLBACK).into());
    }
    for obstacle in &obstacles {
        eprintln!("warning: {obstacle}");
    }
    let recorded = perf::record(arguments, &machine)?;
    (conversion.input, conversion.notes) = (recorded.path.clone(), recorded.notes());
    conversion.interpretation.root = Some(Root::ChildOf(recorded.recorder));
    let summary = conversion.run().map_err(|error| recorded.kept_after(error))?;
    writeln!(std::io::stdout(), "{}", summary.shown(&conversion.output, arguments.json)?)?;
    Ok(FINE)
}

/// The file to be written.
fn output(arguments: &Arguments) -> PathBuf {
    arguments.output.clone().unwrap_or_else(|| PathBuf::from(workload(arguments) + COMPACT))
}

/// What the recording is called: like its file, or else like its command.
fn workload(arguments: &Arguments) -> String {
    let named = arguments.output.as_deref().or_else(|| arguments.command.first().map(Path::new));
    let name = named.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('.').find(|part| !part.is_empty()).unwrap_or("recording").to_owned()
}

fn print(arguments: &Arguments, obstacles: &[Obstacle]) -> Result<u8, Error> {
    let mut out = std::io::stdout().lock();
    let data = workload(arguments) + ".perf.data";
    let [shown_data, symbols] = [&data, &(workload(arguments) + ".symbols")].map(|name| perf::quoted(name.as_ref()));
    writeln!(out, "# As root, on the machine to be recorded:")?;
    writeln!(out, "{}", perf::shown(arguments, &Tracepoint::ALL, Path::new(&data)))?;
    writeln!(out, "grep -w -e _text -e flush_tlb_func -e tlb_remove_table_smp_sync /proc/kallsyms > {symbols}")?;
    writeln!(out, "# Then, anywhere:")?;
    let output = output(arguments);
    writeln!(out, "shootdown import {shown_data} --symbols {symbols} -o {}", perf::quoted(output.as_os_str()))?;
    for obstacle in obstacles {
        writeln!(out, "# this machine: {obstacle}")?;
    }
    if obstacles.iter().any(|obstacle| obstacle.fatal().is_some()) {
        writeln!(out, "# {}", perf::FALLBACK)?;
    }
    Ok(FINE)
}
