//! The graph driver: every interleaving, explored as a graph of states.
//!
//! Library code runs only to find out what it does next after a result it has not seen before (`unfold`). What is known
//! of it is a small graph for each CPU, and the product of those graphs with the simulated hardware (`state`) is
//! searched breadth first (`search`), so the first failure found is one with the fewest acts. States wait, packed, in a
//! `queue` to be expanded (`expand`); of those that were, only fingerprints and ways are kept (`reached`). When all
//! states are known, those from which the end cannot be reached are found exactly (`doom`) by their `transitions`.

mod chunks;
mod doom;
mod expand;
mod fingerprint;
mod queue;
mod reached;
mod search;
mod state;
mod transitions;
mod unfold;

use shootdown::Fix;

pub(crate) use self::{state::Product, unfold::Unfolding};
use crate::{coroutine::Stop, left_out::LeftOut, live, report::Report, scenario::Scenario};

/// Where a search gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// States to reach at most.
    pub max_states: usize,
    /// Bytes for states and transitions at most. What each thread works with comes on top, less than a megabyte.
    pub max_bytes: usize,
}

impl Default for Limits {
    /// What a laptop does in half a minute and has to spare.
    fn default() -> Self {
        Limits { max_states: 20_000_000, max_bytes: 2 << 30 }
    }
}

/// Explores every interleaving of a scenario, with some fixes left out.
#[must_use]
pub fn check(scenario: &'static Scenario, left_out: &[Fix], limits: Limits) -> Report {
    check_on(1, scenario, left_out, limits)
}

/// Does the same on several threads. It comes to the same, however many there are.
#[must_use]
pub fn check_on(n_threads: usize, scenario: &'static Scenario, left_out: &[Fix], limits: Limits) -> Report {
    check_without(n_threads, scenario, left_out.into(), limits)
}

/// Does the same with anything left out.
pub(crate) fn check_without(
    n_threads: usize,
    scenario: &'static Scenario,
    left_out: LeftOut,
    limits: Limits,
) -> Report {
    let initial = live::initial(scenario, left_out);
    search::run(scenario, left_out, &initial, limits, n_threads).0
}

/// Explores a scenario, and returns how many states that took and where its code stands between its steps: all that it
/// performs, unless the search came to its limit.
pub(crate) fn stops(scenario: &'static Scenario, limits: Limits) -> (usize, Vec<Stop>) {
    let initial = live::initial(scenario, LeftOut::NOTHING);
    let (report, unfolding) = search::run(scenario, LeftOut::NOTHING, &initial, limits, 1);
    (report.n_states, unfolding.into_stops().collect())
}
