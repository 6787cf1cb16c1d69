//! Explores the shipping code of the [`shootdown`] library, every interleaving of it, on a simulated SMP machine.
//!
//! The library is generic over its [`Machine`](shootdown::Machine). Here the machine is [`Sim`], whose code runs on
//! coroutines that hand every operation to a driver, which performs it on plain data
//! ([`shootdown_sim::smp`]) whenever it likes. There are two drivers over the same hardware and the same [`Scenario`]s:
//!
//! * [`graph::check`] explores every interleaving and proves that none fails, or finds a failing one with the fewest
//!   acts;
//! * [`live::search`] acts at random, [`soak`] for as long as one likes, and [`live::replay`] replays a [`Schedule`] from
//!   its string.
//!
//! Every fix of the library ([`shootdown::Fix`]) can be left out, and a scenario that proves it then must fail.
//!
//! ```
//! use shootdown::Fix;
//! use shootdown_check::{graph, scenarios};
//! let scenario = scenarios::by_name("unmap_2cpu").expect("a scenario");
//! assert!(graph::check(scenario, &[], graph::Limits::default()).is_proof());
//! let report = graph::check(scenario, &[Fix::WaitForAcks], graph::Limits::default());
//! println!("{report}");
//! assert!(report.finding.is_some());
//! ```
//!
//! What is explored and what is not is said in [`shootdown_sim::smp`]; above all, stores may reach memory late and out of
//! order, and loads do not overtake loads. Accesses to a word that is owned ([`shootdown::Own`]) count as private; the live driver checks that they
//! are, by the memory orders and interrupt masks that the library asked for ([`Race`]).

mod coroutine;
mod cpus;
mod driver;
mod failure;
mod fingerprint;
mod fix_set;
pub mod graph;
mod in_order;
pub mod incidents;
mod invariant;
mod left_out;
pub mod live;
#[cfg(test)]
mod lockstep;
mod machine;
pub mod orders;
mod panics;
mod places;
mod portfolio;
mod races;
mod reach;
mod replay;
mod report;
mod rng;
mod scenario;
pub mod scenarios;
mod schedule;
mod shrink;
mod soak;
pub mod suite;
mod svg;
mod trace;

pub use cpus::Cpus;
pub use failure::{Doom, Failure};
pub use fingerprint::Fingerprint;
pub use fix_set::FixSet;
pub use left_out::LeftOut;
pub use machine::{Sim, TinyPolicy};
pub use panics::Panic;
pub use places::WordIndex;
pub use races::{Actor, Race};
pub use reach::Reach;
pub use report::{Finding, Limit, Memory, Report, describe};
pub use scenario::{Proof, Scenario};
pub use schedule::{ParseScheduleError, Schedule};
pub use soak::{Soaked, soak};
pub use trace::Trace;

/// The examples in the page about the checker, so that they are tested.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/checker.md")]
struct Page;
