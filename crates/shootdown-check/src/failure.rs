//! How a run can fail.

use std::fmt;

use shootdown::CpuId;
use shootdown_sim::smp::Violation;

use crate::{panics::Panic, races::Race};

/// What a search or a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The machine did what it must not.
    Violation(Violation),
    /// An owned word was used twice and nothing orders the uses. Only the live driver looks for these.
    Race(Race),
    /// Code of this CPU panicked.
    Panic(CpuId, Panic),
    /// A state was reached from which the scenario can no longer come to its end.
    Doomed(Doom),
}

/// How a scenario fails to come to its end, when all CPUs get their turns from the doomed state on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doom {
    /// Nothing changes any more: every CPU that has not come to its end waits, and so for each other.
    Deadlock,
    /// Nothing changes any more, and some CPU has come to its end with interrupts open and no kick pending: whoever
    /// waits for it was to kick it, and has not or too early.
    LostKick,
    /// CPUs go on changing words and none comes to its end.
    Livelock,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Violation(violation) => violation.fmt(f),
            Failure::Race(race) => race.fmt(f),
            Failure::Panic(cpu, panic) => write!(f, "CPU {}: {panic}", cpu.0),
            Failure::Doomed(doom) => write!(f, "{doom}: from here no schedule comes to the end"),
        }
    }
}

impl fmt::Display for Doom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doom::Deadlock => "deadlock",
            Doom::LostKick => "lost kick",
            Doom::Livelock => "livelock",
        })
    }
}

impl std::error::Error for Failure {}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Failure::Violation(violation)
    }
}
