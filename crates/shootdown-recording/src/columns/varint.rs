//! Numbers of any size in as few bytes as they need.
//!
//! Owns the two mappings that every column is made of: varints (seven bits a byte, lowest first, the highest bit set in
//! all bytes but the last) and zigzag, by which a small negative difference is a small number too.

/// The longest varint: ten bytes hold 70 bits.
pub(super) const LONGEST_BYTES: usize = 10;

const LOW_BITS: u64 = 0x7f;
const MORE: u8 = 0x80;

/// Appends a number.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value > LOW_BITS {
        out.push(low_bits(value) | MORE);
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    (value & LOW_BITS) as u8
}

/// Takes a number from bytes that come one by one; `None` if they end, or are no number of 64 bits.
pub(super) fn take(mut next: impl FnMut() -> Option<u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = next()?;
        let bits = u64::from(byte & !MORE);
        // The tenth byte has room for one bit.
        if shift + 7 > u64::BITS && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & MORE == 0 {
            return Some(value);
        }
    }
    None
}

/// The difference of two numbers, as one that is small if they are near each other.
pub(super) fn zigzag(from: u64, to: u64) -> u64 {
    let difference = to.wrapping_sub(from).cast_signed();
    (difference << 1 ^ difference >> 63).cast_unsigned()
}

/// The number that a difference leads to.
pub(super) fn unzigzag(from: u64, code: u64) -> u64 {
    let difference = code >> 1 ^ (code & 1).wrapping_neg();
    from.wrapping_add(difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            assert!(bytes.len() <= LONGEST_BYTES);
            let mut bytes = bytes.into_iter();
            assert_eq!(take(|| bytes.next()), Some(value));
            assert_eq!(bytes.next(), None);
            for from in [0, 1, 1 << 63, u64::MAX] {
                assert_eq!(unzigzag(from, zigzag(from, value)), value);
            }
        }
        assert_eq!([zigzag(5, 5), zigzag(5, 4), zigzag(5, 6), zigzag(0, u64::MAX)], [0, 1, 2, 1]);
    }

    #[test]
    fn what_is_no_number_of_64_bits_is_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 9], &[0xff; 20], &[255, 255, 255, 255, 255, 255, 255, 255, 255, 2]] {
            let mut bytes = bytes.iter().copied();
            assert_eq!(take(|| bytes.next()), None);
        }
    }
}
