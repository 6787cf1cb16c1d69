//! Programs in user mode.

use alloc::format;

use super::{Outcome, ensure};
use crate::{command_line::CommandLine, machine::Metal, memory, serial::println, user};

/// Has a program look at pages that were copied, moved, dropped and shared.
pub(super) fn contents(m: &Metal, _: &CommandLine) -> Outcome {
    ends_well(m, &["program", "contents"])
}

/// Has a program do everything at random, on all CPUs.
pub(super) fn run(m: &Metal, command_line: &CommandLine) -> Outcome {
    let (seed, n_operations) = (format!("{}", command_line.seed), format!("{}", command_line.n_operations));
    ends_well(m, &["program", "stress", &seed, &n_operations])
}

/// Runs the program with these words.
pub(super) fn ends_well(m: &Metal, words: &[&str]) -> Outcome {
    /// The page of zeroes is made when somebody wants it, and stays.
    const STAYS: u32 = 1;
    let n_before = memory::PAGES.n_taken();
    // What the program says comes on lines of its own.
    println!("");
    ensure(user::run(m, words)? == 0, "the program says that something is wrong")?;
    ensure(memory::PAGES.n_taken() <= n_before.max(STAYS), "pages of programs were not given back")
}
