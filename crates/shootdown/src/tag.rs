//! Address-space tags: a CPU's TLB keeps what it remembers of several address spaces, each under a number of its own.
//!
//! Tags are each CPU's own business, so no two CPUs ever disagree about one, and no lock is needed. What a CPU remembers
//! under a tag that is not loaded is nobody's concern: flushers leave the CPU alone, as if it had forgotten all, and it
//! looks at the generation before it loads the tag again.
//!
//! Two ways to hand tags out, see [`Tagging`]. Slots are few, belong to an address space until another one needs them, and
//! can be emptied one at a time. Numbers are many and never emptied: an address space that is to forget everything takes a
//! new one, and when they run out the whole TLB is emptied and a new round begins.

use crate::{
    addr::SpaceId,
    fix::Fix,
    machine::{Invalidate, Machine},
    policy::Policy,
    word::Own,
};

/// A tag, as hardware knows it: a PCID, an ASID, an ASN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub u16);

/// How a machine's tags are handed out. The machine chooses, see [`Machine::tagging`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tagging {
    /// There are none: to load a root is to forget everything.
    Untagged,
    /// A few slots on each CPU, [`Policy::TAG_SLOTS`], numbered from 0 (x86 with PCID, as Linux uses it).
    Slots,
    /// Numbers from 1 to [`Policy::LAST_TAG`] on each CPU, used once each in a round (Alpha's ASNs). The kernel places a
    /// [`Context`] for each address space on each CPU.
    Numbered,
}

/// The most slots there can be (`TLB_NR_DYN_ASIDS`).
pub const MAX_SLOTS: usize = 6;

/// Bits of a number that are the tag; those above count rounds.
const TAG_BITS: u32 = 16;

/// The tag of one address space on one CPU, where tags are numbered. The kernel places it, see [`Machine::context`].
pub struct Context<M: Machine> {
    // A round and a tag in it; 0 for none. The CPU's, with interrupts masked.
    number: Own<M>,
    // The generation that what is remembered under it is not older than.
    seen: Own<M>,
}

impl<M: Machine> Default for Context<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> Context<M> {
    /// Makes the place of an address space that has no tag.
    pub const fn new() -> Self {
        Context { number: Own::ZERO, seen: Own::ZERO }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.number.visit("context.number", visitor);
        self.seen.visit("context.seen", visitor);
    }
}

/// A slot of this CPU.
struct Slot<M: Machine> {
    // The id of the address space it belongs to, plus one; 0 for none.
    owner: Own<M>,
    seen: Own<M>,
}

/// The tags of one CPU. All of it is this CPU's, with interrupts masked.
pub(crate) struct Tags<M: Machine> {
    slots: [Slot<M>; MAX_SLOTS],
    // The slot that is taken next.
    next_slot: Own<M>,
    // The number that was given last.
    last_number: Own<M>,
    // Where the loaded address space's `seen` is: the slot in use.
    slot: Own<M>,
    // `seen` where there are no tags.
    seen: Own<M>,
}

/// A tag to load.
pub(crate) struct Chosen {
    pub(crate) tag: Tag,
    /// What is remembered under it may be used.
    pub(crate) keeps: bool,
}

impl<M: Machine> Tags<M> {
    pub(crate) const fn new() -> Self {
        Tags {
            slots: [const { Slot { owner: Own::ZERO, seen: Own::ZERO } }; MAX_SLOTS],
            next_slot: Own::ZERO,
            last_number: Own::ZERO,
            slot: Own::ZERO,
            seen: Own::ZERO,
        }
    }

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        for slot in self.slots() {
            slot.owner.visit("tag.owner", visitor);
            slot.seen.visit("tag.seen", visitor);
        }
        self.next_slot.visit("tag.next_slot", visitor);
        self.last_number.visit("tag.last_number", visitor);
        self.slot.visit("tag.slot", visitor);
        self.seen.visit("cpu.seen", visitor);
    }

    fn slots(&self) -> &[Slot<M>] {
        const { assert!(M::Policy::TAG_SLOTS >= 1 && M::Policy::TAG_SLOTS <= MAX_SLOTS) };
        &self.slots[..M::Policy::TAG_SLOTS]
    }

    /// The word that says which generation of `space`, which is loaded, this CPU has seen.
    #[inline]
    pub(crate) fn seen<'t>(&'t self, m: &'t M, space: SpaceId) -> &'t Own<M> {
        match m.tagging() {
            Tagging::Untagged => &self.seen,
            Tagging::Slots => &self.slots[self.slot.get(m) as usize].seen,
            Tagging::Numbered => &context(m, space).seen,
        }
    }

    /// Chooses a tag for `space`, which is at `generation`, and is about to be loaded.
    pub(crate) fn choose(&self, m: &M, space: SpaceId, generation: u64) -> Chosen {
        match m.tagging() {
            Tagging::Untagged => Chosen { tag: Tag(0), keeps: false },
            Tagging::Slots => self.choose_slot(m, space, generation),
            Tagging::Numbered => self.choose_number(m, space, generation),
        }
    }

    fn choose_slot(&self, m: &M, space: SpaceId, generation: u64) -> Chosen {
        let owner = u64::from(space.0) + 1;
        let own = self.slots().iter().position(|slot| slot.owner.get(m) == owner);
        let (index, keeps) = match own {
            Some(index) => (index, is_up_to_date(m, self.slots[index].seen.get(m), generation)),
            None => (self.take_slot(m, owner), false),
        };
        self.slot.set(m, index as u64);
        Chosen { tag: Tag(index as u16), keeps }
    }

    fn take_slot(&self, m: &M, owner: u64) -> usize {
        let index = self.next_slot.get(m) as usize;
        self.next_slot.set(m, ((index + 1) % self.slots().len()) as u64);
        self.slots[index].owner.set(m, owner);
        index
    }

    fn choose_number(&self, m: &M, space: SpaceId, generation: u64) -> Chosen {
        let context = context(m, space);
        let number = context.number.get(m);
        let is_of_this_round =
            number >> TAG_BITS == self.last_number.get(m) >> TAG_BITS || !m.keeps(Fix::CheckTagRound);
        if number != 0 && is_of_this_round && is_up_to_date(m, context.seen.get(m), generation) {
            return Chosen { tag: tag_of(number), keeps: true };
        }
        self.renumber(m, space)
    }

    /// Gives `space` a number that nothing is remembered under.
    fn renumber(&self, m: &M, space: SpaceId) -> Chosen {
        let number = self.next_number(m);
        context(m, space).number.set(m, number);
        Chosen { tag: tag_of(number), keeps: true }
    }

    fn next_number(&self, m: &M) -> u64 {
        // The one after the last must be told from it.
        const { assert!(M::Policy::LAST_TAG >= 1 && M::Policy::LAST_TAG < u16::MAX) };
        let mut number = self.last_number.get(m) + 1;
        if tag_of(number).0 > M::Policy::LAST_TAG {
            // A new round: whatever is remembered under the old numbers, they are about to be given away. Also what this
            // CPU would remember from now on under the number that it still runs under.
            if m.keeps(Fix::LeaveBeforeRollOver) {
                m.load_root(None);
            }
            if m.keeps(Fix::DropAllAtRollOver) {
                m.invalidate(Invalidate::EveryTag);
                m.complete();
            }
            number = ((number >> TAG_BITS) + 1) << TAG_BITS | 1;
        }
        self.last_number.set(m, number);
        number
    }

    /// Forgets everything of `space`, which is loaded; a tag to load in its place, if that is how it is done.
    pub(crate) fn drop_all(&self, m: &M, space: SpaceId) -> Option<Chosen> {
        if m.tagging() == Tagging::Numbered {
            return Some(self.renumber(m, space));
        }
        m.invalidate(Invalidate::All);
        m.complete();
        None
    }

    /// Makes every address space but the loaded one take a new tag: something that they share has changed.
    pub(crate) fn forget_others(&self, m: &M, has_loaded: bool) {
        if m.tagging() != Tagging::Slots || !m.keeps(Fix::ForgetOtherTags) {
            return;
        }
        let in_use = has_loaded.then(|| self.slot.get(m) as usize);
        for (index, slot) in self.slots().iter().enumerate() {
            if Some(index) != in_use {
                slot.owner.set(m, 0);
            }
        }
    }

    /// Forgets which tags were given, on a CPU whose TLB is, or is about to be, empty.
    pub(crate) fn reset(&self, m: &M) {
        for slot in self.slots() {
            slot.owner.set(m, 0);
        }
        // A new round, so that no context's number is of it.
        self.last_number.set(m, ((self.last_number.get(m) >> TAG_BITS) + 1) << TAG_BITS);
    }
}

fn context<M: Machine>(m: &M, space: SpaceId) -> &Context<M> {
    m.context(space, m.cpu()).expect("a machine with numbered tags has a place for each address space's on each CPU")
}

fn is_up_to_date<M: Machine>(m: &M, seen: u64, generation: u64) -> bool {
    // Flushers left this CPU alone while the tag was not loaded.
    seen >= generation || !m.keeps(Fix::CatchUp)
}

const fn tag_of(number: u64) -> Tag {
    Tag(number as u16)
}
