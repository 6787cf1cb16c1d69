//! How the explorer's sets of CPUs are packed into words.
//!
//! Few CPUs share a word of requests. With many there is a summary over several words, which the feature `many-words`
//! explores: two CPUs to a word, so that three need more than one.

#[cfg(not(feature = "many-words"))]
pub use few::Cpus;
#[cfg(feature = "many-words")]
pub use many::Cpus;

#[cfg(not(feature = "many-words"))]
mod few {
    use shootdown::UpTo;
    use shootdown_sim::smp::MAX_CPUS;

    /// All CPUs in one word.
    pub type Cpus = UpTo<1, MAX_CPUS>;
}

#[cfg(feature = "many-words")]
mod many {
    use shootdown::{CpuGeometry, Word};
    use shootdown_sim::smp::MAX_CPUS;

    const WORDS: usize = MAX_CPUS / 2;

    /// Two CPUs to a word. Not `UpTo`, which wants a summary to be no larger than another word; here it has more bits.
    #[derive(Clone, Copy, Debug)]
    pub struct Cpus;

    impl CpuGeometry for Cpus {
        const WORDS: usize = WORDS;
        const CPUS_PER_WORD: usize = 2;
        type Bits = [u64; WORDS];
        const EMPTY: [u64; WORDS] = [0; WORDS];
        type Words<W: Word> = [W; WORDS];
    }
}
