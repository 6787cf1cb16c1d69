//! Breadth-first search over all states, with fingerprints for those that were seen.
//!
//! States are expanded block by block, by several threads if there is much to do, and what they find is taken in the
//! order of the states that lead to it. So states have the same numbers, and everything comes to the same, however many
//! threads there are. Code that must be run for the first time is run when its state's turn comes, by the thread that
//! takes everything.

use std::{mem, sync::Mutex, thread};

use shootdown_sim::smp::{Act, Hardware};

use super::{
    Limits, Product, Unfolding,
    chunks::Chunks,
    doom,
    expand::{Expansion, Fate, Known, Next, Target, Workspace},
    fingerprint::fingerprint,
    queue::{Block, Queue},
    reached::{Reached, StateIdx},
    state::State,
    transitions::Transitions,
};
use crate::{
    driver::Driver,
    failure::Failure,
    left_out::LeftOut,
    reach::Missing,
    report::{Finding, Limit, Memory, Report},
    scenario::Scenario,
};

/// Blocks for each thread in a round: many, since to begin a thread takes as long as to expand a few states; not too
/// many, since what is found twice in a round is packed twice.
const BLOCKS_PER_THREAD: usize = 8;

/// How a search ended.
enum Ended {
    Exhausted,
    AtLimit(Limit),
    Failed(Failure, Vec<Act>),
}

/// Explores a scenario from its initial state, on so many threads; returns also what code it has come by.
pub(super) fn run(
    scenario: &'static Scenario,
    left_out: LeftOut,
    initial: &Hardware,
    limits: Limits,
    n_threads: usize,
) -> (Report, Unfolding) {
    let mut unfolding = Unfolding::new(scenario, left_out);
    let missing = Missing::new(scenario.reaches);
    let mut report = Report::nothing(scenario, left_out);
    let (failed, unfolding) = match State::start(&mut unfolding, scenario, initial) {
        Ok(start) => {
            let mut search = Search::new(scenario, unfolding, missing, &start, limits);
            let ended = search.run(&start, n_threads);
            (search.finish(ended, initial, &mut report), search.unfolding)
        }
        Err(failure) => (Some((failure, Vec::new())), unfolding),
    };
    report.n_local_nodes = unfolding.n_nodes();
    report.finding = failed.map(|(failure, acts)| Finding::new(scenario, left_out, initial, acts, &failure));
    (report, unfolding)
}

/// A search under way.
struct Search {
    scenario: &'static Scenario,
    limits: Limits,
    unfolding: Unfolding,
    reached: Reached,
    queue: Queue,
    transitions: Transitions,
    /// States in which the scenario is at its end.
    ends: Chunks<StateIdx>,
    /// What the scenario must come by and has not yet.
    missing: Missing,
    memory: Memory,
}

impl Search {
    fn new(
        scenario: &'static Scenario,
        unfolding: Unfolding,
        mut missing: Missing,
        start: &State,
        limits: Limits,
    ) -> Self {
        if start.hardware().remembers_stale() {
            missing.note_stale();
        }
        let mut queue = Queue::default();
        let mut packed = Vec::new();
        start.pack(scenario, &mut packed);
        queue.push(0, &packed);
        Search {
            scenario,
            limits,
            unfolding,
            reached: Reached::new(fingerprint(start)),
            queue,
            transitions: Transitions::new(),
            ends: Chunks::new(),
            missing,
            memory: Memory::default(),
        }
    }

    /// Takes states in the order in which they were reached, so the first failure is one of those with the fewest acts.
    fn run(&mut self, any: &State, n_threads: usize) -> Ended {
        let (for_states, for_doom) = self.n_bytes();
        self.memory.note(for_states, for_doom);
        let mut workspaces = vec![Workspace::new(any); n_threads.max(1)];
        let mut expansions: Vec<Expansion> = Vec::new();
        loop {
            let n_expanded = self.expand(&mut workspaces, &mut expansions);
            if n_expanded == 0 {
                return Ended::Exhausted;
            }
            for expansion in &mut expansions[..n_expanded] {
                let block = self.queue.pop().expect("it was expanded");
                if let Err(ended) = self.take_block(&block, expansion, &mut workspaces[0]) {
                    return ended;
                }
            }
        }
    }

    /// Expands the first blocks of the queue; returns how many. Only those to which nothing will be appended, so that it
    /// makes no difference how many are expanded before what they lead to is appended.
    fn expand(&self, workspaces: &mut [Workspace], expansions: &mut Vec<Expansion>) -> usize {
        let known = self.known();
        let blocks = self.queue.ready();
        // No thread for less than two blocks, and alone one by one: then nothing is found twice.
        let n_threads = (blocks.len() / 2).clamp(1, workspaces.len());
        let n_blocks = blocks.len().min(if n_threads > 1 { BLOCKS_PER_THREAD * n_threads } else { 1 });
        if expansions.len() < n_blocks {
            expansions.resize_with(n_blocks, Expansion::default);
        }
        let tasks = Mutex::new(blocks.take(n_blocks).zip(expansions));
        let next_task = || tasks.lock().expect("nobody panics while taking one").next();
        let work = |workspace: &mut Workspace| {
            while let Some((block, expansion)) = next_task() {
                known.expand_block(block, workspace, expansion);
            }
        };
        let (own, others) = workspaces[..n_threads].split_first_mut().expect("there is a thread");
        thread::scope(|scope| {
            others.iter_mut().for_each(|other| drop(scope.spawn(|| work(other))));
            work(own);
        });
        n_blocks
    }

    fn known(&self) -> Known<'_> {
        Known {
            scenario: self.scenario,
            unfolding: &self.unfolding,
            reached: &self.reached,
            looks_for_stale: self.missing.looks_for_stale(),
        }
    }

    /// Takes what was found, in order.
    fn take_block(&mut self, block: &Block, expansion: &mut Expansion, workspace: &mut Workspace) -> Result<(), Ended> {
        let mut n_taken = 0;
        for (idx, fate) in (block.first..).zip(mem::take(&mut expansion.fates)) {
            match fate {
                Fate::Unseen(at) => self.expand_alone(idx, &block.bytes[at..], workspace)?,
                known => n_taken += self.take(idx, known, n_taken, expansion)?,
            }
        }
        Ok(())
    }

    /// Expands one state and runs the code that it takes.
    fn expand_alone(&mut self, idx: StateIdx, packed: &[u8], workspace: &mut Workspace) -> Result<(), Ended> {
        let mut expansion = Expansion::default();
        let fate = loop {
            expansion.clear();
            match self.known().expand(&mut { packed }, workspace, &mut expansion) {
                Ok(fate) => break fate,
                Err(unseen) => self.unfolding.grow(unseen),
            }
        };
        self.take(idx, fate, 0, &mut expansion).map(drop)
    }

    /// Takes what became of a state, whose acts begin at `start`; returns how many they are.
    fn take(&mut self, idx: StateIdx, fate: Fate, start: usize, expansion: &mut Expansion) -> Result<usize, Ended> {
        if expansion.has_stale {
            self.missing.note_stale();
        }
        let (n_next, failed) = match fate {
            Fate::Expanded(n_next) => (n_next, None),
            Fate::Failed(n_next, act, failure) => (n_next, Some((act, failure))),
            Fate::Ended => {
                self.ends.push(idx);
                (0, None)
            }
            Fate::Unseen(_) => unreachable!("its code has been run"),
        };
        for place in start..start + usize::from(n_next) {
            let target = self.take_next(idx, place, expansion);
            self.transitions.push(target);
        }
        self.transitions.finish_state(n_next);
        if let Some((act, failure)) = failed {
            let mut way = self.reached.way_to(idx);
            way.extend(act);
            return Err(Ended::Failed(*failure, way));
        }
        self.check_limits()?;
        Ok(usize::from(n_next))
    }

    /// Returns the number of the state that an act leads to, a new one if it has none.
    fn take_next(&mut self, from: StateIdx, place: usize, expansion: &mut Expansion) -> StateIdx {
        let Next { act, ref target } = expansion.next[place];
        let found = match *target {
            Target::Reached(idx) => return idx,
            Target::Found(found) => found as usize,
        };
        if let Some(idx) = expansion.found[found].idx {
            return idx;
        }
        let (idx, is_new) = self.reached.insert(expansion.found[found].fingerprint, from, act);
        expansion.found[found].idx = Some(idx);
        if is_new {
            self.queue.push(idx, expansion.packed(&expansion.found[found]));
        }
        idx
    }

    fn check_limits(&mut self) -> Result<(), Ended> {
        let Limits { max_states, max_bytes } = self.limits;
        if self.reached.len() > max_states {
            return Err(Ended::AtLimit(Limit::States(max_states)));
        }
        let (for_states, for_doom) = self.n_bytes();
        if for_states + for_doom > max_bytes {
            return Err(Ended::AtLimit(Limit::Bytes(max_bytes)));
        }
        self.memory.note(for_states, for_doom);
        Ok(())
    }

    /// Bytes that are allocated for states, and for finding doomed ones among them.
    fn n_bytes(&self) -> (usize, usize) {
        let for_states = self.reached.n_bytes() + self.queue.n_bytes();
        (for_states, self.transitions.n_bytes() + self.ends.n_bytes())
    }

    /// Looks for doomed states if all others are known, and reports; returns what has failed and the way there.
    fn finish(&mut self, ended: Ended, initial: &Hardware, report: &mut Report) -> Option<(Failure, Vec<Act>)> {
        let failed = match ended {
            Ended::Exhausted => {
                report.is_exhausted = true;
                self.reached.keep_ways_only();
                self.find_doom(initial)
            }
            Ended::AtLimit(limit) => {
                report.cut_at = Some(limit);
                None
            }
            Ended::Failed(failure, acts) => Some((failure, acts)),
        };
        report.n_states = self.reached.len();
        report.n_transitions = self.transitions.len();
        report.memory = self.memory;
        if report.is_exhausted {
            report.missed = mem::take(&mut self.missing).finish();
        }
        failed
    }

    /// Finds the doomed state with the shortest way to it, and what its doom looks like.
    fn find_doom(&mut self, initial: &Hardware) -> Option<(Failure, Vec<Act>)> {
        let (for_states, for_doom) = self.n_bytes();
        self.memory.note(for_states, for_doom + doom::n_bytes(&self.transitions));
        let doomed = doom::first_doomed(&self.transitions, self.ends.iter())?;
        let acts = self.reached.way_to(doomed);
        let mut product = Product::start(self.scenario, &mut self.unfolding, initial).expect("the search came by here");
        for act in &acts {
            product.perform(*act).expect("the search came by here");
        }
        let failure = product.finish_fairly().expect_err("no schedule leads out of a doomed state");
        Some((failure, acts))
    }
}
