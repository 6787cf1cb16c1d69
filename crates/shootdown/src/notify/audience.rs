//! Who is to be told, and who is being told just now.

use core::sync::atomic::Ordering::*;

use super::{Event, Listener, RangeListener};
use crate::{
    call,
    counters::Counter,
    fix::Fix,
    machine::{Machine, Modify},
    word::Shared,
};

/// The listeners of an address space, or of kernel addresses.
pub(crate) struct Audience<M: Machine> {
    // A bit for each.
    members: Shared<M>,
    // How many tell them just now, by the turn in which they have begun, which is even or odd. Who waits for them lets the next
    // turn begin, so that he does not wait for those who come after him.
    tellers: [Shared<M>; 2],
    turn: Shared<M>,
}

impl<M: Machine> Audience<M> {
    pub(crate) const fn new() -> Self {
        Audience { members: Shared::ZERO, tellers: [Shared::ZERO, Shared::ZERO], turn: Shared::ZERO }
    }

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.members.visit("listeners", visitor);
        self.tellers.iter().for_each(|tellers| tellers.visit("listeners.tellers", visitor));
        self.turn.visit("listeners.turn", visitor);
    }

    pub(super) fn add(&self, m: &M, number: u32) {
        // ORDER(attach/tell): a member before it walks; who changes an entry has changed it before he looks who listens. One
        // of us sees the other. Needs the total order: store, then load (here a walk, which begins after this), on both sides.
        self.members.update(m, Modify::Or(1 << number), Relaxed);
        m.fence(SeqCst);
    }

    /// Takes a member out, and waits until nobody tells it anything.
    pub(super) fn remove(&self, m: &M, number: u32) {
        self.members.modify(m, Modify::And(!(1 << number)), SeqCst);
        if m.keeps(Fix::WaitForTellers) {
            self.wait_for_tellers(m);
        }
    }

    /// Takes all of them out.
    pub(crate) fn clear(&self, m: &M) {
        self.members.store(m, 0, SeqCst);
        self.wait_for_tellers(m);
    }

    fn wait_for_tellers(&self, m: &M) {
        // Twice, since who has read whose turn it is may not have counted himself yet.
        for _ in 0..2 {
            // ORDER(attach/tell): taken out before we look who tells; who tells is counted before he looks who listens.
            let tellers = self.tellers_of(self.turn.modify(m, Modify::Add(1), SeqCst));
            // ORDER(attach/tell): what they have told is done.
            call::wait(m, |m| (tellers.load(m, Acquire) == 0).then_some(()));
        }
    }

    fn tellers_of(&self, turn: u64) -> &Shared<M> {
        let [even, odd] = &self.tellers;
        if turn.is_multiple_of(2) { even } else { odd }
    }

    /// Calls `each` with every member.
    fn for_each(&self, m: &M, mut each: impl FnMut(Listener<'_, M>)) {
        // ORDER(attach/tell): entries are changed before anybody looks who listens, see `add`; a flush has fenced in between.
        if self.members.load(m, SeqCst) == 0 {
            return;
        }
        let tellers = self.tellers_of(self.turn.load(m, Relaxed));
        // ORDER(attach/tell): counted before we look, see `wait_for_tellers`.
        tellers.modify(m, Modify::Add(1), SeqCst);
        let mut members = self.members.load(m, SeqCst);
        while members != 0 {
            m.listener(members.trailing_zeros()).into_iter().for_each(&mut each);
            members &= members - 1;
        }
        // ORDER(attach/tell): told before it is said.
        tellers.update(m, Modify::Add(1_u64.wrapping_neg()), Release);
    }

    /// Tells every secondary TLB among the members, one after the other.
    pub(crate) fn tell(&self, m: &M, event: Event) {
        self.for_each(m, |listener| {
            if let Listener::Secondary(secondary) = listener {
                m.count(Counter::SecondaryTold, 1);
                secondary.hear(m, event);
            }
        });
    }

    /// Calls `each` with every range listener among the members.
    pub(crate) fn ranges(&self, m: &M, mut each: impl FnMut(&dyn RangeListener<M>)) {
        self.for_each(m, |listener| {
            if let Listener::Range(listener) = listener {
                each(listener);
            }
        });
    }
}
