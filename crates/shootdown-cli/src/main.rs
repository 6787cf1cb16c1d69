//! The `shootdown` command.
//!
//! Thin: it reads arguments, calls the libraries and prints. Exit status: 0 if all is well, 1 if a violation was found
//! (or, by `check`, not found), 2 if it was asked wrongly or given input it cannot use; 141, as for other programs, if
//! whoever reads the output stops reading.

mod boot;
mod bundled;
mod check;
mod cost;
mod html;
mod import;
mod interpretation;
mod names;
mod partial;
mod progress;
mod record;
mod replay;
mod replayed;
mod rows;
mod table;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// TLB coherence for any kernel: what a workload costs, and proof that nothing stale is used.
#[derive(Debug, Parser)]
#[command(name = "shootdown", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay a recorded workload on a simulated machine, beside what the kernel itself counted.
    Replay(replay::Arguments),
    /// Read what another tool recorded, or a recording, and write it as a recording.
    Import(import::Arguments),
    /// Record a workload on this machine, with perf.
    Record(record::Arguments),
    /// Explore every interleaving of the library's own code, and show the shortest that breaks it.
    Check(check::Arguments),
    /// Boot a kernel that embeds the library, on an emulated machine with several CPUs, and test it there.
    Boot(boot::Arguments),
}

/// Nothing wrong was found.
const FINE: u8 = 0;
/// A violation was found.
const VIOLATION: u8 = 1;
/// The input, or the question, cannot be used.
const UNUSABLE: u8 = 2;
/// The other end of the pipe was closed, as `head` does; 128 and the number of `SIGPIPE`.
const CLOSED: u8 = 141;

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Boot(arguments) => boot::run(&arguments),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return CLOSED;
        }
        eprintln!("error: {error}");
        UNUSABLE
    }))
}
