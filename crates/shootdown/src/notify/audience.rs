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
    // How many tell them just now: those that have begun in each of two turns, and whose turn it is. Who waits for all of them
    // lets the other turn begin, so that he does not wait for those who come after him.
    telling: Shared<M>,
}

/// Bits of the number of tellers of each turn.
const TURN_BITS: u32 = 31;
const TURN: u64 = 1 << 63;

const fn one_of(turn: u32) -> u64 {
    1 << (turn * TURN_BITS)
}

const fn tellers(telling: u64, turn: u32) -> u64 {
    telling >> (turn * TURN_BITS) & (one_of(1) - 1)
}

impl<M: Machine> Audience<M> {
    pub(crate) const fn new() -> Self {
        Audience { members: Shared::ZERO, telling: Shared::ZERO }
    }

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.members.visit("listeners", visitor);
        self.telling.visit("listeners.told", visitor);
    }

    pub(super) fn add(&self, m: &M, number: u32) {
        // ORDER(attach/tell): a member before it walks; who changes an entry has changed it before he looks who listens. One
        // of us sees the other. Needs the total order: store, then load (here a walk, which begins after this), on both sides.
        self.members.modify(m, Modify::Or(1 << number), SeqCst);
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
            let was = self.telling.modify(m, Modify::Add(TURN), SeqCst);
            let turn = (was >> 63) as u32;
            // ORDER(attach/tell): what they have told is done.
            call::wait(m, |m| (tellers(self.telling.load(m, Acquire), turn) == 0).then_some(()));
        }
    }

    /// Calls `each` with every member.
    fn for_each(&self, m: &M, mut each: impl FnMut(Listener<'_, M>)) {
        // ORDER(attach/tell): entries are changed before anybody looks who listens, see `add`; a flush has fenced in between.
        if self.members.load(m, SeqCst) == 0 {
            return;
        }
        let turn = (self.telling.load(m, Relaxed) >> 63) as u32;
        // ORDER(attach/tell): counted before we look, see `wait_for_tellers`.
        self.telling.modify(m, Modify::Add(one_of(turn)), SeqCst);
        let mut members = self.members.load(m, SeqCst);
        while members != 0 {
            m.listener(members.trailing_zeros()).into_iter().for_each(&mut each);
            members &= members - 1;
        }
        // ORDER(attach/tell): told before it is said.
        self.telling.modify(m, Modify::Add(one_of(turn).wrapping_neg()), Release);
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
    pub(super) fn ranges(&self, m: &M, mut each: impl FnMut(&dyn RangeListener<M>)) {
        self.for_each(m, |listener| {
            if let Listener::Range(listener) = listener {
                each(listener);
            }
        });
    }
}
