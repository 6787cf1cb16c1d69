//! A stream of random numbers. Of the kernel and of the program beside it.

/// Marsaglia's xorshift, multiplied.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The stream of this number.
    pub(crate) fn new(number: u64) -> Random {
        // Odd, so not 0, which it would never leave; spread, so that near numbers do not run alike at first.
        Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % end
    }
}
