//! `shootdown check`.

mod choose;
mod json;
mod list;
mod one;
mod orders;
mod soak;
mod suite;

use std::{io::Write as _, path::PathBuf, thread};

use clap::{ValueEnum, builder::PossibleValuesParser};
use shootdown::Fix;
use shootdown_check::{FixSet, graph::Limits};

use crate::FINE;

/// Arguments of `shootdown check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without NAME, every scenario is explored with all fixes kept, where no interleaving may fail, and without each fix that
it proves, where the shortest failing interleaving must fail in the way the scenario names.

Examples:
  shootdown check                                        everything, on all cores
  shootdown check --list                                 what there is
  shootdown check unmap_2cpu                             one scenario: the library as it ships
  shootdown check unmap_2cpu --without wait-for-acks     the shortest interleaving that breaks it, as a timeline
  shootdown check unmap_2cpu --without flush-remote --driver live --seed 7
                                                         search at random, shrink what is found
  shootdown check unmap_2cpu --without flush-remote --svg out.svg
                                                         the same counterexample as a sequence diagram
  shootdown check unmap_2cpu --replay unmap_2cpu:1e96a52378051b78:00000008..
                                                         replay a schedule that was printed; what was left out it knows
  shootdown check --soak 10000000                        ten million random operations on 3 or 8 CPUs, another sequence
                                                         for each --seed
  shootdown check soak_kernel --soak 1000000             one million of those of kernel mappings, on 8 CPUs
  shootdown check --orders                               each memory order made weaker, and who notices: docs/orders.txt
  shootdown check switch_2cpu --orders                   those of one scenario, with timelines

A schedule is NAME:FINGERPRINT:HEX. The fingerprint is of the scenario, its machine, what was left out, and the operations
that the schedule's acts perform: it survives a rebuild, not a change of the code that the acts run through.

Exit status: 0 every verdict is the expected one, 1 some verdict is not (a search cut at its limit proves nothing and
counts as such), 2 unusable input.")]
pub(crate) struct Arguments {
    /// Scenario to check; all if none is named
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// List the scenarios
    #[arg(long, conflicts_with_all = ["name", "without", "cpus", "max_states", "max_memory", "driver", "seed", "replay", "svg"])]
    list: bool,
    /// With --list: print INCIDENTS.md
    #[arg(long, requires = "list", conflicts_with = "json")]
    markdown: bool,
    /// Make each memory order of the library weaker, one at a time, and say which scenario notices; show how with NAME
    #[arg(long, conflicts_with_all = ["list", "without", "cpus", "max_states", "max_memory", "driver", "seed", "replay", "svg", "json"])]
    orders: bool,
    /// Perform so many random operations on every CPU, on machines where all goes wrong that can
    #[arg(long, value_name = "OPERATIONS", value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with_all = ["list", "orders", "cpus", "max_states", "max_memory", "driver", "replay"])]
    soak: Option<u64>,
    /// Leave a fix out; may be given several times
    #[arg(long, value_name = "FIX", value_parser = PossibleValuesParser::new(Fix::ALL.map(Fix::name)))]
    without: Vec<String>,
    /// Take the variant of the scenario for N CPUs
    #[arg(long, value_name = "N")]
    cpus: Option<usize>,
    /// Give up after so many states [default: 20000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_states: Option<u32>,
    /// Give up before states take more memory than so many MiB [default: 2048]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    max_memory: Option<u32>,
    /// graph: every interleaving; live: random ones
    #[arg(long, value_name = "DRIVER", default_value = "graph", hide_possible_values = true)]
    driver: Driver,
    /// With --driver live or --soak: the seed of what happens at random [default: 1]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Replay a schedule, step by step
    #[arg(long, value_name = "SCHEDULE", conflicts_with_all = ["cpus", "max_states", "max_memory", "driver", "seed"])]
    replay: Option<String>,
    /// Draw the counterexample as a sequence diagram into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print JSON, one object a verdict
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Driver {
    /// Explore every interleaving.
    Graph,
    /// Search at random.
    Live,
}

type Error = Box<dyn std::error::Error>;

/// Runs the command and returns its exit status.
pub(crate) fn run(arguments: &Arguments) -> Result<u8, Error> {
    let mut out = std::io::stdout().lock();
    if arguments.list {
        write!(out, "{}", list::text(arguments.markdown, arguments.json))?;
        return Ok(FINE);
    }
    if arguments.orders {
        return orders::run(arguments.name.as_deref(), &mut out);
    }
    if let Some(n_operations) = arguments.soak {
        return soak::run(arguments, n_operations, &mut out);
    }
    arguments.refuse_nonsense()?;
    if let Some(schedule) = &arguments.replay {
        return one::replay(arguments, schedule, &mut out);
    }
    match (&arguments.name, arguments.driver) {
        (Some(name), Driver::Graph) => one::explore(arguments, name, &mut out),
        (Some(name), Driver::Live) => one::search(arguments, name, &mut out),
        (None, _) => suite::run(arguments, &mut out),
    }
}

impl Arguments {
    /// Refuses options that would have no effect where they are given.
    fn refuse_nonsense(&self) -> Result<(), Error> {
        let is_live = self.driver == Driver::Live;
        let is_for_one = !self.without.is_empty() || self.cpus.is_some() || is_live || self.svg.is_some();
        if self.name.is_none() && self.replay.is_none() && is_for_one {
            return Err("--without, --cpus, --driver live and --svg need the NAME of a scenario".into());
        }
        if self.seed.is_some() && !is_live {
            return Err("--seed is for --driver live and --soak; the graph driver needs none".into());
        }
        if (self.max_states.is_some() || self.max_memory.is_some()) && is_live {
            return Err(
                "--max-states and --max-memory are for --driver graph; the live driver remembers no states".into()
            );
        }
        Ok(())
    }

    fn left_out(&self) -> FixSet {
        let fixes: Vec<Fix> = self.without.iter().filter_map(|name| Fix::by_name(name)).collect();
        FixSet::from(&fixes[..])
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        if let Some(max_states) = self.max_states {
            limits.max_states = max_states as usize;
        }
        if let Some(max_memory) = self.max_memory {
            limits.max_bytes = (max_memory as usize).saturating_mul(1 << 20);
        }
        limits
    }
}

/// As many as there are cores for.
fn n_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
