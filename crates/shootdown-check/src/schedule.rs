//! A schedule: which act came after which, as a short string that replays anywhere.
//!
//! `NAME:FINGERPRINT:HEX`. The fingerprint says which code it is of ([`Fingerprint`]) and thereby what was left out. Each
//! act is one byte: its kind in the three highest bits, then the CPU in two, then the choice in three. The kinds are 0
//! step (choice: outcome), 1 interrupt, 2 walk to the cache (choice: root entry), 3 walk to the TLB (choice: page, plus 4
//! if it begins at the cached pointer), 4 a store reaches memory (choice: its place), 5 eviction (choice: page, or root
//! entry plus 4). Kind 1 with choice 1 is a tick.

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
    const { assert!(MAX_CPUS <= 4 && MAX_STORES <= 8) };
    const { assert!(PAGES <= FROM_CACHE as usize && PAGES <= POINTER as usize && ENTRIES <= POINTER as usize) };
    kind << 5 | (act.cpu().0 as u8) << 3 | choice
}

/// Returns the act that a byte stands for, if it does for one.
pub(crate) fn decode(byte: u8) -> Option<Act> {
    let (kind, cpu, choice) = (byte >> 5, CpuId(u16::from(byte >> 3 & 3)), byte & 7);
    if usize::from(cpu.0) >= MAX_CPUS {
        return None;
    }
    match kind {
        STEP => Some(Act::Step { cpu, outcome: choice }),
        INTERRUPT if choice == 0 => Some(Act::Interrupt { cpu }),
        INTERRUPT if choice == 1 => Some(Act::Tick { cpu }),
        DRAIN if usize::from(choice) < MAX_STORES => Some(Act::Drain { cpu, place: choice }),
        EVICT if choice & POINTER == 0 => Some(Act::Evict { cpu, what: Evicted::Translation(Vpn(u64::from(choice))) }),
        EVICT if usize::from(choice & !POINTER) < ENTRIES => {
            Some(Act::Evict { cpu, what: Evicted::Pointer(usize::from(choice & !POINTER)) })
        }
        TO_CACHE if usize::from(choice) < ENTRIES => {
            Some(Act::Walk { cpu, walk: Walk::ToCache { index: usize::from(choice) } })
        }
        TO_TLB => {
            let from = if choice & FROM_CACHE != 0 { WalkFrom::Cache } else { WalkFrom::Root };
            let page = Vpn(u64::from(choice & !FROM_CACHE));
            Some(Act::Walk { cpu, walk: Walk::ToTlb { page, from } })
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
