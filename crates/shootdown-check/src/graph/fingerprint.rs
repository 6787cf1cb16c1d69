//! What tells states apart: 64 bits of each.
//!
//! A hash made for tables will not do. The usual fast one multiplies and adds, so what lies in the high bits of a word
//! only ever reaches the high bits of the result, and states that differ in two such places meet far more often than the
//! odds that a report prints. Here each word is folded in with a product of 128 bits, whose halves both count
//! (Wang Yi's wyhash; `foldhash` does the same).

use std::hash::{Hash, Hasher};

// Digits of π, as good as any.
const SEED: u64 = 0x243f_6a88_85a3_08d3;
const FACTOR: u64 = 0x1319_8a2e_0370_7345;

/// Returns the fingerprint of a state.
pub(super) fn fingerprint(state: &impl Hash) -> u64 {
    let mut folding = Folding(SEED);
    state.hash(&mut folding);
    folding.finish()
}

struct Folding(u64);

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = fold(self.0 ^ value);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        fold(self.0 ^ SEED)
    }
}

/// Spreads every bit over all others.
fn fold(word: u64) -> u64 {
    // Added, since zero would stay zero.
    let product = u128::from(word.wrapping_add(SEED)) * u128::from(FACTOR);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn words_that_differ_in_high_bits_only_have_different_fingerprints() {
        let words = || (0..1 << 10).map(|bits: u64| bits << 54);
        let pairs = words().flat_map(|first| words().map(move |second| (first, second)));
        let fingerprints: HashSet<u64> = pairs.map(|pair| fingerprint(&pair)).collect();
        assert_eq!(fingerprints.len(), 1 << 20);
    }

    #[test]
    fn the_order_and_number_of_words_count() {
        let fingerprints: HashSet<u64> = [&[][..], &[0], &[0, 0], &[1, 0], &[0, 1], &[1]]
            .into_iter()
            .map(|words: &[u64]| fingerprint(&words))
            .collect();
        assert_eq!(fingerprints.len(), 6);
    }
}
