//! Finds the states that come after others, without changing anything that threads share.
//!
//! What is found still has to be put in order and numbered (`search`). Until then a state that nobody has reached before
//! is known by its place among those found.

use std::ops::Range;

use hashbrown::{HashTable, hash_table::Entry};
use shootdown_sim::smp::Act;

use super::{
    fingerprint::fingerprint,
    queue::Block,
    reached::{Reached, StateIdx},
    state::{State, View},
    unfold::{Obstacle, Unfolding, Unseen},
};
use crate::{driver::Situation, failure::Failure, scenario::Scenario, schedule::encode};

/// What is known already.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) scenario: &'static Scenario,
    pub(super) unfolding: &'a Unfolding,
    pub(super) reached: &'a Reached,
    /// Whether somebody wants to hear of a stale translation.
    pub(super) looks_for_stale: bool,
}

/// States for a thread to work on, so that none is allocated for each transition.
#[derive(Clone)]
pub(super) struct Workspace {
    state: State,
    next: State,
    acts: Vec<Act>,
}

impl Workspace {
    pub(super) fn new(any: &State) -> Self {
        Workspace { state: any.clone(), next: any.clone(), acts: Vec::new() }
    }
}

/// What comes after the states of a block.
#[derive(Default)]
pub(super) struct Expansion {
    /// What became of each state, in order. If one fails, it is the last.
    pub(super) fates: Vec<Fate>,
    /// Where the acts of all states lead, in order.
    pub(super) next: Vec<Next>,
    /// The states that were not reached before.
    pub(super) found: Vec<Found>,
    by_fingerprint: HashTable<u32>,
    /// Those, packed.
    packed: Vec<u8>,
    /// A CPU remembers a stale translation in one of them.
    pub(super) has_stale: bool,
}

/// What became of a state.
pub(super) enum Fate {
    /// It has so many acts, and each leads somewhere.
    Expanded(u8),
    /// It is the end.
    Ended,
    /// This act fails, after so many others, or the end is not as it must be.
    Failed(u8, Option<Act>, Box<Failure>),
    /// Code must be run first. The state is packed at this place of its block.
    Unseen(usize),
}

/// Where an act leads.
pub(super) struct Next {
    pub(super) act: u8,
    pub(super) target: Target,
}

/// A state, by its number if it has one.
pub(super) enum Target {
    Reached(StateIdx),
    Found(u32),
}

/// A state that was not reached before.
pub(super) struct Found {
    pub(super) fingerprint: u64,
    /// Where its bytes are.
    packed: Range<usize>,
    /// Its number, when it has got one.
    pub(super) idx: Option<StateIdx>,
}

impl Known<'_> {
    /// Expands the states of a block, up to one that fails.
    pub(super) fn expand_block(self, block: &Block, workspace: &mut Workspace, into: &mut Expansion) {
        into.clear();
        let mut rest = &block.bytes[..];
        while !rest.is_empty() {
            let at = block.bytes.len() - rest.len();
            let fate = self.expand(&mut rest, workspace, into).unwrap_or(Fate::Unseen(at));
            let has_failed = matches!(fate, Fate::Failed(..));
            into.fates.push(fate);
            if has_failed {
                return;
            }
        }
    }

    /// Expands the first of packed states and takes it off the front.
    pub(super) fn expand(
        self,
        packed: &mut &[u8],
        workspace: &mut Workspace,
        into: &mut Expansion,
    ) -> Result<Fate, Unseen> {
        let Workspace { state, next, acts } = workspace;
        state.unpack(self.scenario, packed);
        let view = View { scenario: self.scenario, unfolding: self.unfolding, state };
        if view.is_finished() {
            return Ok(match view.check_end() {
                Ok(()) => Fate::Ended,
                Err(failure) => Fate::Failed(0, None, Box::new(failure)),
            });
        }
        view.enabled(acts);
        let n_before = into.next.len();
        for (n_next, act) in (0..).zip(&*acts) {
            next.clone_from(state);
            match next.perform(self.unfolding, *act) {
                Ok(()) => {
                    let target = self.target(next, into);
                    into.next.push(Next { act: encode(*act), target });
                }
                Err(Obstacle::Failure(failure)) => return Ok(Fate::Failed(n_next, Some(*act), Box::new(failure))),
                Err(Obstacle::Unseen(unseen)) => {
                    into.next.truncate(n_before);
                    return Err(unseen);
                }
            }
        }
        Ok(Fate::Expanded(acts.len() as u8))
    }

    fn target(self, state: &State, into: &mut Expansion) -> Target {
        let fingerprint = fingerprint(state);
        match self.reached.find(fingerprint) {
            Some(idx) => Target::Reached(idx),
            None => Target::Found(self.find(state, fingerprint, into)),
        }
    }

    fn find(self, state: &State, fingerprint: u64, into: &mut Expansion) -> u32 {
        let Expansion { found, by_fingerprint, packed, has_stale, .. } = into;
        let fingerprint_of = |place: &u32| found[*place as usize].fingerprint;
        match by_fingerprint.entry(fingerprint, |place| fingerprint_of(place) == fingerprint, fingerprint_of) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let (place, start) = (found.len() as u32, packed.len());
                vacant.insert(place);
                state.pack(self.scenario, packed);
                *has_stale = *has_stale || self.looks_for_stale && state.hardware().remembers_stale();
                found.push(Found { fingerprint, packed: start..packed.len(), idx: None });
                place
            }
        }
    }
}

impl Expansion {
    /// Forgets everything but the room for it.
    pub(super) fn clear(&mut self) {
        let Expansion { fates, next, found, by_fingerprint, packed, has_stale } = self;
        fates.clear();
        next.clear();
        found.clear();
        by_fingerprint.clear();
        packed.clear();
        *has_stale = false;
    }

    /// The bytes of a state that was found.
    pub(super) fn packed(&self, found: &Found) -> &[u8] {
        &self.packed[found.packed.clone()]
    }
}
