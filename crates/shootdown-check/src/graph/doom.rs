//! Doomed states: those from which no schedule leads to the end.
//!
//! A deadlock, a livelock and a lost kick are all just that. Found by going backwards from the states that are the end,
//! it needs no notion of fairness and raises no false alarm.
//!
//! What is known is what comes after a state, not what comes before it, and to turn that around would take as much memory
//! once more. So all states are gone through, again and again, and those that lead to a saved one are saved too. From
//! last to first this saves at once whatever has a way to the end on which the numbers rise, from first to last whatever
//! has one on which they fall. States are numbered breadth first, so a way mostly rises, and falls where a wait or a retry
//! goes round; each turn between the two takes one more time. There could be as many as states. There are a few.

use std::ops::Range;

use super::{reached::StateIdx, transitions::Transitions};

/// Returns the first state from which none of `ends` can be reached; states are numbered in the order in which they
/// were reached, so it is one with the fewest acts before it.
pub(super) fn first_doomed(transitions: &Transitions, ends: impl Iterator<Item = StateIdx>) -> Option<StateIdx> {
    let mut is_saved = vec![false; transitions.n_states()];
    ends.for_each(|end| is_saved[end as usize] = true);
    // The first sweep may save nothing while the second one does.
    while save(transitions, &mut is_saved, transitions.backwards())
        | save(transitions, &mut is_saved, transitions.forwards())
    {}
    is_saved.iter().position(|is_saved| !is_saved).map(|idx| idx as StateIdx)
}

/// Bytes that finding it takes.
pub(super) fn n_bytes(transitions: &Transitions) -> usize {
    transitions.n_states() * size_of::<bool>()
}

/// Saves those of the states that lead to a saved one, in this order; tells whether there was any.
fn save(transitions: &Transitions, is_saved: &mut [bool], states: impl Iterator<Item = (usize, Range<usize>)>) -> bool {
    let mut has_saved = false;
    for (state, next) in states {
        if !is_saved[state] && transitions.targets(next).any(|next| is_saved[next as usize]) {
            is_saved[state] = true;
            has_saved = true;
        }
    }
    has_saved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_doomed_of(rows: &[&[StateIdx]], ends: &[StateIdx]) -> Option<StateIdx> {
        let mut transitions = Transitions::new();
        for row in rows {
            row.iter().for_each(|target| transitions.push(*target));
            transitions.finish_state(row.len() as u8);
        }
        first_doomed(&transitions, ends.iter().copied())
    }

    #[test]
    fn a_cycle_without_a_way_out_is_doomed() {
        // 0 → 1 → 2 (the end); 0 → 3 ⇄ 4.
        assert_eq!(first_doomed_of(&[&[1, 3], &[2], &[], &[4], &[3]], &[2]), Some(3));
        assert_eq!(first_doomed_of(&[&[1, 3], &[2], &[], &[4], &[3, 1]], &[2]), None);
    }

    #[test]
    fn without_an_end_everything_is_doomed() {
        assert_eq!(first_doomed_of(&[&[1], &[0]], &[]), Some(0));
    }

    #[test]
    fn a_way_to_the_end_may_go_back_and_forth() {
        // 3 → 2 → 1 → 4 → 0 → 5 (the end), and nobody comes out of 6.
        assert_eq!(first_doomed_of(&[&[5], &[4], &[1], &[2], &[0], &[], &[6]], &[5]), Some(6));
    }
}
