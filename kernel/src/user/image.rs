//! Bringing a program into memory: a file in the format of System V's ABI, without libraries.

use alloc::{sync::Arc, vec::Vec};

use shootdown::{EntryFormat as _, Vpn, VpnRange};
use shootdown_mm::{Protection, Vma};

use super::{
    process::{MEMORY, Process},
    transfer,
    trap::Trap,
};
use crate::{
    machine::{Format, Metal},
    places, port,
};

const PAGE: u64 = 1 << Format::PAGE_SHIFT;
/// The program's stack: 64 KiB, under the last page that it may have.
pub(super) const STACK: VpnRange = VpnRange::new(Vpn((1 << 35) - 17), Vpn((1 << 35) - 1));

/// What is wrong with a file.
const MISSING: &str = "there is no program: QEMU was given none as initial RAM disk";
const STRANGE: &str = "the program is no 64-bit x86 executable at fixed addresses";
const TRUNCATED: &str = "the program ends too early";
const NO_ROOM: &str = "there is no memory for the program";

/// A part of the file that is to be in memory.
struct Segment {
    address: u64,
    offset: usize,
    n_bytes_in_file: usize,
    n_bytes: u64,
    protection: Protection,
}

/// Maps the program into `process`, which nobody runs yet, with these words as its arguments; returns how it begins.
pub(crate) fn load(m: &Metal, process: &Arc<Process>, words: &[&str]) -> Result<Trap, &'static str> {
    let file = port::program();
    let (entry, segments) = segments(&file)?;
    places::SPACES[process.space_id().0 as usize].switch_to(m);
    for segment in segments {
        let begin = Vpn(segment.address / PAGE);
        let end = Vpn((segment.address + segment.n_bytes).div_ceil(PAGE));
        let range = VpnRange::new(begin, end);
        process.space.map(m, &MEMORY, range, Vma::anonymous(Protection::READ_WRITE));
        let bytes = file.get(segment.offset..).and_then(|rest| rest.get(..segment.n_bytes_in_file)).ok_or(TRUNCATED)?;
        transfer::write(m, process, segment.address, bytes).map_err(|_| NO_ROOM)?;
        process.space.protect(m, &MEMORY, range, segment.protection);
    }
    process.space.map(m, &MEMORY, STACK, Vma::anonymous(Protection::READ_WRITE));
    let stack = put_words(m, process, words).ok_or(NO_ROOM)?;
    Ok(Trap::beginning(entry, stack))
}

/// Where the program begins, and its parts.
fn segments(file: &[u8]) -> Result<(u64, Vec<Segment>), &'static str> {
    /// Magic number, 64 bits, lowest byte first, version 1.
    const IDENTIFICATION: [u8; 7] = *b"\x7fELF\x02\x01\x01";
    const EXECUTABLE: u64 = 2;
    const X86_64: u64 = 62;
    const LOAD: u64 = 1;
    if file.is_empty() {
        return Err(MISSING);
    }
    let number = |at: usize, n_bytes: usize| {
        let bytes = file.get(at..).and_then(|rest| rest.get(..n_bytes)).ok_or(TRUNCATED)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    if !file.starts_with(&IDENTIFICATION) || number(16, 2)? != EXECUTABLE || number(18, 2)? != X86_64 {
        return Err(STRANGE);
    }
    let (table, entry_bytes, n_entries) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    let mut segments = Vec::new();
    for header in (0..n_entries).map(|index| table.saturating_add(index * entry_bytes)) {
        if number(header, 4)? != LOAD {
            continue;
        }
        let flags = number(header + 4, 4)?;
        let protection = Protection { read: flags & 4 != 0, write: flags & 2 != 0, execute: flags & 1 != 0 };
        let segment = Segment {
            address: number(header + 16, 8)?,
            offset: number(header + 8, 8)? as usize,
            n_bytes_in_file: number(header + 32, 8)? as usize,
            n_bytes: number(header + 40, 8)?,
            protection,
        };
        let end = segment.address.checked_add(segment.n_bytes).filter(|end| *end < 1 << 46);
        if segment.address < PAGE || end.is_none() {
            return Err(STRANGE);
        }
        segments.push(segment);
    }
    Ok((number(24, 8)?, segments))
}

/// Puts the words on the stack, and before them their number and where each is, as System V's ABI has it; returns where the
/// stack is then.
fn put_words(m: &Metal, process: &Process, words: &[&str]) -> Option<u64> {
    let mut at = STACK.end.0 * PAGE;
    let mut table: Vec<u64> = Vec::from([words.len() as u64]);
    for word in words {
        at -= word.len() as u64 + 1;
        transfer::write(m, process, at, word.as_bytes()).ok()?;
        table.push(at);
    }
    // The end of the arguments, of the environment, and of what else there may be.
    table.extend([0; 4]);
    let stack = (at - 8 * table.len() as u64) & !15;
    let bytes: Vec<u8> = table.iter().flat_map(|word| word.to_le_bytes()).collect();
    transfer::write(m, process, stack, &bytes).ok()?;
    Some(stack)
}
