//! What a search reports: how far it looked, what it did not look at, and what it found.

use std::fmt;

use shootdown_sim::smp::{Act, Hardware};

use crate::{failure::Failure, fix_set::FixSet, live, scenario::Scenario, schedule::Schedule, trace::Trace};

/// A failing run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it fails.
    pub failure: Failure,
    /// The schedule, which [`live::replay`] takes.
    pub schedule: Schedule,
    /// What happens, step by step.
    pub trace: Trace,
}

impl Finding {
    /// Tells a failing run by replaying it on the live driver.
    ///
    /// # Panics
    /// If the replay fails otherwise or not at all: then one of the drivers is wrong, or the code is not deterministic.
    pub(crate) fn new(
        scenario: &'static Scenario,
        left_out: FixSet,
        initial: &Hardware,
        acts: Vec<Act>,
        failure: &Failure,
    ) -> Self {
        let schedule = Schedule { scenario: scenario.name.to_owned(), acts };
        let replayed = live::replay_acts(scenario, left_out, initial, &schedule.acts)
            .unwrap_or_else(|error| panic!("{schedule} does not replay: {error}"));
        assert_eq!(replayed.failure.as_ref(), Some(failure), "{schedule} replays to something else");
        Finding { failure: failure.clone(), schedule, trace: replayed.trace }
    }
}

/// What the graph driver did with a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The fixes that were left out.
    pub left_out: FixSet,
    /// CPUs of the machine.
    pub n_cpus: usize,
    /// States reached.
    pub n_states: usize,
    /// Transitions between them.
    pub n_transitions: usize,
    /// Places in the CPUs' code, told apart by what the code had learnt on the way.
    pub n_local_nodes: usize,
    /// Every state that can be reached was reached. Otherwise the search ended at a finding or at its limit.
    pub is_exhausted: bool,
    /// The failing run with the fewest acts, if there is one.
    pub finding: Option<Finding>,
}

impl Report {
    /// Tells whether every interleaving was explored and none fails.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        self.is_exhausted && self.finding.is_none()
    }

    /// Returns how likely it is, at most, that some state was taken for another one: states are told apart by 64 bits.
    #[must_use]
    pub fn collision_odds(&self) -> f64 {
        (self.n_states as f64).powi(2) / 2f64.powi(65)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {}: {} CPUs", self.scenario, self.left_out, self.n_cpus)?;
        let extent = match (self.is_exhausted, &self.finding) {
            (true, _) => "all there are",
            (false, Some(_)) => "up to the finding",
            (false, None) => "cut at the limit",
        };
        let (states, transitions, nodes) = (self.n_states, self.n_transitions, self.n_local_nodes);
        writeln!(f, "  {states} states ({extent}), {transitions} transitions, {nodes} local nodes")?;
        writeln!(f, "  not explored: weak memory orders, more CPUs, permissions and dirty bits")?;
        writeln!(f, "  a state was missed by a hash collision with odds of {:.1e} at most", self.collision_odds())?;
        match &self.finding {
            Some(finding) => write!(f, "{}replay: {}", finding.trace, finding.schedule),
            None if self.is_exhausted => f.write_str("  no failure"),
            None => f.write_str("  no failure so far"),
        }
    }
}
