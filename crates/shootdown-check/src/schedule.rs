//! A schedule: which act came after which, as a short string that replays anywhere.
//!
//! `NAME:FINGERPRINT:HEX`. The fingerprint says which code it is of ([`Fingerprint`]) and thereby what was left out. Each
//! act is one byte: its kind in the three highest bits, then the CPU in two, then the choice in three. The kinds are 0
//! step (choice: outcome), 1 interrupt, 2 walk to the cache (choice: root entry), 3 walk to the TLB (choice: page, plus 4
//! if it begins at the cached pointer), 4 a store reaches memory (choice: its place), 5 eviction (choice: page, or root
//! entry plus 4). Kind 1 with choice 1 is a tick. So much for CPUs 0 to 3. An act of
//! CPUs 4 to 7 is the twin of one of the CPU four before it; twins have, in the same order, the bytes that are left.

use std::{fmt, str::FromStr};

use shootdown::{CpuId, Vpn};
use shootdown_sim::smp::{Act, ENTRIES, Evicted, MAX_CPUS, MAX_STORES, PAGES, Walk, WalkFrom};

use crate::{fingerprint::Fingerprint, fix_set::FixSet, scenario::Scenario};

const STEP: u8 = 0;
const INTERRUPT: u8 = 1;
const TO_CACHE: u8 = 2;
const TO_TLB: u8 = 3;
const DRAIN: u8 = 4;
const EVICT: u8 = 5;

const FROM_CACHE: u8 = 4;
const POINTER: u8 = 4;

/// CPUs that there are two bits for.
const PLAIN_CPUS: u16 = 4;

/// For the byte of each act that of its twin, and the reverse. Bytes that are no act are their own.
const TWINS: [u8; 1 << u8::BITS] = twins();

const fn twins() -> [u8; 1 << u8::BITS] {
    const { assert!(MAX_CPUS as u16 == 2 * PLAIN_CPUS) };
    let mut twins = [0; 1 << u8::BITS];
    let mut byte = 0;
    while byte < twins.len() {
        twins[byte] = byte as u8;
        byte += 1;
    }
    let (mut plain, mut free) = (0, 0);
    while plain < twins.len() {
        if decode_for(0, plain as u8).is_some() {
            while decode_for(0, free as u8).is_some() {
                free += 1;
            }
            (twins[plain], twins[free]) = (free as u8, plain as u8);
            free += 1;
        }
        plain += 1;
    }
    twins
}

/// The acts of one run of one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The scenario's name.
    pub scenario: String,
    /// Which code it is a schedule of.
    pub fingerprint: Fingerprint,
    /// What happened, in order.
    pub acts: Vec<Act>,
}

impl Schedule {
    /// Finds out which fixes were left out: `None` if it was more than two, or if it is a schedule of a scenario or a
    /// machine that are no longer what they were.
    #[must_use]
    pub fn left_out(&self, scenario: &Scenario) -> Option<FixSet> {
        self.fingerprint.left_out(scenario)
    }
}

/// A string is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseScheduleError {
    /// It is not three parts with colons between them, with a name as the first.
    NotThreeParts,
    /// The second part is not 16 hexadecimal digits.
    NoFingerprint(String),
    /// The number of digits is odd.
    HalfAnAct,
    /// This is not a hexadecimal digit.
    NotHex(char),
    /// This byte, at this place, is no act of this machine.
    NoAct {
        /// The byte.
        byte: u8,
        /// Its place, from 0.
        index: usize,
    },
}

impl fmt::Display for ParseScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseScheduleError::NotThreeParts => f.write_str("a schedule is NAME:FINGERPRINT:HEX"),
            ParseScheduleError::NoFingerprint(text) => {
                write!(f, "a schedule's fingerprint is 16 hexadecimal digits, not {text:?}")
            }
            ParseScheduleError::HalfAnAct => f.write_str("a schedule has two hexadecimal digits for each act"),
            ParseScheduleError::NotHex(digit) => write!(f, "{digit:?} is not a hexadecimal digit"),
            ParseScheduleError::NoAct { byte, index } => write!(f, "act {index}, {byte:02x}, is none of this machine"),
        }
    }
}

impl std::error::Error for ParseScheduleError {}

/// Returns the byte that stands for an act.
pub(crate) fn encode(act: Act) -> u8 {
    let (kind, choice) = match act {
        Act::Step { outcome, .. } => (STEP, outcome),
        Act::Interrupt { .. } => (INTERRUPT, 0),
        Act::Tick { .. } => (INTERRUPT, 1),
        Act::Walk { walk: Walk::ToCache { index }, .. } => (TO_CACHE, index as u8),
        Act::Walk { walk: Walk::ToTlb { page, from: WalkFrom::Root }, .. } => (TO_TLB, page.0 as u8),
        Act::Walk { walk: Walk::ToTlb { page, from: WalkFrom::Cache }, .. } => (TO_TLB, page.0 as u8 | FROM_CACHE),
        Act::Drain { place, .. } => (DRAIN, place),
        Act::Evict { what: Evicted::Translation(page), .. } => (EVICT, page.0 as u8),
        Act::Evict { what: Evicted::Pointer(index), .. } => (EVICT, index as u8 | POINTER),
    };
    const { assert!(MAX_STORES <= 8) };
    const { assert!(PAGES <= FROM_CACHE as usize && PAGES <= POINTER as usize && ENTRIES <= POINTER as usize) };
    let CpuId(cpu) = act.cpu();
    let byte = kind << 5 | ((cpu % PLAIN_CPUS) as u8) << 3 | choice;
    if cpu < PLAIN_CPUS { byte } else { TWINS[usize::from(byte)] }
}

/// Returns the act that a byte stands for, if it does for one.
pub(crate) fn decode(byte: u8) -> Option<Act> {
    decode_for(0, byte).or_else(|| decode_for(PLAIN_CPUS, TWINS[usize::from(byte)]))
}

/// The act of a byte with two bits for the CPU, counted from this one on.
const fn decode_for(first: u16, byte: u8) -> Option<Act> {
    let (kind, cpu, choice) = (byte >> 5, CpuId(first + (byte >> 3 & 3) as u16), byte & 7);
    match kind {
        STEP => Some(Act::Step { cpu, outcome: choice }),
        INTERRUPT if choice == 0 => Some(Act::Interrupt { cpu }),
        INTERRUPT if choice == 1 => Some(Act::Tick { cpu }),
        DRAIN if (choice as usize) < MAX_STORES => Some(Act::Drain { cpu, place: choice }),
        EVICT if choice & POINTER == 0 => Some(Act::Evict { cpu, what: Evicted::Translation(Vpn(choice as u64)) }),
        EVICT if ((choice & !POINTER) as usize) < ENTRIES => {
            Some(Act::Evict { cpu, what: Evicted::Pointer((choice & !POINTER) as usize) })
        }
        TO_CACHE if (choice as usize) < ENTRIES => {
            Some(Act::Walk { cpu, walk: Walk::ToCache { index: choice as usize } })
        }
        TO_TLB => {
            let from = if choice & FROM_CACHE != 0 { WalkFrom::Cache } else { WalkFrom::Root };
            Some(Act::Walk { cpu, walk: Walk::ToTlb { page: Vpn((choice & !FROM_CACHE) as u64), from } })
        }
        _ => None,
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.scenario, self.fingerprint)?;
        self.acts.iter().try_for_each(|act| write!(f, "{:02x}", encode(*act)))
    }
}

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Self, ParseScheduleError> {
        let parts: Vec<&str> = text.split(':').collect();
        let [scenario, fingerprint, digits] = parts[..] else {
            return Err(ParseScheduleError::NotThreeParts);
        };
        if scenario.is_empty() {
            return Err(ParseScheduleError::NotThreeParts);
        }
        let fingerprint =
            Fingerprint::parse(fingerprint).ok_or_else(|| ParseScheduleError::NoFingerprint(fingerprint.to_owned()))?;
        Ok(Schedule { scenario: scenario.to_owned(), fingerprint, acts: parse_acts(digits)? })
    }
}

fn parse_acts(digits: &str) -> Result<Vec<Act>, ParseScheduleError> {
    let digits = digits
        .chars()
        .map(|digit| digit.to_digit(16).map(|value| value as u8).ok_or(ParseScheduleError::NotHex(digit)))
        .collect::<Result<Vec<u8>, _>>()?;
    if digits.len() % 2 != 0 {
        return Err(ParseScheduleError::HalfAnAct);
    }
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .enumerate()
        .map(|(index, byte)| decode(byte).ok_or(ParseScheduleError::NoAct { byte, index }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "any:0123456789abcdef:";

    #[test]
    fn every_byte_that_is_an_act_survives() {
        let acts: Vec<Act> = (0..=u8::MAX).filter_map(decode).collect();
        assert_eq!(acts.len(), MAX_CPUS * (8 + 2 + 2 * ENTRIES + 3 * PAGES + MAX_STORES));
        let schedule = Schedule { acts, ..PREFIX.parse().expect("a schedule without acts") };
        assert_eq!(schedule.to_string().parse(), Ok(schedule));
    }

    #[test]
    fn acts_of_the_first_cpus_have_the_bytes_that_they_always_had() {
        let step = |cpu| encode(Act::Step { cpu: CpuId(cpu), outcome: 2 });
        assert_eq!([step(0), step(1), step(3)], [0x02, 0x0a, 0x1a]);
        assert_eq!(encode(Act::Evict { cpu: CpuId(2), what: Evicted::Pointer(1) }), 0xb5);
        // The first bytes that were free belong to kind 1, of which there were two choices.
        assert_eq!([4, 5].map(|cpu| encode(Act::Step { cpu: CpuId(cpu), outcome: 0 })), [0x22, 0x2c]);
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_its_reason() {
        let parse = |text: &str| text.parse::<Schedule>();
        for text in ["", "0001", "any:0001", ":0123456789abcdef:00", "any:0123456789abcdef:00:00"] {
            assert_eq!(parse(text), Err(ParseScheduleError::NotThreeParts), "{text:?}");
        }
        assert_eq!(parse("any:0123:00"), Err(ParseScheduleError::NoFingerprint("0123".into())));
        let parse_acts = |digits: &str| parse(&format!("{PREFIX}{digits}")).map(|schedule| schedule.acts);
        assert_eq!(parse_acts("000"), Err(ParseScheduleError::HalfAnAct));
        assert_eq!(parse_acts("0g"), Err(ParseScheduleError::NotHex('g')));
        assert_eq!(parse_acts("00ff20"), Err(ParseScheduleError::NoAct { byte: 0xff, index: 1 }));
        assert_eq!(parse_acts(""), Ok(Vec::new()));
    }
}
