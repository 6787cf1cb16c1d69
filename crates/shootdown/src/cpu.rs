//! CPU numbers and sets of CPUs, by value and in machine words. A set may be larger than one word.

use core::{fmt, marker::PhantomData, sync::atomic::Ordering};

use crate::{
    machine::{Machine, Modify},
    word::{Shared, Word},
};

/// A CPU's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u16);

/// How many CPUs a machine can have, and how they are packed into words.
///
/// [`UpTo`] implements it; a kernel picks the number of words.
pub trait CpuGeometry: Copy + fmt::Debug + Send + Sync + 'static {
    /// Words in a set; at most [`CpuGeometry::CPUS_PER_WORD`], so that one more word can say which of them are used.
    const WORDS: usize;
    /// CPUs that share a word: 64 on real machines; fewer in the explorer, so that sets of two words are explored too.
    const CPUS_PER_WORD: usize;
    /// CPUs there can be.
    const CPUS: usize = Self::WORDS * Self::CPUS_PER_WORD;
    /// The set by value.
    type Bits: Copy + fmt::Debug + PartialEq + Eq + core::hash::Hash + Send + Sync + AsRef<[u64]> + AsMut<[u64]>;
    /// The empty set.
    const EMPTY: Self::Bits;
    /// The set in machine words.
    type Words<W: Word>: ZeroedWords<W>;
}

/// An array of words, all born zero.
pub trait ZeroedWords<W>: AsRef<[W]> + Sync + 'static {
    /// The array at birth.
    const ZERO: Self;
}

impl<W: Word, const N: usize> ZeroedWords<W> for [W; N] {
    const ZERO: Self = [const { W::ZERO }; N];
}

/// Room for `WORDS` × `CPUS_PER_WORD` CPUs: `UpTo<16>` is 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpTo<const WORDS: usize, const CPUS_PER_WORD: usize = 64>;

impl<const WORDS: usize, const CPUS_PER_WORD: usize> CpuGeometry for UpTo<WORDS, CPUS_PER_WORD> {
    const WORDS: usize = WORDS;
    const CPUS_PER_WORD: usize = {
        assert!(CPUS_PER_WORD >= 1 && CPUS_PER_WORD <= 64, "a word has 64 bits");
        assert!(WORDS >= 1 && WORDS <= CPUS_PER_WORD, "one summary word must have a bit for each word");
        CPUS_PER_WORD
    };
    type Bits = [u64; WORDS];
    const EMPTY: [u64; WORDS] = [0; WORDS];
    type Words<W: Word> = [W; WORDS];
}

/// Returns the word of a set that `cpu` lies in, and its bit there.
///
/// # Panics
/// If the machine's geometry has no such CPU: a set that forgot it would let that CPU keep stale translations.
#[inline]
#[track_caller]
pub(crate) fn position<G: CpuGeometry>(cpu: CpuId) -> (usize, u64) {
    let number = usize::from(cpu.0);
    assert!(number < G::CPUS, "no such CPU in this geometry");
    (number / G::CPUS_PER_WORD, 1 << (number % G::CPUS_PER_WORD))
}

/// Iterates over the set bits of one word, lowest first.
#[derive(Clone, Debug)]
pub(crate) struct Bits(pub(crate) u64);

impl Iterator for Bits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let lowest = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(lowest)
    }
}

/// A set of CPUs, by value.
///
/// ```
/// use shootdown::{CpuId, CpuSet, UpTo};
/// let mut set = CpuSet::<UpTo<16>>::EMPTY;
/// set.insert(CpuId(3));
/// set.insert(CpuId(1023));
/// set.remove(CpuId(3));
/// assert_eq!(set.iter().collect::<Vec<_>>(), [CpuId(1023)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CpuSet<G: CpuGeometry>(G::Bits);

impl<G: CpuGeometry> Default for CpuSet<G> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<G: CpuGeometry> CpuSet<G> {
    /// The set without a CPU.
    pub const EMPTY: Self = CpuSet(G::EMPTY);

    /// Makes the set of one CPU.
    ///
    /// # Panics
    /// If the geometry has no such CPU.
    #[inline]
    #[must_use]
    pub fn only(cpu: CpuId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(cpu);
        set
    }

    /// Puts `cpu` in.
    ///
    /// # Panics
    /// If the geometry has no such CPU.
    #[inline]
    pub fn insert(&mut self, cpu: CpuId) {
        let (word, bit) = position::<G>(cpu);
        if let Some(word) = self.0.as_mut().get_mut(word) {
            *word |= bit;
        }
    }

    /// Takes `cpu` out.
    ///
    /// # Panics
    /// If the geometry has no such CPU.
    #[inline]
    pub fn remove(&mut self, cpu: CpuId) {
        let (word, bit) = position::<G>(cpu);
        if let Some(word) = self.0.as_mut().get_mut(word) {
            *word &= !bit;
        }
    }

    /// Tells whether `cpu` is in.
    ///
    /// # Panics
    /// If the geometry has no such CPU.
    #[inline]
    #[must_use]
    pub fn contains(&self, cpu: CpuId) -> bool {
        let (word, bit) = position::<G>(cpu);
        self.0.as_ref().get(word).is_some_and(|word| word & bit != 0)
    }

    /// Tells whether no CPU is in.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().iter().all(|word| *word == 0)
    }

    pub(crate) const fn from_bits(bits: G::Bits) -> Self {
        CpuSet(bits)
    }

    /// Returns the CPUs that are not in `other`.
    #[inline]
    #[must_use]
    pub fn without(mut self, other: &Self) -> Self {
        for (word, taken) in self.0.as_mut().iter_mut().zip(other.0.as_ref()) {
            *word &= !taken;
        }
        self
    }

    /// Returns the number of CPUs in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns the CPUs, lowest first.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        let words = self.0.as_ref();
        Cpus::<'_, G> { words, word: 0, bits: Bits(words.first().copied().unwrap_or_default()), geometry: PhantomData }
    }
}

/// The CPUs of a set, lowest first. By hand, so that of a set in one word nothing is left but a loop over its bits.
struct Cpus<'s, G> {
    words: &'s [u64],
    // Which of them is under way, and what is left of it.
    word: usize,
    bits: Bits,
    geometry: PhantomData<G>,
}

impl<G: CpuGeometry> Iterator for Cpus<'_, G> {
    type Item = CpuId;

    #[inline]
    fn next(&mut self) -> Option<CpuId> {
        loop {
            if let Some(bit) = self.bits.next() {
                return Some(CpuId((self.word * G::CPUS_PER_WORD + bit) as u16));
            }
            if G::WORDS == 1 {
                return None;
            }
            self.word += 1;
            self.bits = Bits(*self.words.get(self.word)?);
        }
    }
}

impl<G: CpuGeometry> FromIterator<CpuId> for CpuSet<G> {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        let mut set = Self::EMPTY;
        for cpu in cpus {
            set.insert(cpu);
        }
        set
    }
}

/// A set of CPUs in machine words, changed by any CPU at any time.
pub(crate) struct CpuMask<M: Machine> {
    words: <M::Cpus as CpuGeometry>::Words<Shared<M>>,
}

impl<M: Machine> CpuMask<M> {
    pub(crate) const fn new() -> Self {
        CpuMask { words: <<M::Cpus as CpuGeometry>::Words<Shared<M>> as ZeroedWords<Shared<M>>>::ZERO }
    }

    #[inline]
    fn at(&self, cpu: CpuId) -> (&Shared<M>, u64) {
        let (word, bit) = position::<M::Cpus>(cpu);
        (self.word(word), bit)
    }

    /// The word that holds the CPUs from `word × CPUS_PER_WORD` on.
    #[inline]
    pub(crate) fn word(&self, word: usize) -> &Shared<M> {
        &self.words.as_ref()[word]
    }

    /// Sets the bit and returns the whole word as it was.
    #[inline]
    #[track_caller]
    pub(crate) fn insert(&self, m: &M, cpu: CpuId, order: Ordering) -> u64 {
        let (word, bit) = self.at(cpu);
        word.modify(m, Modify::Or(bit), order)
    }

    /// Sets the bit; what was there before does not matter to the caller.
    #[inline]
    #[track_caller]
    pub(crate) fn add(&self, m: &M, cpu: CpuId, order: Ordering) {
        let (word, bit) = self.at(cpu);
        word.update(m, Modify::Or(bit), order);
    }

    #[inline]
    #[track_caller]
    pub(crate) fn remove(&self, m: &M, cpu: CpuId, order: Ordering) {
        let (word, bit) = self.at(cpu);
        word.update(m, Modify::And(!bit), order);
    }

    /// Clears the bit and tells whether it was set.
    #[inline]
    #[track_caller]
    pub(crate) fn take(&self, m: &M, cpu: CpuId, order: Ordering) -> bool {
        let (word, bit) = self.at(cpu);
        word.modify(m, Modify::And(!bit), order) & bit != 0
    }

    /// Reads the set, a word at a time. Sets that change meanwhile are seen in some mixture.
    #[inline]
    #[track_caller]
    pub(crate) fn load(&self, m: &M, order: Ordering) -> CpuSet<M::Cpus> {
        let mut bits = M::Cpus::EMPTY;
        for (bits, word) in bits.as_mut().iter_mut().zip(self.words.as_ref()) {
            *bits = word.load(m, order);
        }
        CpuSet(bits)
    }

    pub(crate) fn visit(&self, name: &'static str, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        for word in self.words.as_ref() {
            word.visit(name, visitor);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn a_set_holds_a_thousand_cpus() {
        let mut set = CpuSet::<UpTo<16>>::EMPTY;
        for number in (0..1024).step_by(31) {
            set.insert(CpuId(number));
        }
        assert_eq!(set.len(), 34);
        assert!(set.contains(CpuId(31 * 33)));
        assert!(!set.contains(CpuId(1)));
        assert!(set.iter().map(|cpu| cpu.0).eq((0..1024).step_by(31)));
    }

    #[test]
    fn a_difference_keeps_what_only_the_first_has() {
        let set = |cpus: &[u16]| cpus.iter().map(|cpu| CpuId(*cpu)).collect::<CpuSet<UpTo<2>>>();
        assert_eq!(set(&[1, 64, 100]).without(&set(&[2, 64])), set(&[1, 100]));
    }

    #[test]
    fn two_cpus_a_word_are_packed_as_many_words() {
        let set: CpuSet<UpTo<2, 2>> = [CpuId(1), CpuId(2)].into_iter().collect();
        assert_eq!(set.0, [0b10, 0b01]);
    }

    #[test]
    #[should_panic(expected = "no such CPU")]
    fn a_cpu_beyond_the_geometry_is_refused() {
        let mut set = CpuSet::<UpTo<1>>::EMPTY;
        set.insert(CpuId(64));
    }
}
