//! Doomed states: those from which no schedule leads to the end.
//!
//! A deadlock, a livelock and a lost kick are all just that. Found by going backwards from the states that are the end,
//! it needs no notion of fairness and raises no false alarm.

use super::search::StateIdx;

/// Returns the first state from which none of `ends` can be reached; states are numbered in the order in which they
/// were reached, so it is one with the fewest acts before it.
pub(super) fn first_doomed(
    n_states: usize,
    transitions: &[(StateIdx, StateIdx)],
    ends: &[StateIdx],
) -> Option<StateIdx> {
    let before = Predecessors::new(n_states, transitions);
    let mut is_saved = vec![false; n_states];
    let mut unfinished = ends.to_vec();
    for end in ends {
        is_saved[*end as usize] = true;
    }
    while let Some(state) = unfinished.pop() {
        for predecessor in before.of(state) {
            if !std::mem::replace(&mut is_saved[*predecessor as usize], true) {
                unfinished.push(*predecessor);
            }
        }
    }
    is_saved.iter().position(|is_saved| !is_saved).map(|idx| idx as StateIdx)
}

/// The transitions, sorted by where they lead.
struct Predecessors {
    /// For each state, where its predecessors begin; one more for the end of the last.
    starts: Vec<usize>,
    states: Vec<StateIdx>,
}

impl Predecessors {
    fn new(n_states: usize, transitions: &[(StateIdx, StateIdx)]) -> Self {
        let mut starts = vec![0; n_states + 1];
        for (_, to) in transitions {
            starts[*to as usize + 1] += 1;
        }
        for state in 0..n_states {
            starts[state + 1] += starts[state];
        }
        let mut free = starts.clone();
        let mut states = vec![0; transitions.len()];
        for (from, to) in transitions {
            let place = &mut free[*to as usize];
            states[*place] = *from;
            *place += 1;
        }
        Predecessors { starts, states }
    }

    fn of(&self, state: StateIdx) -> &[StateIdx] {
        let state = state as usize;
        &self.states[self.starts[state]..self.starts[state + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_without_a_way_out_is_doomed() {
        // 0 → 1 → 2 (the end); 0 → 3 ⇄ 4.
        let transitions = [(0, 1), (1, 2), (0, 3), (3, 4), (4, 3)];
        assert_eq!(first_doomed(5, &transitions, &[2]), Some(3));
        let with_a_way_out = [&transitions[..], &[(4, 1)]].concat();
        assert_eq!(first_doomed(5, &with_a_way_out, &[2]), None);
    }

    #[test]
    fn without_an_end_everything_is_doomed() {
        assert_eq!(first_doomed(2, &[(0, 1)], &[]), Some(0));
    }
}
