//! What a search reports: how far it looked, what it did not look at, and what it found.

use std::fmt;

use shootdown_sim::smp::{Act, Config, Hardware, MemoryModel, TlbModel};

use crate::{
    failure::Failure, left_out::LeftOut, reach::Reach, replay::replay_acts, scenario::Scenario, schedule::Schedule,
    trace::Trace,
};

/// A failing run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it fails.
    pub failure: Failure,
    /// The schedule, which [`live::replay`](crate::live::replay) takes.
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
        left_out: LeftOut,
        initial: &Hardware,
        acts: Vec<Act>,
        failure: &Failure,
    ) -> Self {
        let replayed = replay_acts(scenario, left_out, initial, &acts)
            .unwrap_or_else(|error| panic!("a finding in {} does not replay: {error}", scenario.name));
        let schedule = Schedule { scenario: scenario.name.to_owned(), fingerprint: replayed.fingerprint, acts };
        match replayed.failure {
            // Only the live driver looks for races, and this one comes with the very act that the graph driver ended at.
            Some(race @ Failure::Race(_)) => Finding { failure: race, schedule, trace: replayed.trace },
            replayed_failure => {
                assert_eq!(replayed_failure.as_ref(), Some(failure), "{schedule} replays to something else");
                Finding { failure: failure.clone(), schedule, trace: replayed.trace }
            }
        }
    }
}

/// What the graph driver did with a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The scenario's name.
    pub scenario: &'static str,
    /// What was left out.
    pub left_out: LeftOut,
    /// The machine.
    pub machine: Config,
    /// States reached.
    pub n_states: usize,
    /// Transitions between them.
    pub n_transitions: usize,
    /// Places in the CPUs' code, told apart by what the code had learnt on the way.
    pub n_local_nodes: usize,
    /// Every state that can be reached was reached. Otherwise the search ended at a finding or at its limit.
    pub is_exhausted: bool,
    /// What the scenario was to come by, and did not in any state.
    pub missed: Vec<Reach>,
    /// The limit at which the search gave up, if it did.
    pub cut_at: Option<Limit>,
    /// What it took.
    pub memory: Memory,
    /// The failing run with the fewest acts, if there is one.
    pub finding: Option<Finding>,
}

/// A limit that a search has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many states.
    States(usize),
    /// So many bytes.
    Bytes(usize),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::States(n_states) => write!(f, "{n_states} states"),
            Limit::Bytes(n_bytes) => write!(f, "{} MiB", n_bytes >> 20),
        }
    }
}

/// Memory that a search had allocated for states and transitions at any one time, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it, in bytes.
    pub n_bytes: usize,
    /// As many would have done if nobody were to find doomed states, which takes the transitions.
    pub n_bytes_without_doom: usize,
}

impl Memory {
    /// Takes note of what is allocated now.
    pub(crate) fn note(&mut self, for_states: usize, for_doom: usize) {
        self.n_bytes = self.n_bytes.max(for_states + for_doom);
        self.n_bytes_without_doom = self.n_bytes_without_doom.max(for_states);
    }
}

impl Report {
    /// The report of a search that has not begun.
    pub(crate) fn nothing(scenario: &Scenario, left_out: LeftOut) -> Self {
        Report {
            scenario: scenario.name,
            left_out,
            machine: scenario.machine,
            n_states: 0,
            n_transitions: 0,
            n_local_nodes: 0,
            is_exhausted: false,
            missed: Vec::new(),
            cut_at: None,
            memory: Memory::default(),
            finding: None,
        }
    }

    /// Tells whether every interleaving was explored, none fails, and the scenario came by what it is about.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        self.is_exhausted && self.finding.is_none() && self.missed.is_empty()
    }

    /// Returns how likely it is, at most, that some state was taken for another one: states are told apart by 64 bits.
    #[must_use]
    pub fn collision_odds(&self) -> f64 {
        (self.n_states as f64).powi(2) / 2f64.powi(65)
    }
}

impl Report {
    /// Returns what was explored, what was not, and how sure that is.
    #[must_use]
    pub fn summary(&self) -> String {
        let extent = match self.cut_at {
            Some(limit) => format!("cut at the limit of {limit}"),
            None if self.is_exhausted => "all there are".to_owned(),
            None => "up to the finding".to_owned(),
        };
        format!(
            "{}, {}: {}\n  {} states ({extent}), {} transitions, {} local nodes\n  {}\n  not explored: {}\n  a state was missed \
             by a hash collision with odds of {:.1e} at most\n{}",
            self.scenario,
            self.left_out,
            describe(&self.machine),
            self.n_states,
            self.n_transitions,
            self.n_local_nodes,
            self.memory_per_state(),
            not_explored(&self.machine),
            self.collision_odds(),
            match (&self.finding, self.is_exhausted) {
                (Some(_), _) => "",
                (None, true) => "  no failure\n",
                (None, false) => "  no failure so far\n",
            }
        ) + &self.never_reached()
    }
}

impl Report {
    /// Says what the search took.
    fn memory_per_state(&self) -> String {
        let per_state = |n_bytes: usize| n_bytes.div_ceil(self.n_states.max(1));
        let Memory { n_bytes, n_bytes_without_doom } = self.memory;
        format!(
            "{:.1} MiB, {} bytes a state, {} of them to find doomed ones",
            n_bytes as f64 / f64::from(1 << 20),
            per_state(n_bytes),
            per_state(n_bytes - n_bytes_without_doom),
        )
    }

    /// Says what the scenario did not come by.
    fn never_reached(&self) -> String {
        match self.missed[..] {
            [] => String::new(),
            _ => format!(
                "  never reached: {}\n",
                self.missed.iter().map(|reach| reach.name()).collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        match &self.finding {
            Some(finding) => write!(f, "{}schedule: {}", finding.trace, finding.schedule),
            None => Ok(()),
        }
    }
}

/// Returns what a machine has and can do, in words.
#[must_use]
pub fn describe(machine: &Config) -> String {
    let Config {
        cpus,
        memory,
        late_changes,
        serializes,
        walker_forwards,
        tlb,
        has_tags,
        caches_walks,
        evicts,
        sets_accessed,
        sets_dirty,
        faults_forget,
        forbids_two_sizes,
        remembers_absent,
        loses_masked_kicks,
        has_clock,
        ticks,
        may_refuse_batches,
        may_refuse_tables,
    } = *machine;
    let memory = match memory {
        MemoryModel::Sc => "SC",
        MemoryModel::Tso => "TSO",
        MemoryModel::Pso => "PSO",
    };
    let switches = [
        (late_changes, "late changes"),
        (serializes, "interrupts and invalidations drain stores"),
        (!walker_forwards, "walkers do not see the store buffer"),
        (tlb == TlbModel::MaySets, "may-sets"),
        (has_tags, "tags"),
        (caches_walks, "walk caches"),
        (evicts, "evictions"),
        (sets_accessed, "accessed bits"),
        (!sets_dirty, "dirty bits by faults"),
        (faults_forget, "faults forget"),
        (forbids_two_sizes, "two sizes are an error"),
        (remembers_absent, "absence is remembered"),
        (loses_masked_kicks, "masked kicks are lost"),
        (has_clock, "waits may be overdue"),
        (ticks, "ticks"),
        (may_refuse_batches, "batches may be refused"),
        (may_refuse_tables, "tables may be refused"),
    ];
    let on = switches.into_iter().filter_map(|(is_on, name)| is_on.then_some(name));
    std::iter::once(format!("{cpus} CPUs, {memory}")).chain(on.map(str::to_owned)).collect::<Vec<_>>().join(", ")
}

/// What a machine could do to the library and this one cannot.
fn not_explored(machine: &Config) -> String {
    let weaker = match machine.memory {
        MemoryModel::Sc => "store buffers and any weaker memory",
        MemoryModel::Tso => "memory weaker than TSO",
        MemoryModel::Pso => "reordered loads",
    };
    let switches = [
        (!machine.has_tags, "tags"),
        (!machine.caches_walks, "walk caches"),
        (!machine.evicts && machine.tlb == TlbModel::Fills, "evictions"),
        (!machine.sets_accessed, "accessed bits"),
        (!machine.remembers_absent, "remembered absence"),
        (!machine.ticks, "ticks"),
        (!machine.may_refuse_batches, "refused batches"),
        (!machine.may_refuse_tables, "refused tables"),
    ];
    let off = switches.into_iter().filter_map(|(is_off, name)| is_off.then_some(name));
    std::iter::once(weaker).chain(off).chain(["more CPUs and pages", "global entries"]).collect::<Vec<_>>().join(", ")
}
