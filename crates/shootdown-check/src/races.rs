//! Races on owned words: two CPUs use one, at least one writes, and no release and acquire lies in between.
//!
//! The explorer takes accesses to owned words for private, which is sound only without races. The live driver therefore
//! keeps a vector clock for each CPU and each shared word and counts only what the *asked-for* memory orders promise, so a
//! missing acquire or release shows although the simulated memory is sequentially consistent. A kick and its interrupt
//! order nothing: on weakly ordered machines they do not.
//!
//! It sees the races of the runs it sees; it is no proof.

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
    /// The CPU that used it before.
    pub first: CpuId,
    /// The CPU that uses it now.
    pub second: CpuId,
}

impl fmt::Display for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {} and CPU {} race on {}", self.first.0, self.second.0, self.word)
    }
}

/// How far each CPU had come, as far as somebody can know.
#[derive(Clone, Copy, Debug, Default)]
struct Clock([u32; MAX_CPUS]);

impl Clock {
    fn join(&mut self, other: &Clock) {
        for (here, there) in self.0.iter_mut().zip(other.0) {
            *here = there.max(*here);
        }
    }

    /// The first CPU of which `other` knows more.
    fn first_beyond(&self, other: &Clock) -> Option<CpuId> {
        (0..).zip(self.0.iter().zip(other.0)).find(|(_, (here, there))| **here > *there).map(|(cpu, _)| CpuId(cpu))
    }
}

/// What a CPU knows.
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

/// Listens to the operations of one run.
pub(crate) struct Races {
    cpus: [Knowledge; MAX_CPUS],
    /// What an acquiring load of the place would learn.
    released: FxHashMap<Location, Clock>,
    owned: FxHashMap<WordId, Uses>,
}

impl Races {
    /// Nothing has happened yet: the setup comes before everything.
    pub(crate) fn new() -> Self {
        let mut cpus = [Knowledge::default(); MAX_CPUS];
        for (cpu, knowledge) in cpus.iter_mut().enumerate() {
            // A CPU's own time begins at 1, so that nobody knows of its first accesses by default.
            knowledge.now.0[cpu] = 1;
        }
        Races { cpus, released: FxHashMap::default(), owned: FxHashMap::default() }
    }

    /// Hears that `cpu` performs `operation`.
    pub(crate) fn hear(&mut self, cpu: CpuId, operation: Operation) -> Result<(), Race> {
        match operation {
            Operation::Load(at, order) => self.load(cpu, at, order),
            Operation::Store(at, _, order) => {
                self.released.remove(&at);
                self.publish(cpu, at, order);
            }
            // Also one that changes nothing, which would release nothing on real machines: an error on the lax side.
            Operation::Modify(at, _, order) | Operation::Update(at, _, order) => {
                self.load(cpu, at, order);
                self.publish(cpu, at, order);
            }
            Operation::Fence(order) => self.fence(cpu, order),
            Operation::OwnGet(word) => self.read(cpu, word)?,
            Operation::OwnSet(word, _) => self.write(cpu, word)?,
            _ => {}
        }
        Ok(())
    }

    fn knowledge(&mut self, cpu: CpuId) -> &mut Knowledge {
        &mut self.cpus[usize::from(cpu.0)]
    }

    fn load(&mut self, cpu: CpuId, at: Location, order: Ordering) {
        let Some(released) = self.released.get(&at).copied() else {
            return;
        };
        let here = self.knowledge(cpu);
        here.unacquired.join(&released);
        if acquires(order) {
            here.now.join(&released);
        }
    }

    fn publish(&mut self, cpu: CpuId, at: Location, order: Ordering) {
        let here = self.knowledge(cpu);
        let known = if releases(order) { here.now } else { here.fenced };
        here.now.0[usize::from(cpu.0)] += 1;
        self.released.entry(at).or_default().join(&known);
    }

    fn fence(&mut self, cpu: CpuId, order: Ordering) {
        let here = self.knowledge(cpu);
        if acquires(order) {
            let unacquired = here.unacquired;
            here.now.join(&unacquired);
        }
        if releases(order) {
            here.fenced = here.now;
            here.now.0[usize::from(cpu.0)] += 1;
        }
    }

    fn read(&mut self, cpu: CpuId, word: WordId) -> Result<(), Race> {
        let now = self.knowledge(cpu).now;
        let uses = self.owned.entry(word).or_default();
        if let Some(first) = uses.writes.first_beyond(&now) {
            return Err(race(word, first, cpu));
        }
        uses.reads.0[usize::from(cpu.0)] = now.0[usize::from(cpu.0)];
        Ok(())
    }

    fn write(&mut self, cpu: CpuId, word: WordId) -> Result<(), Race> {
        let now = self.knowledge(cpu).now;
        let uses = self.owned.entry(word).or_default();
        if let Some(first) = uses.writes.first_beyond(&now).or_else(|| uses.reads.first_beyond(&now)) {
            return Err(race(word, first, cpu));
        }
        uses.writes.0[usize::from(cpu.0)] = now.0[usize::from(cpu.0)];
        Ok(())
    }
}

fn race(word: WordId, first: CpuId, second: CpuId) -> Race {
    Race { word: PLACES.name(word).to_owned(), first, second }
}

fn acquires(order: Ordering) -> bool {
    matches!(order, Acquire | AcqRel | SeqCst)
}

fn releases(order: Ordering) -> bool {
    matches!(order, Release | AcqRel | SeqCst)
}

#[cfg(test)]
mod tests {
    use shootdown::Modify;

    use super::*;

    const FLAG: Location = Location::Word(WordId(0));
    const OWNED: WordId = WordId(1);
    const GIVER: CpuId = CpuId(0);
    const TAKER: CpuId = CpuId(1);

    fn hear_all(operations: &[(CpuId, Operation)]) -> Result<(), Race> {
        let mut races = Races::new();
        operations.iter().try_for_each(|(cpu, operation)| races.hear(*cpu, *operation))
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
            (CpuId(2), Operation::Update(FLAG, Modify::Or(2), Relaxed)),
            (TAKER, Operation::Load(FLAG, Acquire)),
            (TAKER, Operation::OwnSet(OWNED, 2)),
        ]);
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn a_write_after_an_unordered_read_is_a_race() {
        assert!(hear_all(&[(GIVER, Operation::OwnGet(OWNED)), (TAKER, Operation::OwnSet(OWNED, 1))]).is_err());
        assert_eq!(hear_all(&[(GIVER, Operation::OwnGet(OWNED)), (TAKER, Operation::OwnGet(OWNED))]), Ok(()));
    }
}
