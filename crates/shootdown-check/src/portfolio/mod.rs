//! Search at random, with several strategies in turn: none of them is good at everything.
//!
//! A random walk meets what is likely and needs many runs for a failure in which one CPU sleeps while another does a
//! lot. PCT finds just those, and never one that is deeper than it was told to look.

mod pct;
mod random_walk;

use std::fmt;

use shootdown::Fix;
use shootdown_sim::smp::{Act, Hardware};

use self::{pct::Pct, random_walk::RandomWalk};
use crate::{
    driver::Situation,
    failure::Failure,
    left_out::LeftOut,
    live::{self, Live, Recording},
    report::Finding,
    rng::Rng,
    scenario::Scenario,
    shrink,
};

/// Acts after which a random run no longer acts at random but lets every CPU take its turn.
const MAX_RANDOM_ACTS: usize = 2_000;

/// A way to choose what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// By chance; in each run some CPUs and some walkers are slow.
    RandomWalk,
    /// By priorities that change a few times (Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees
    /// of Finding Bugs", ASPLOS 2010): finds a failure that needs `depth` orderings with a probability that has a bound.
    Pct {
        /// How many orderings; it changes priorities one time fewer.
        depth: usize,
    },
}

impl Strategy {
    /// The portfolio.
    pub const ALL: [Strategy; 4] =
        [Strategy::RandomWalk, Strategy::Pct { depth: 2 }, Strategy::Pct { depth: 3 }, Strategy::Pct { depth: 4 }];
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strategy::RandomWalk => f.write_str("random walk"),
            Strategy::Pct { depth } => write!(f, "PCT {depth}"),
        }
    }
}

/// What a random search did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// Runs made, the failing one included.
    pub n_runs: usize,
    /// Acts in all of them.
    pub n_acts: usize,
    /// Which strategy found it.
    pub found_by: Option<Strategy>,
    /// What was found, if anything, shrunk.
    pub finding: Option<Finding>,
}

/// Runs a scenario at most `n_runs` times, with what happens next chosen by each strategy of the portfolio in turn.
///
/// A run that takes very long is brought to its end with every CPU taking its turn; if it has none even so, that counts
/// as doomed. The graph driver, which knows all schedules, is exact about it.
#[must_use]
pub fn search(scenario: &'static Scenario, left_out: &[Fix], seed: u64, n_runs: usize) -> Searched {
    search_with(&Strategy::ALL, scenario, left_out, seed, n_runs)
}

/// The same with some strategies only.
#[must_use]
pub fn search_with(
    strategies: &[Strategy],
    scenario: &'static Scenario,
    left_out: &[Fix],
    seed: u64,
    n_runs: usize,
) -> Searched {
    search_without(strategies, scenario, left_out.into(), seed, n_runs)
}

/// The same with anything left out.
pub(crate) fn search_without(
    strategies: &[Strategy],
    scenario: &'static Scenario,
    left_out: LeftOut,
    seed: u64,
    n_runs: usize,
) -> Searched {
    let initial = live::initial(scenario, left_out);
    let mut choosers: Vec<Chooser> = strategies.iter().map(|strategy| Chooser::new(*strategy, seed)).collect();
    let mut searched = Searched { n_runs: 0, n_acts: 0, found_by: None, finding: None };
    for (_, strategy) in (0..n_runs).zip((0..strategies.len()).cycle()) {
        let (acts, failure) = run_once(scenario, left_out, &initial, &mut choosers[strategy]);
        searched.n_runs += 1;
        searched.n_acts += acts.len();
        if let Some(failure) = failure {
            let (acts, failure) = shrink::shrink(scenario, left_out, &initial, acts, failure);
            searched.found_by = Some(strategies[strategy]);
            searched.finding = Some(Finding::new(scenario, left_out, &initial, acts, &failure));
            break;
        }
    }
    searched
}

/// A strategy with what it remembers from run to run.
struct Chooser {
    strategy: Strategy,
    rng: Rng,
    /// The acts of its longest run so far.
    longest: usize,
}

impl Chooser {
    /// Each strategy has random numbers of its own, so that leaving one out changes nothing for the others.
    fn new(strategy: Strategy, seed: u64) -> Self {
        let stream = match strategy {
            Strategy::RandomWalk => 0,
            Strategy::Pct { depth } => depth as u64,
        };
        Chooser { strategy, rng: Rng::new(seed ^ stream << 56), longest: 0 }
    }
}

/// For how many CPUs numbers are drawn at the beginning of a run: for four at least, so that a seed leads to the same
/// runs as when there was room for no more.
fn n_drawn(n_cpus: usize) -> usize {
    n_cpus.max(4)
}

/// Chooses in one run.
trait Choice {
    /// Picks one of `acts`, of which there is one at least.
    fn pick(&mut self, acts: &[Act], rng: &mut Rng) -> Act;

    /// Hears whether what it picked changed anything.
    fn hear(&mut self, _has_changed: bool) {}
}

fn run_once(
    scenario: &'static Scenario,
    left_out: LeftOut,
    initial: &Hardware,
    chooser: &mut Chooser,
) -> (Vec<Act>, Option<Failure>) {
    let mut run = match Live::start(scenario, left_out, initial) {
        Ok(live) => Recording::new(live),
        Err(failure) => return (Vec::new(), Some(failure)),
    };
    let n_cpus = scenario.machine.cpus;
    let failed = match chooser.strategy {
        Strategy::RandomWalk => {
            let mut random_walk = RandomWalk::draw(n_cpus, &mut chooser.rng);
            run_to_end(&mut run, &mut random_walk, &mut chooser.rng)
        }
        Strategy::Pct { depth } => {
            let mut pct = Pct::draw(depth, n_cpus, chooser.longest, &mut chooser.rng);
            run_to_end(&mut run, &mut pct, &mut chooser.rng)
        }
    };
    chooser.longest = chooser.longest.max(run.acts.len());
    (run.acts, failed.err())
}

fn run_to_end(run: &mut Recording, choice: &mut impl Choice, rng: &mut Rng) -> Result<(), Failure> {
    let mut enabled = Vec::new();
    while !run.is_finished() && run.acts.len() < MAX_RANDOM_ACTS {
        run.enabled(&mut enabled);
        if enabled.is_empty() {
            break;
        }
        let has_changed = run.perform_and_tell(choice.pick(&enabled, rng))?;
        choice.hear(has_changed);
    }
    run.finish()
}
