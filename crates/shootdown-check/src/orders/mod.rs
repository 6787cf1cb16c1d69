//! Each memory order of the library made weaker, one at a time: which scenario notices?
//!
//! Every operation says which line of source asks for it, so a run can perform the operations of one line with a weaker
//! order. An order that nobody misses is either not needed, or needed on machines that this one is not, or there is no
//! scenario for it; the list of all of them says so in a table that is compared with a file.
//!
//! Two things notice. On the graph driver stores reach memory later than they may. On the live driver a word that has one
//! owner is handed over, and no release or no acquire hands it over. Loads are performed in order on this machine, so
//! nothing else can miss an acquire.

mod site;
mod table;

use std::sync::atomic::Ordering::*;

pub use self::{
    site::{Site, Weakened},
    table::Table,
};
use crate::{
    coroutine::Stop,
    graph::{self, Limits},
    in_order, live,
    replay::{Replayed, replay_without},
    report::Finding,
    scenario::Scenario,
    schedule::Schedule,
};

/// Scenarios with more states are only run at random, but for orders that no smaller one has. Explored to the end they
/// notice nothing more, and take half a minute.
const FEW_STATES: usize = 60_000;

/// Scenarios with fewer states are asked first.
const VERY_FEW_STATES: usize = 6_000;

/// Random runs of each scenario. A word that is not handed over shows in the first run that uses it on both sides.
const N_RUNS: usize = 100;
const SEED: u64 = 1;

/// What a scenario performs.
struct Explored {
    scenario: &'static Scenario,
    n_states: usize,
    sites: Vec<Site>,
}

/// All orders of the library that some scenario performs.
pub struct Orders {
    explored: Vec<Explored>,
    sites: Vec<Site>,
}

/// What came of a weakened order.
pub struct Row {
    /// The order.
    pub weakened: Weakened,
    /// Who has noticed.
    pub noticed: Option<Noticed>,
}

/// A scenario that fails with a weakened order.
pub struct Noticed {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// How it fails. It has been replayed.
    pub finding: Finding,
}

impl Orders {
    /// Explores scenarios, and collects the orders that they perform.
    #[must_use]
    pub fn collect(of: impl IntoIterator<Item = &'static Scenario>) -> Self {
        let mut explored: Vec<Explored> = of.into_iter().map(Explored::new).collect();
        // Those of a size in the order in which they are listed, so that another few states change nothing.
        explored.sort_by_key(|explored| (explored.n_states > VERY_FEW_STATES, explored.n_states > FEW_STATES));
        let mut sites = explored.iter().flat_map(|explored| &explored.sites).copied().collect();
        Site::sort(&mut sites);
        Orders { explored, sites }
    }

    /// All of them.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Weakens each on several threads, and hands on what came of it in the order of the sites.
    pub fn check(&self, n_threads: usize, mut each: impl FnMut(Row)) {
        in_order::run(
            &self.sites,
            n_threads,
            |site| self.check_site(site),
            |rows| rows.into_iter().for_each(&mut each),
        );
    }

    /// Weakens one as far as somebody notices. What is stronger than something that nobody notices is not tried.
    fn check_site(&self, site: &Site) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for weakened in site.weaker() {
            let is_stronger = |row: &Row| row.weakened.to() == Relaxed || weakened.to() == AcqRel;
            if !rows.iter().any(|row| row.noticed.is_none() && is_stronger(row)) {
                rows.push(Row { weakened, noticed: self.find(weakened) });
            }
        }
        rows
    }

    fn find(&self, weakened: Weakened) -> Option<Noticed> {
        let performs = |explored: &&Explored| explored.sites.contains(weakened.site());
        let (small, large): (Vec<_>, Vec<_>) =
            self.explored.iter().filter(performs).partition(|explored| explored.n_states <= FEW_STATES);
        let in_all_runs = if small.is_empty() { &large } else { &small };
        let in_random_runs = small.iter().chain(&large);
        let late = in_all_runs.iter().find_map(|explored| weakened.check_all_runs(explored.scenario));
        late.or_else(|| in_random_runs.into_iter().find_map(|explored| weakened.check_random_runs(explored.scenario)))
    }
}

impl Explored {
    fn new(scenario: &'static Scenario) -> Self {
        let limits = Limits { max_states: FEW_STATES, ..Limits::default() };
        let (n_states, stops) = graph::stops(scenario, limits);
        let site = |stop: &Stop| match stop {
            Stop::Operation(operation, at) => Site::of(*operation, at),
            Stop::Panicked(_) => None,
        };
        let mut sites: Vec<Site> = stops.iter().filter_map(site).collect();
        Site::sort(&mut sites);
        Explored { scenario, n_states, sites }
    }
}

impl Weakened {
    /// Looks for a run of a scenario that fails since stores are late.
    fn check_all_runs(self, scenario: &'static Scenario) -> Option<Noticed> {
        if !self.is_seen_by_hardware() {
            return None;
        }
        let report = graph::check_without(1, scenario, self.into(), Limits::default());
        Some(Noticed { scenario, finding: report.finding? })
    }

    /// Looks for a run of a scenario in which a word is used that was not handed over.
    fn check_random_runs(self, scenario: &'static Scenario) -> Option<Noticed> {
        if !self.hands_over_less() {
            return None;
        }
        let searched = live::search_without(&live::Strategy::ALL, scenario, self.into(), SEED, N_RUNS);
        Some(Noticed { scenario, finding: searched.finding? })
    }
}

/// Replays a schedule that was made with some order of the library weakened; nothing if it was not, or does not fail.
#[must_use]
pub fn replay(scenario: &'static Scenario, schedule: &Schedule) -> Option<Replayed> {
    let weakened = Explored::new(scenario).sites.into_iter().flat_map(|site| site.weaker());
    // Places that are the same but for their lines have the same name, so more than one may seem to be it.
    let mut replayed = weakened.filter_map(|weakened| replay_without(scenario, weakened.into(), schedule).ok());
    replayed.find(|replayed| replayed.failure.is_some())
}
