//! The words of library state, with a digest of them that is kept up to date: most steps change one word or none, and
//! every state is hashed.

use std::hash::{Hash, Hasher};

use super::{
    operation::WordId,
    pack::{read_byte, read_signed, write_signed},
};

/// The words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// Sign-extended to 64 bits: library words are small numbers, or all ones but a few bits. Half the size is half the
    /// time to copy a state.
    values: Box<[i32]>,
    /// Exclusive or over all words, of what [`mix`] makes of a word and its place.
    digest: u64,
}

impl Words {
    /// Makes so many words, all zero.
    pub(super) fn new(n_words: usize) -> Self {
        Words { values: vec![0; n_words].into_boxed_slice(), digest: 0 }
    }

    pub(super) fn get(&self, word: WordId) -> u64 {
        widen(self.values[usize::from(word.0)])
    }

    pub(super) fn set(&mut self, word: WordId, value: u64) {
        let was = std::mem::replace(&mut self.values[usize::from(word.0)], narrow(value));
        self.digest ^= mix(word, widen(was)) ^ mix(word, value);
    }

    /// Appends the words that are not zero, and before each eight of them which are not. The digest too: to find it again
    /// would take longer than all the rest.
    pub(super) fn pack(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.digest.to_le_bytes());
        for group in self.values.chunks(8) {
            let head = bytes.len();
            bytes.push(0);
            // Most words are zero, and a look at eight of them is one look.
            if group.iter().fold(0, |bits, value| bits | value) == 0 {
                continue;
            }
            for (place, value) in group.iter().enumerate().filter(|(_, value)| **value != 0) {
                bytes[head] |= 1 << place;
                write_signed(bytes, i64::from(*value));
            }
        }
    }

    /// Becomes what was packed, by so many words, and takes it off the front.
    pub(super) fn unpack(&mut self, bytes: &mut &[u8]) {
        self.digest = u64::from_le_bytes([(); 8].map(|()| read_byte(bytes)));
        self.values.fill(0);
        for group in self.values.chunks_mut(8) {
            let mut head = read_byte(bytes);
            while head != 0 {
                group[head.trailing_zeros() as usize] = read_signed(bytes) as i32;
                head &= head - 1;
            }
        }
    }
}

impl Clone for Words {
    fn clone(&self) -> Self {
        Words { values: self.values.clone(), digest: self.digest }
    }

    fn clone_from(&mut self, other: &Self) {
        self.values.clone_from(&other.values);
        self.digest = other.digest;
    }
}

impl Hash for Words {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.digest.hash(hasher);
    }
}

/// What the machine keeps of a word.
///
/// # Panics
/// If that is not all of it.
pub(super) fn narrow(value: u64) -> i32 {
    let narrow = value as i32;
    assert_eq!(widen(narrow), value, "a library word outgrows what the machine keeps of it");
    narrow
}

/// The word again.
pub(super) const fn widen(value: i32) -> u64 {
    value as i64 as u64
}

/// Spreads a word and its place over 64 bits: two rounds of `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014).
fn mix(word: WordId, value: u64) -> u64 {
    split_mix(split_mix(u64::from(word.0) + 1) ^ value)
}

fn split_mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_and_masks_are_kept_whole() {
        let mut words = Words::new(1);
        for value in [0, 77, u64::from(i32::MAX.unsigned_abs()), u64::MAX, !1] {
            words.set(WordId(0), value);
            assert_eq!(words.get(WordId(0)), value);
        }
    }

    #[test]
    #[should_panic(expected = "outgrows")]
    fn a_number_that_is_not_kept_whole_is_refused() {
        Words::new(1).set(WordId(0), 1 << 31);
    }

    #[test]
    fn what_was_packed_comes_back_whatever_was_there_before() {
        let mut words = Words::new(20);
        for (word, value) in [(0, 1), (7, u64::MAX), (8, 1000), (19, 2)] {
            words.set(WordId(word), value);
        }
        let mut bytes = Vec::new();
        words.pack(&mut bytes);
        let mut other = Words::new(20);
        other.set(WordId(1), 5);
        let mut rest = &bytes[..];
        other.unpack(&mut rest);
        assert_eq!(other, words);
        assert!(rest.is_empty());
    }

    #[test]
    fn the_digest_depends_on_what_the_words_are_and_not_on_how_they_came_to_it() {
        let (x, y) = (WordId(0), WordId(1));
        let set_all = |writes: &[(WordId, u64)]| {
            let mut words = Words::new(2);
            writes.iter().for_each(|(word, value)| words.set(*word, *value));
            words
        };
        assert_eq!(set_all(&[(x, 1), (y, 2)]).digest, set_all(&[(y, 7), (x, 1), (y, 2)]).digest);
        assert_eq!(set_all(&[(x, 1), (x, 0)]).digest, Words::new(2).digest);
        assert_ne!(set_all(&[(x, 1)]).digest, set_all(&[(y, 1)]).digest);
    }
}
