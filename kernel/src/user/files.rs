//! What a program has open: the console, memory without a name, and what there is in `/proc`.

use alloc::{format, string::String, sync::Arc};
use core::{
    fmt::Write as _,
    sync::atomic::{AtomicUsize, Ordering::*},
};

use shootdown::Level;
use shootdown_mm::ObjectId;

use super::{
    errors::Errno,
    numbers::memory_file::{CLOSE_ON_EXEC, HUGE},
    process::{MEMORY, Process},
    transfer,
};
use crate::{
    cpu::{self, Number},
    machine::Metal,
    serial::print,
    smp,
};

/// Numbers of the console: in, out and errors.
const CONSOLE: core::ops::Range<u64> = 0..3;

/// One thing that is open.
pub(crate) enum File {
    Memory(Object),
    Text { text: String, position: AtomicUsize },
}

/// Memory without a name, as long as somebody has it open.
pub(crate) struct Object {
    pub(crate) id: ObjectId,
    /// Of the leaves that map it.
    pub(crate) level: Level,
}

impl Object {
    pub(crate) fn new(m: &Metal, level: Level) -> Object {
        Object { id: MEMORY.new_object(m), level }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        MEMORY.drop_object(&Metal, self.id);
    }
}

/// Gives a file a number.
pub(crate) fn add(m: &Metal, process: &Process, file: File) -> i64 {
    let mut files = process.files.lock(m);
    let free = files.iter().position(Option::is_none);
    let index = free.unwrap_or_else(|| {
        files.push(None);
        files.len() - 1
    });
    files[index] = Some(Arc::new(file));
    index as i64 + CONSOLE.end as i64
}

/// The file of a number.
pub(crate) fn get(m: &Metal, process: &Process, number: u64) -> Result<Arc<File>, Errno> {
    let index = number.checked_sub(CONSOLE.end).ok_or(Errno::BAD_FILE)?;
    process.files.lock(m).get(index as usize).cloned().flatten().ok_or(Errno::BAD_FILE)
}

/// Closes a file.
pub(crate) fn close(m: &Metal, process: &Process, number: u64) -> Result<i64, Errno> {
    if CONSOLE.contains(&number) {
        return Ok(0);
    }
    let index = number - CONSOLE.end;
    let file = process.files.lock(m).get_mut(index as usize).and_then(Option::take);
    file.map(|_| 0).ok_or(Errno::BAD_FILE)
}

/// Memory without a name, with large pages or small ones.
#[doc(alias = "memfd_create")]
pub(crate) fn create_memory(m: &Metal, process: &Process, flags: u64) -> Result<i64, Errno> {
    if flags & !(HUGE | CLOSE_ON_EXEC) != 0 {
        return Err(Errno::INVALID);
    }
    let level = if flags & HUGE != 0 { Level(2) } else { Level::LEAF };
    Ok(add(m, process, File::Memory(Object::new(m, level))))
}

/// Opens what there is: `/proc/interrupts`.
pub(crate) fn open(m: &Metal, process: &Process, name: u64) -> Result<i64, Errno> {
    const INTERRUPTS: &[u8] = b"/proc/interrupts\0";
    let mut bytes = [0; INTERRUPTS.len()];
    transfer::read(m, process, name, &mut bytes)?;
    if bytes != INTERRUPTS {
        return Err(Errno::NO_ENTRY);
    }
    Ok(add(m, process, File::Text { text: interrupts(), position: AtomicUsize::new(0) }))
}

/// How many interrupts each CPU has raised on others, in the line that is Linux's for function calls.
fn interrupts() -> String {
    let cpus = || (0..smp::n_cpus()).map(Number);
    let mut text = String::from("    ");
    // A string takes everything.
    cpus().for_each(|cpu| text.write_fmt(format_args!(" {:>10}", format!("CPU{}", cpu.0))).unwrap_or_default());
    text.push_str("\nCAL:");
    cpus().for_each(|cpu| text.write_fmt(format_args!(" {:>10}", cpu::n_kicks(cpu))).unwrap_or_default());
    text.push_str("   Function call interrupts, by who has raised them\n");
    text
}

/// Reads what a file has left.
pub(crate) fn read(m: &Metal, process: &Process, number: u64, address: u64, length: u64) -> Result<i64, Errno> {
    if CONSOLE.contains(&number) {
        return Ok(0);
    }
    match &*get(m, process, number)? {
        File::Memory(_) => Err(Errno::INVALID),
        File::Text { text, position } => {
            let left = text.as_bytes().get(position.load(Relaxed)..).unwrap_or_default();
            let piece = &left[..left.len().min(length as usize)];
            transfer::write(m, process, address, piece)?;
            position.fetch_add(piece.len(), Relaxed);
            Ok(piece.len() as i64)
        }
    }
}

/// Writes to the console.
pub(crate) fn write(m: &Metal, process: &Process, number: u64, address: u64, length: u64) -> Result<i64, Errno> {
    const PIECE: usize = 256;
    if !CONSOLE.contains(&number) {
        return Err(Errno::BAD_FILE);
    }
    // A piece at a time, as much as can be printed without being interrupted.
    let n_bytes = (length as usize).min(PIECE);
    let mut bytes = [0; PIECE];
    transfer::read(m, process, address, &mut bytes[..n_bytes])?;
    print!("{}", String::from_utf8_lossy(&bytes[..n_bytes]));
    Ok(n_bytes as i64)
}
