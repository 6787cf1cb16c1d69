//! Races on owned words: two actors use one, at least one of them writes, and nothing that the library asked for orders
//! their uses.
//!
//! The explorer takes accesses to owned words for private, which is sound only without races. The live driver therefore
//! keeps a vector clock for each actor and each shared word. An actor is a CPU's main code or its interrupt handlers,
//! so a missing interrupt mask shows as well. Ordered by:
//!
//! * releases and acquires, counting only the memory orders that were *asked for*: a missing one shows although the
//!   simulated memory is stronger;
//! * masking: what main code did before it unmasked interrupts comes before the next handler on its CPU, and what a
//!   handler did comes before whatever main code does after it has masked interrupts again;
//! * the allocator, which has a lock: what was done before a frame was given back comes before what is done after one is
//!   taken. That is lax where it is another frame.
//!
//! A kick and the interrupt it raises order nothing: on weakly ordered machines they do not. All this sees the races of
//! the runs it sees; it is no proof.

use std::{
    fmt,
    sync::atomic::Ordering::{self, *},
};

use rustc_hash::FxHashMap;
use shootdown::CpuId;
use shootdown_sim::smp::{Location, MAX_CPUS, Operation, WordId};

use crate::places::PLACES;

/// Two uses of an owned word that nothing orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Race {
    /// The word's name.
    pub word: String,
    /// Who used it before.
    pub first: Actor,
    /// Who uses it now.
    pub second: Actor,
}

/// One that acts by itself, as far as owned words go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The main code of a CPU.
    Main(CpuId),
    /// The interrupt handlers of a CPU.
    Handler(CpuId),
}

const ACTORS: usize = 2 * MAX_CPUS;

impl Actor {
    pub(crate) fn new(cpu: CpuId, depth: usize) -> Self {
        if depth == 0 { Actor::Main(cpu) } else { Actor::Handler(cpu) }
    }

    const fn index(self) -> usize {
        match self {
            Actor::Main(cpu) => 2 * cpu.0 as usize,
            Actor::Handler(cpu) => 2 * cpu.0 as usize + 1,
        }
    }

    const fn from_index(index: usize) -> Self {
        let cpu = CpuId(index as u16 / 2);
        if index.is_multiple_of(2) { Actor::Main(cpu) } else { Actor::Handler(cpu) }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Main(cpu) => write!(f, "CPU {}", cpu.0),
            Actor::Handler(cpu) => write!(f, "the handler of CPU {}", cpu.0),
        }
    }
}

impl fmt::Display for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {} race on {}", self.first, self.second, self.word)
    }
}

/// How far each actor had come, as far as somebody can know.
#[derive(Clone, Copy, Debug, Default)]
struct Clock([u32; ACTORS]);

impl Clock {
    fn join(&mut self, other: &Clock) {
        for (here, there) in self.0.iter_mut().zip(other.0) {
            *here = there.max(*here);
        }
    }

    /// The first actor of which `other` knows less.
    fn first_beyond(&self, other: &Clock) -> Option<Actor> {
        self.0.iter().zip(other.0).position(|(here, there)| *here > there).map(Actor::from_index)
    }
}

/// What an actor knows.
#[derive(Clone, Copy, Debug, Default)]
struct Knowledge {
    /// What its next access comes after.
    now: Clock,
    /// What an acquire fence would add: what its relaxed loads have read from.
    unacquired: Clock,
    /// What its relaxed stores release: what it knew at its last release fence.
    fenced: Clock,
}

/// The uses of one owned word.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    reads: Clock,
    writes: Clock,
}

/// Listens to one run.
pub(crate) struct Races {
    actors: [Knowledge; ACTORS],
    /// What an acquiring load of the place would learn.
    released: FxHashMap<Location, Clock>,
    /// For each CPU, what a handler knows of the main code below it, and main code that masks interrupts of the
    /// handlers.
    handed_over: [Clock; MAX_CPUS],
    /// What an allocation learns: what those knew who gave frames back.
    allocator: Clock,
    owned: FxHashMap<WordId, Uses>,
}

impl Races {
    /// Nothing has happened yet: the setup comes before everything.
    pub(crate) fn new() -> Self {
        let mut actors = [Knowledge::default(); ACTORS];
        for (index, knowledge) in actors.iter_mut().enumerate() {
            // An actor's own time begins at 1, so that nobody knows of its first accesses by default.
            knowledge.now.0[index] = 1;
        }
        Races {
            actors,
            released: FxHashMap::default(),
            handed_over: [Clock::default(); MAX_CPUS],
            allocator: Clock::default(),
            owned: FxHashMap::default(),
        }
    }

    /// Hears that a handler begins on `cpu`.
    pub(crate) fn hear_interrupt(&mut self, cpu: CpuId) {
        self.take_over(Actor::Handler(cpu), cpu);
    }

    /// Hears that `actor` performs `operation`.
    pub(crate) fn hear(&mut self, actor: Actor, operation: Operation) -> Result<(), Race> {
        match operation {
            Operation::Load(at, order) => self.load(actor, at, order),
            Operation::Store(at, _, order) => {
                self.released.remove(&at);
                self.publish(actor, at, order);
            }
            // Also one that changes nothing, which would release nothing on real machines: an error on the lax side.
            Operation::Modify(at, _, order) | Operation::Update(at, _, order) => {
                self.load(actor, at, order);
                self.publish(actor, at, order);
            }
            Operation::Fence(order) => self.fence(actor, order),
            Operation::OwnGet(word) => self.read(actor, word)?,
            Operation::OwnSet(word, _) => self.write(actor, word)?,
            Operation::FreeTable(_) | Operation::FreeFrame(..) => {
                self.allocator.join(&self.actors[actor.index()].now);
                self.pass_time(actor);
            }
            Operation::AllocTable | Operation::AllocFrame(_) => {
                self.actors[actor.index()].now.join(&self.allocator);
            }
            _ => self.hear_of_masks(actor, operation),
        }
        Ok(())
    }

    fn hear_of_masks(&mut self, actor: Actor, operation: Operation) {
        match (actor, operation) {
            (Actor::Main(cpu), Operation::Mask) => self.take_over(actor, cpu),
            (Actor::Main(cpu), Operation::Restore(0)) => self.hand_over(actor, cpu),
            (Actor::Handler(cpu), Operation::ReturnFromInterrupt) => self.hand_over(actor, cpu),
            _ => {}
        }
    }

    fn take_over(&mut self, actor: Actor, cpu: CpuId) {
        self.actors[actor.index()].now.join(&self.handed_over[usize::from(cpu.0)]);
    }

    fn hand_over(&mut self, actor: Actor, cpu: CpuId) {
        self.handed_over[usize::from(cpu.0)].join(&self.actors[actor.index()].now);
        self.pass_time(actor);
    }

    /// What `actor` does from now on is not known to whoever knows it as it was.
    fn pass_time(&mut self, actor: Actor) {
        self.actors[actor.index()].now.0[actor.index()] += 1;
    }

    fn load(&mut self, actor: Actor, at: Location, order: Ordering) {
        let Some(released) = self.released.get(&at) else {
            return;
        };
        let here = &mut self.actors[actor.index()];
        here.unacquired.join(released);
        if acquires(order) {
            here.now.join(released);
        }
    }

    fn publish(&mut self, actor: Actor, at: Location, order: Ordering) {
        let here = &self.actors[actor.index()];
        let known = if releases(order) { here.now } else { here.fenced };
        self.released.entry(at).or_default().join(&known);
        self.pass_time(actor);
    }

    fn fence(&mut self, actor: Actor, order: Ordering) {
        let here = &mut self.actors[actor.index()];
        if acquires(order) {
            here.now.join(&here.unacquired);
        }
        if releases(order) {
            here.fenced = here.now;
            self.pass_time(actor);
        }
    }

    fn read(&mut self, actor: Actor, word: WordId) -> Result<(), Race> {
        let now = &self.actors[actor.index()].now;
        let uses = self.owned.entry(word).or_default();
        if let Some(first) = uses.writes.first_beyond(now) {
            return Err(race(word, first, actor));
        }
        uses.reads.0[actor.index()] = now.0[actor.index()];
        Ok(())
    }

    fn write(&mut self, actor: Actor, word: WordId) -> Result<(), Race> {
        let now = &self.actors[actor.index()].now;
        let uses = self.owned.entry(word).or_default();
        if let Some(first) = uses.writes.first_beyond(now).or_else(|| uses.reads.first_beyond(now)) {
            return Err(race(word, first, actor));
        }
        uses.writes.0[actor.index()] = now.0[actor.index()];
        Ok(())
    }
}

fn race(word: WordId, first: Actor, second: Actor) -> Race {
    Race { word: PLACES.name(word).to_owned(), first, second }
}

pub(crate) fn acquires(order: Ordering) -> bool {
    matches!(order, Acquire | AcqRel | SeqCst)
}

pub(crate) fn releases(order: Ordering) -> bool {
    matches!(order, Release | AcqRel | SeqCst)
}

#[cfg(test)]
mod tests {
    use shootdown::Modify;

    use super::*;

    const FLAG: Location = Location::Word(WordId(0));
    const OWNED: WordId = WordId(1);
    const GIVER: Actor = Actor::Main(CpuId(0));
    const TAKER: Actor = Actor::Main(CpuId(1));
    const HANDLER: Actor = Actor::Handler(CpuId(0));

    fn hear_all(operations: &[(Actor, Operation)]) -> Result<(), Race> {
        let mut races = Races::new();
        operations.iter().try_for_each(|(actor, operation)| races.hear(*actor, *operation))
    }

    fn hand_over(give: Ordering, take: Ordering) -> Result<(), Race> {
        hear_all(&[
            (GIVER, Operation::OwnSet(OWNED, 1)),
            (GIVER, Operation::Store(FLAG, 1, give)),
            (TAKER, Operation::Load(FLAG, take)),
            (TAKER, Operation::OwnGet(OWNED)),
        ])
    }

    #[test]
    fn only_a_release_and_an_acquire_hand_a_word_over() {
        assert_eq!(hand_over(Release, Acquire), Ok(()));
        assert_eq!(hand_over(SeqCst, SeqCst), Ok(()));
        assert!(hand_over(Relaxed, Acquire).is_err());
        assert!(hand_over(Release, Relaxed).is_err());
    }

    #[test]
    fn fences_make_relaxed_accesses_hand_over() {
        let relaxed = |before, after| {
            hear_all(&[
                (GIVER, Operation::OwnSet(OWNED, 1)),
                (GIVER, Operation::Fence(before)),
                (GIVER, Operation::Store(FLAG, 1, Relaxed)),
                (TAKER, Operation::Load(FLAG, Relaxed)),
                (TAKER, Operation::Fence(after)),
                (TAKER, Operation::OwnGet(OWNED)),
            ])
        };
        assert_eq!(relaxed(Release, Acquire), Ok(()));
        assert!(relaxed(Acquire, Acquire).is_err());
        assert!(relaxed(Release, Release).is_err());
    }

    #[test]
    fn a_change_by_another_cpu_keeps_what_was_released() {
        let result = hear_all(&[
            (GIVER, Operation::OwnSet(OWNED, 1)),
            (GIVER, Operation::Store(FLAG, 1, Release)),
            (Actor::Main(CpuId(2)), Operation::Update(FLAG, Modify::Or(2), Relaxed)),
            (TAKER, Operation::Load(FLAG, Acquire)),
            (TAKER, Operation::OwnSet(OWNED, 2)),
        ]);
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn who_takes_a_frame_comes_after_whoever_gave_one_back() {
        let table = shootdown::TableFrame(shootdown::Pfn(3));
        let used = |gives_back| {
            let give = if gives_back { Operation::FreeTable(table) } else { Operation::Complete };
            hear_all(&[
                (GIVER, Operation::OwnSet(OWNED, 1)),
                (GIVER, give),
                (TAKER, Operation::AllocTable),
                (TAKER, Operation::OwnSet(OWNED, 2)),
            ])
        };
        assert_eq!(used(true), Ok(()));
        assert!(used(false).is_err());
    }

    #[test]
    fn a_write_after_an_unordered_read_is_a_race() {
        assert!(hear_all(&[(GIVER, Operation::OwnGet(OWNED)), (TAKER, Operation::OwnSet(OWNED, 1))]).is_err());
        assert_eq!(hear_all(&[(GIVER, Operation::OwnGet(OWNED)), (TAKER, Operation::OwnGet(OWNED))]), Ok(()));
    }

    #[test]
    fn a_word_that_handlers_use_is_used_with_interrupts_masked() {
        let used = |was_masked: bool| {
            let mut races = Races::new();
            let main: &[Operation] = match was_masked {
                true => &[Operation::Mask, Operation::OwnSet(OWNED, 1), Operation::Restore(0)],
                false => &[Operation::OwnSet(OWNED, 1)],
            };
            main.iter().try_for_each(|operation| races.hear(GIVER, *operation))?;
            races.hear_interrupt(CpuId(0));
            races.hear(HANDLER, Operation::OwnSet(OWNED, 2))?;
            races.hear(HANDLER, Operation::ReturnFromInterrupt)?;
            main.iter().try_for_each(|operation| races.hear(GIVER, *operation))
        };
        assert_eq!(used(true), Ok(()));
        assert!(used(false).is_err());
    }
}
