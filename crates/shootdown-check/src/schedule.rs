//! A schedule: which act came after which, as a short string that replays anywhere.
//!
//! `NAME:HEX`, where each act is one byte: its kind in the two highest bits, then the CPU in three, then the choice in
//! three. The kinds are 0 step (choice: outcome), 1 interrupt, 2 walk to the cache (choice: root entry), 3 walk to the
//! TLB (choice: page, plus 4 if it begins at the cached pointer).

use std::{fmt, str::FromStr};

use shootdown::{CpuId, Vpn};
use shootdown_sim::smp::{Act, ENTRIES, MAX_CPUS, PAGES, Walk, WalkFrom};

const STEP: u8 = 0;
const INTERRUPT: u8 = 1;
const TO_CACHE: u8 = 2;
const TO_TLB: u8 = 3;

const FROM_CACHE: u8 = 4;

/// The acts of one run of one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The scenario's name.
    pub scenario: String,
    /// What happened, in order.
    pub acts: Vec<Act>,
}

/// A string is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseScheduleError {
    /// There is no colon after a name.
    NoName,
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
            ParseScheduleError::NoName => f.write_str("a schedule begins with the scenario's name and a colon"),
            ParseScheduleError::HalfAnAct => f.write_str("a schedule has two digits for each act"),
            ParseScheduleError::NotHex(digit) => write!(f, "{digit:?} is not a hexadecimal digit"),
            ParseScheduleError::NoAct { byte, index } => write!(f, "byte {index}, {byte:02x}, is no act"),
        }
    }
}

impl std::error::Error for ParseScheduleError {}

fn encode(act: Act) -> u8 {
    let (kind, choice) = match act {
        Act::Step { outcome, .. } => (STEP, outcome),
        Act::Interrupt { .. } => (INTERRUPT, 0),
        Act::Walk { walk: Walk::ToCache { index }, .. } => (TO_CACHE, index as u8),
        Act::Walk { walk: Walk::ToTlb { page, from: WalkFrom::Root }, .. } => (TO_TLB, page.0 as u8),
        Act::Walk { walk: Walk::ToTlb { page, from: WalkFrom::Cache }, .. } => (TO_TLB, page.0 as u8 | FROM_CACHE),
    };
    const { assert!(MAX_CPUS <= 8 && PAGES <= FROM_CACHE as usize && ENTRIES <= 8) };
    kind << 6 | (act.cpu().0 as u8) << 3 | choice
}

fn decode(byte: u8) -> Option<Act> {
    let (kind, cpu, choice) = (byte >> 6, CpuId(u16::from(byte >> 3 & 7)), byte & 7);
    if usize::from(cpu.0) >= MAX_CPUS {
        return None;
    }
    match kind {
        STEP => Some(Act::Step { cpu, outcome: choice }),
        INTERRUPT if choice == 0 => Some(Act::Interrupt { cpu }),
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
        write!(f, "{}:", self.scenario)?;
        self.acts.iter().try_for_each(|act| write!(f, "{:02x}", encode(*act)))
    }
}

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Self, ParseScheduleError> {
        let (scenario, digits) = text.split_once(':').ok_or(ParseScheduleError::NoName)?;
        if scenario.is_empty() {
            return Err(ParseScheduleError::NoName);
        }
        let digits = digits
            .chars()
            .map(|digit| digit.to_digit(16).map(|value| value as u8).ok_or(ParseScheduleError::NotHex(digit)))
            .collect::<Result<Vec<u8>, _>>()?;
        if digits.len() % 2 != 0 {
            return Err(ParseScheduleError::HalfAnAct);
        }
        let acts = digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .enumerate()
            .map(|(index, byte)| decode(byte).ok_or(ParseScheduleError::NoAct { byte, index }));
        Ok(Schedule { scenario: scenario.to_owned(), acts: acts.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_is_an_act_survives() {
        let acts: Vec<Act> = (0..=u8::MAX).filter_map(decode).collect();
        assert_eq!(acts.len(), MAX_CPUS * (8 + 1 + ENTRIES + 2 * PAGES));
        let schedule = Schedule { scenario: "any".into(), acts };
        assert_eq!(schedule.to_string().parse(), Ok(schedule));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_its_reason() {
        let parse = |text: &str| text.parse::<Schedule>();
        assert_eq!(parse("0001"), Err(ParseScheduleError::NoName));
        assert_eq!(parse(":00"), Err(ParseScheduleError::NoName));
        assert_eq!(parse("a:000"), Err(ParseScheduleError::HalfAnAct));
        assert_eq!(parse("a:0g"), Err(ParseScheduleError::NotHex('g')));
        assert_eq!(parse("a:00ff41"), Err(ParseScheduleError::NoAct { byte: 0xff, index: 1 }));
        assert_eq!(parse("a:").map(|schedule| schedule.acts), Ok(Vec::new()));
    }
}
