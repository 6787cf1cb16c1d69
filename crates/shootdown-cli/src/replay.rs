//! `shootdown replay`.

use std::{
    io::{Cursor, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::builder::PossibleValuesParser;
use shootdown::Fix;
use shootdown_recording::{Header, Interpretation, Recording};
use shootdown_replay::{Device, Grouping, Hardware, Options, Placement, Profile, Report, replay};
use shootdown_sim::sequential::MAX_CPUS;

use crate::{
    FINE, VIOLATION,
    bundled::{self, Bundled},
    cost,
    html::{self, PageFile},
    interpretation::OpenQuestions,
    names,
    progress::Progress,
    replayed::{Beside, Replayed},
    table,
};

/// Arguments of `shootdown replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shootdown replay                               the bundled PostgreSQL recording
  shootdown replay gcc java my.tlbt.zst          bundled recordings by name, and a file
  shootdown replay perf.data --root postgres     what perf recorded: the tree of the first task of that name
  shootdown replay app.strace                    calls only, of `strace -f -ttt -T`: an upper bound
  shootdown replay gcc --cpus 64                 each task on one of 64 CPUs: a model, nothing recorded
  shootdown replay java --without flush-remote   what would be used stale without remote flushes
  shootdown replay gcc --profile linux-6.12      as an older kernel would do it; --profile list names them
  shootdown replay gcc --versus linux-6.12       beside an older kernel, which keeps fewer CPUs in its masks
  shootdown replay gcc --machine alpha           on other hardware; --machine list says which there is
  shootdown replay java --by process             who causes it: by process, call, range or cpu
  shootdown replay java --device iommu           a device that touches what the processes touch, and what it is told
  shootdown replay java --cost kvm-guest         what it takes, by prices with sources: an estimate; --cost list shows them
  shootdown replay gcc java --html report.html   a page to look at and to print; what is printed here stays the same
  shootdown replay gcc --json                    one JSON object a recording, one a line

Exit status: 0 nothing stale was used, 1 a violation was found, 2 unusable input.")]
pub(crate) struct Arguments {
    /// Recordings (of `shootdown record`, perf, tracefs or strace; zstd or not), or names of bundled ones
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    interpretation: OpenQuestions,
    /// Spread the tasks over N simulated CPUs instead of placing them as recorded (1 to 256)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_CPUS as i64))]
    cpus: Option<u16>,
    /// Simulate this hardware, or list what there is
    #[arg(long, value_name = "NAME", default_value = Hardware::RECORDED.name())]
    machine: String,
    /// Imitate this kernel, or list those there are
    #[arg(long, value_name = "NAME", default_value = Profile::LINUX_6_18.name, value_parser = profile_names())]
    profile: String,
    /// Let a device touch what each process touches, through its page tables
    #[arg(long, value_name = "DEVICE", value_parser = PossibleValuesParser::new(Device::ALL.map(Device::name)))]
    device: Option<String>,
    /// Name the top offenders, with what the library counted for them; may be given several times
    #[arg(long, value_name = "WHOM", value_parser = PossibleValuesParser::new(Grouping::ALL.map(Grouping::name)))]
    by: Vec<String>,
    /// Estimate what it costs, by the prices of a TOML file or of a bundled model, or list those there are
    #[arg(long, value_name = "FILE")]
    cost: Option<String>,
    /// Leave a fix out, and show before and after; may be given several times
    #[arg(long, value_name = "FIX", value_parser = PossibleValuesParser::new(Fix::ALL.map(Fix::name)))]
    without: Vec<String>,
    /// Imitate this kernel as well, and show both; not together with --without
    #[arg(long, value_name = "PROFILE", conflicts_with = "without",
        value_parser = PossibleValuesParser::new(Profile::ALL.map(|profile| profile.name)))]
    versus: Option<String>,
    /// Print JSON, one object a recording; with --versus two
    #[arg(long)]
    json: bool,
    /// Add to the JSON when it happened: flushes and remote requests of each CPU, over time
    #[arg(long, requires = "json")]
    timeline: bool,
    /// Write a page with all of it, a timeline and the top offenders to this file as well; a browser shows and prints it
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// List the bundled recordings
    #[arg(long, conflicts_with_all = ["files", "cpus", "without", "device", "html"])]
    list: bool,
}

const LIST: &str = "list";

fn profile_names() -> PossibleValuesParser {
    PossibleValuesParser::new(Profile::ALL.iter().map(|profile| profile.name).chain([LIST]))
}

type Error = Box<dyn std::error::Error>;

/// Runs the command and returns its exit status.
pub(crate) fn run(arguments: &Arguments) -> Result<u8, Error> {
    let mut out = std::io::stdout().lock();
    if arguments.list {
        if arguments.json {
            for recording in bundled::ALL {
                writeln!(out, "{}", serde_json::json!({ "recording": recording.name, "about": recording.about }))?;
            }
        } else {
            writeln!(out, "{}", table::bundled())?;
        }
        return Ok(FINE);
    }
    let Some(profile) = Profile::by_name(&arguments.profile) else {
        writeln!(out, "{}", table::profiles())?;
        return Ok(FINE);
    };
    if arguments.machine == LIST {
        writeln!(out, "{}", table::machines())?;
        return Ok(FINE);
    }
    if arguments.cost.as_deref() == Some(LIST) {
        writeln!(out, "{}", table::cost_models())?;
        return Ok(FINE);
    }
    let machine = Hardware::by_name(&arguments.machine).ok_or_else(|| unknown_machine(&arguments.machine))?;
    let options = options(arguments, machine, profile)?;
    let page = arguments.html.as_deref().map(PageFile::create).transpose()?;
    let default = [bundled::DEFAULT.to_owned()];
    let files = if arguments.files.is_empty() { &default[..] } else { &arguments.files };
    let mut status = FINE;
    let mut replays = Vec::new();
    for file in files {
        let replayed = replay_one(file, &options, arguments)?;
        if replayed.reports().iter().any(|report| report.n_violations() > 0) {
            status = VIOLATION;
        }
        print(&mut out, &replayed, arguments)?;
        if page.is_some() {
            replays.push(replayed);
        }
    }
    if let Some(page) = page {
        page.finish(&replays)?;
    }
    Ok(status)
}

fn print(out: &mut impl Write, replayed: &Replayed, arguments: &Arguments) -> Result<(), Error> {
    if !arguments.json {
        return Ok(writeln!(out, "{}", table::report(replayed, &groupings(arguments)))?);
    }
    for report in replayed.reports() {
        writeln!(out, "{}", serde_json::to_string(&as_asked(report, arguments))?)?;
    }
    Ok(())
}

fn options(arguments: &Arguments, machine: Hardware, profile: Profile) -> Result<Options, Error> {
    // A page shows more than was asked for; one replay counts all of it.
    let mut by = groupings(arguments);
    if arguments.html.is_some() {
        let more: Vec<Grouping> = html::OFFENDERS.into_iter().filter(|grouping| !by.contains(grouping)).collect();
        by.extend(more);
    }
    Ok(Options {
        machine,
        profile,
        placement: arguments.cpus.map_or(Placement::AsRecorded, |n_cpus| Placement::Spread { n_cpus }),
        device: device_of(arguments, machine)?,
        without: arguments.without.iter().filter_map(|name| Fix::by_name(name)).collect(),
        by,
        timeline: arguments.timeline || arguments.html.is_some(),
        cost: arguments.cost.as_deref().map(cost::model).transpose()?,
    })
}

/// Whom the user wants named, each grouping once.
fn groupings(arguments: &Arguments) -> Vec<Grouping> {
    let mut groupings = Vec::new();
    for grouping in arguments.by.iter().filter_map(|name| Grouping::by_name(name)) {
        if !groupings.contains(&grouping) {
            groupings.push(grouping);
        }
    }
    groupings
}

/// The report without what only the page wanted.
fn as_asked(report: &Report, arguments: &Arguments) -> Report {
    let mut report = report.clone();
    let asked = groupings(arguments);
    report.by.retain(|offender| asked.contains(&offender.grouping));
    report.timeline = report.timeline.filter(|_| arguments.timeline);
    report
}

/// Replays one recording, and once more for what is to be shown beside it.
fn replay_one(file: &str, options: &Options, arguments: &Arguments) -> Result<Replayed, Error> {
    let (header, report, took) = run_one(file, options, arguments)?;
    let beside = |options| run_one(file, &options, arguments).map(|(_, report, _)| report);
    let beside = match arguments.versus.as_deref().and_then(Profile::by_name) {
        Some(profile) => Some(Beside::Versus(beside(Options { profile, ..options.clone() })?)),
        None if options.without.is_empty() || arguments.json && arguments.html.is_none() => None,
        None => Some(Beside::Kept(beside(Options { without: Vec::new(), ..options.clone() })?)),
    };
    let about = bundled_of(file).map(|bundled| bundled.about);
    Ok(Replayed { header, about, report, beside, placement: options.placement, took })
}

fn device_of(arguments: &Arguments, machine: Hardware) -> Result<Option<Device>, Error> {
    let device = arguments.device.as_deref().and_then(Device::by_name);
    match device {
        Some(device) if !machine.has_iommu() => {
            let (device, machine, expected) = (device.name(), machine.name(), Hardware::RECORDED.name());
            let error = "has no device that translates through page tables of processes";
            Err(format!("--device {device}: {machine} {error}; expected --machine {expected}").into())
        }
        _ => Ok(device),
    }
}

fn unknown_machine(name: &str) -> Error {
    let hint = names::near(name, Hardware::ALL.map(Hardware::name));
    format!("there is no machine {name:?}{hint} (see `shootdown replay --machine list`)").into()
}

fn run_one(file: &str, options: &Options, arguments: &Arguments) -> Result<(Header, Report, Duration), Error> {
    let recording = open(file, &arguments.interpretation.interpretation(None))?;
    let header = recording.header().clone();
    let mut progress = Progress::new(file, recording.total_bytes().unwrap_or_default());
    let report = replay(recording, options, |bytes| progress.update(bytes))?;
    Ok((header, report, progress.finish()))
}

/// A bundled recording, if no file has this name.
fn bundled_of(file: &str) -> Option<Bundled> {
    bundled::by_name(file).filter(|_| !Path::new(file).exists())
}

fn open(file: &str, interpretation: &Interpretation) -> Result<Recording, Error> {
    if let Some(bundled) = bundled_of(file) {
        return Ok(Recording::from_seekable(file, Cursor::new(bundled.bytes), interpretation)?);
    }
    if !Path::new(file).exists() && !file.contains(['/', '.']) {
        let error = Recording::open(file).err().map_or_else(String::new, |error| error.to_string());
        return Err(format!("{error}, or the name of a bundled recording (see `shootdown replay --list`)").into());
    }
    Ok(Recording::open_as(file, interpretation)?)
}
