//! Machines in few bytes, for who keeps many of them.
//!
//! Numbers are small and most things are empty, so a number takes a byte for every seven bits, least significant first,
//! and what is empty takes as little as there can be. What machines of one search have in common is left out: the
//! configuration, and the numbers of words and CPUs.

use shootdown::Pfn;

use super::{
    ENTRIES, FRAMES, MAX_DEPTH, TAGS,
    broadcast::InFlight,
    cpu::Cpu,
    frame::{Frame, FrameKind, MaybeFrame},
    hardware::Hardware,
    tlb::{Standing, Tlb, Translation},
};

/// Appends a number.
pub fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 1 << 7 {
        bytes.push(number as u8 | 1 << 7);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number off the front.
///
/// # Panics
/// If there is none.
pub fn read_number(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for place in 0.. {
        let byte = read_byte(bytes);
        number |= u64::from(byte & !(1 << 7)) << (7 * place);
        if byte < 1 << 7 {
            break;
        }
    }
    number
}

/// Appends a number of which it is the distance from zero that is small: 0, -1, 1, -2 come first.
pub(super) fn write_signed(bytes: &mut Vec<u8>, number: i64) {
    write_number(bytes, (number << 1 ^ number >> 63) as u64);
}

pub(super) fn read_signed(bytes: &mut &[u8]) -> i64 {
    let number = read_number(bytes);
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

pub(super) fn read_byte(bytes: &mut &[u8]) -> u8 {
    *bytes.split_off_first().expect("all of what was packed")
}

impl Hardware {
    /// Appends all that tells it from other machines of its kind.
    pub fn pack(&self, bytes: &mut Vec<u8>) {
        self.words.pack(bytes);
        self.frames.iter().for_each(|frame| frame.pack(bytes));
        self.cpus.iter().for_each(|cpu| cpu.pack(bytes));
    }

    /// Becomes what was packed, by a machine of the same kind, and takes it off the front.
    ///
    /// # Panics
    /// If there is less than one machine.
    pub fn unpack(&mut self, bytes: &mut &[u8]) {
        self.words.unpack(bytes);
        self.frames.iter_mut().for_each(|frame| frame.unpack(bytes));
        self.cpus.iter_mut().for_each(|cpu| cpu.unpack(bytes));
    }
}

impl Frame {
    fn pack(&self, bytes: &mut Vec<u8>) {
        let Frame { kind, entries, was_mapped, is_written, is_noted_dirty } = self;
        let has_entries = *entries != [0; ENTRIES];
        bytes.push(*kind as u8 | pack_flags([*was_mapped, *is_written, *is_noted_dirty, has_entries]) << 2);
        if has_entries {
            bytes.extend(entries);
        }
    }

    fn unpack(&mut self, bytes: &mut &[u8]) {
        let head = read_byte(bytes);
        let [was_mapped, is_written, is_noted_dirty, has_entries] = unpack_flags(head >> 2);
        let kind = match head & 3 {
            0 => FrameKind::Free,
            1 => FrameKind::Data,
            2 => FrameKind::Table,
            _ => FrameKind::Root,
        };
        let entries = if has_entries { [(); ENTRIES].map(|()| read_byte(bytes)) } else { [0; ENTRIES] };
        *self = Frame { kind, entries, was_mapped, is_written, is_noted_dirty };
    }
}

impl Cpu {
    fn pack(&self, bytes: &mut Vec<u8>) {
        const { assert!(MAX_DEPTH == 2) };
        let Cpu { root, tlbs, roots, tag, is_masked, is_kicked, runs_user, saved_masks, depth, stores, in_flight } =
            self;
        let [outer, inner] = *saved_masks;
        let flags = pack_flags([*is_masked, *is_kicked, *runs_user, outer, inner, !in_flight.is_empty()]);
        bytes.push(flags << 2 | *depth);
        let in_use = tlbs.iter().rev().fold(0, |bits, tlb| bits << 1 | u8::from(!tlb.is_empty()));
        bytes.push(in_use | tag << TAGS);
        bytes.extend(roots.iter().chain([root]).map(|root| root.byte()));
        tlbs.iter().filter(|tlb| !tlb.is_empty()).for_each(|tlb| tlb.pack(bytes));
        stores.pack(bytes);
        if !in_flight.is_empty() {
            write_number(bytes, in_flight.bits());
        }
    }

    fn unpack(&mut self, bytes: &mut &[u8]) {
        let head = read_byte(bytes);
        let [is_masked, is_kicked, runs_user, outer, inner, has_in_flight] = unpack_flags(head >> 2);
        let in_use = read_byte(bytes);
        self.tag = in_use >> TAGS;
        self.roots = [(); TAGS].map(|()| MaybeFrame::from_byte(read_byte(bytes)));
        self.root = MaybeFrame::from_byte(read_byte(bytes));
        for (tag, tlb) in self.tlbs.iter_mut().enumerate() {
            *tlb = Tlb::EMPTY;
            if in_use >> tag & 1 != 0 {
                tlb.unpack(bytes);
            }
        }
        self.stores.unpack(bytes);
        self.in_flight = InFlight::from_bits(if has_in_flight { read_number(bytes) } else { 0 });
        (self.is_masked, self.is_kicked, self.runs_user) = (is_masked, is_kicked, runs_user);
        (self.saved_masks, self.depth) = ([outer, inner], head & 3);
    }
}

/// What [`pack_translation`] makes of none.
pub(super) const NO_TRANSLATION: u8 = u8::MAX;

pub(super) fn pack_translation(translation: Translation) -> u8 {
    const { assert!(FRAMES <= 1 << 3) };
    let Translation { frame, is_large, is_writable, is_dirty, standing } = translation;
    frame.0 as u8 | pack_flags([is_large, is_writable, is_dirty]) << 3 | (standing as u8) << 6
}

pub(super) fn unpack_translation(byte: u8) -> Option<Translation> {
    let standing = match byte >> 6 {
        0 => Standing::Good,
        1 => Standing::Revoked,
        2 => Standing::Freed,
        _ => return None,
    };
    let [is_large, is_writable, is_dirty] = unpack_flags(byte >> 3);
    Some(Translation { frame: Pfn(u64::from(byte & 7)), is_large, is_writable, is_dirty, standing })
}

fn pack_flags<const N: usize>(flags: [bool; N]) -> u8 {
    flags.into_iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(flag))
}

fn unpack_flags<const N: usize>(bits: u8) -> [bool; N] {
    std::array::from_fn(|place| bits >> place & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_and_small_ones_take_a_byte() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let mut bytes = Vec::new();
        numbers.iter().for_each(|number| write_number(&mut bytes, *number));
        assert_eq!(bytes.len(), 1 + 1 + 1 + 2 + 2 + 5 + 10);
        let mut rest = &bytes[..];
        assert_eq!(numbers.map(|_| read_number(&mut rest)), numbers);
        assert!(rest.is_empty());
    }

    #[test]
    fn signed_numbers_survive_and_those_near_zero_take_a_byte() {
        let numbers = [0, -1, 1, -64, 63, 64, i64::MIN, i64::MAX];
        let mut bytes = Vec::new();
        numbers.iter().for_each(|number| write_signed(&mut bytes, *number));
        assert_eq!(bytes.len(), 5 + 2 + 10 + 10);
        let mut rest = &bytes[..];
        assert_eq!(numbers.map(|_| read_signed(&mut rest)), numbers);
    }

    #[test]
    fn every_translation_survives_and_none_is_taken_for_nothing() {
        for byte in 0..=u8::MAX {
            let translation = unpack_translation(byte);
            assert_eq!(translation.is_none(), byte >= 3 << 6);
            assert!(translation.is_none_or(|translation| pack_translation(translation) == byte));
        }
    }

    #[test]
    fn flags_survive() {
        let flags = [true, false, false, true, true];
        assert_eq!(unpack_flags(pack_flags(flags)), flags);
    }
}
