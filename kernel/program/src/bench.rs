//! What calls cost: instructions of all CPUs together, where the machine's clock counts them, and interrupts raised on other
//! CPUs, by the kernel's own count.
//!
//! A line for each row, of fields with tabulators between: `row`, its name, instructions and interrupts for one operation, the
//! interrupts in hundredths. On Linux, where this is the first process, there is a line with its name, `kernel`, and one with
//! what came of it, `status`.

use core::{
    arch::x86_64::_rdtsc,
    hint,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::*},
};

use crate::{
    calls::{self, ANONYMOUS, Errno, FIXED, NO_RESERVE, PRIVATE, READ, READ_WRITE, SHARED},
    memory::{self, GIB, PAGE, touch},
    output::{Line, println},
    threads::{self, Thread},
};

/// Where large pages are mapped: from the beginning of a table.
const LARGE_AT: u64 = 0x40 << 32;
const N_TABLES: [u64; 4] = [1, 4, 16, 64];

static N_CPUS: AtomicU64 = AtomicU64::new(0);

/// Runs all rows; returns the exit status.
pub(crate) fn run() -> i32 {
    let mut name = [0; calls::NAME_BYTES];
    if let Ok([name, release]) = calls::kernel_name(&mut name) {
        println!("kernel\t{name} {release}");
    }
    match rows() {
        Ok(()) => 0,
        Err(Errno(number)) => {
            println!("the bench has failed: error {number}");
            1
        }
    }
}

fn rows() -> Result<(), Errno> {
    calls::mount_proc();
    // Before this thread keeps to one.
    N_CPUS.store(calls::n_cpus()?, Relaxed);
    calls::run_on(0)?;
    // A kernel that has just begun has things to do.
    calls::sleep(2);
    for n_readers in [1, 3] {
        with_readers(n_readers, || {
            let s = plural(n_readers);
            measure(200, format_args!("mmap + touch + munmap, 1 page, {n_readers} reader{s}"), || {
                let at = map(PAGE)?;
                touch(at);
                unmap(at, PAGE)
            })
        })?;
    }
    with_readers(3, || {
        for n_pages in [1, 33] {
            let at = map(n_pages * PAGE)?;
            let s = plural(n_pages);
            measure(100, format_args!("touch + MADV_DONTNEED, {n_pages} page{s}, 3 readers"), || {
                touch_each(at, n_pages, PAGE);
                // SAFETY: mapped above, for nothing else.
                unsafe { calls::discard(at, n_pages * PAGE) }.map(drop)
            })?;
            unmap(at, n_pages * PAGE)?;
        }
        for n_pages in [1, 512] {
            let at = map(n_pages * PAGE)?;
            calls::use_small_pages(at, n_pages * PAGE)?;
            touch_each(at, n_pages, PAGE);
            let s = plural(n_pages);
            measure(50, format_args!("mprotect RO + RW + touch, {n_pages} page{s}, 3 readers"), || {
                // SAFETY: mapped above, for nothing else.
                unsafe {
                    calls::protect(at, n_pages * PAGE, READ)?;
                    calls::protect(at, n_pages * PAGE, READ_WRITE)?;
                }
                touch_each(at, n_pages, PAGE);
                Ok(())
            })?;
            unmap(at, n_pages * PAGE)?;
        }
        Ok(())
    })?;
    N_TABLES.into_iter().try_for_each(shared_tables)
}

/// Processes that have tables of large pages together: this one, whatever it forks, and up to two that only have them.
fn shared_tables(n_tables: u64) -> Result<(), Errno> {
    let file = calls::create_large_memory()?;
    calls::truncate(file, n_tables * GIB)?;
    map_tables(file, n_tables)?;
    let s = plural(n_tables);
    let fork = |third: &str| {
        measure(20, format_args!("fork + touch + exit, {n_tables} shared table{s}{third}"), || {
            in_child(|| touch_each(LARGE_AT, n_tables, GIB))
        })
    };
    fork("")?;
    let one = Sharer::start(file, n_tables)?;
    fork(", a third sharer")?;
    unmap(LARGE_AT, n_tables * GIB)?;
    let map = |third: &str| {
        measure(20, format_args!("mmap + touch + munmap, {n_tables} shared table{s}{third}"), || {
            map_tables(file, n_tables)?;
            unmap(LARGE_AT, n_tables * GIB)
        })
    };
    map("")?;
    let two = Sharer::start(file, n_tables)?;
    map(", a third sharer")?;
    one.end()?;
    two.end()?;
    calls::close(file).map(drop)
}

const fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn map(n_bytes: u64) -> Result<u64, Errno> {
    // SAFETY: anywhere.
    unsafe { calls::map(0, n_bytes, READ_WRITE, PRIVATE | ANONYMOUS, u64::MAX) }
}

fn unmap(at: u64, n_bytes: u64) -> Result<(), Errno> {
    // SAFETY: only what this file maps, for nothing else.
    unsafe { calls::unmap(at, n_bytes) }.map(drop)
}

/// Maps a file of large pages and uses one page of each table.
fn map_tables(file: u64, n_tables: u64) -> Result<(), Errno> {
    // SAFETY: no Rust value lies there.
    unsafe { calls::map(LARGE_AT, n_tables * GIB, READ_WRITE, SHARED | NO_RESERVE | FIXED, file)? };
    touch_each(LARGE_AT, n_tables, GIB);
    Ok(())
}

fn touch_each(at: u64, n: u64, distance: u64) {
    (0..n).for_each(|index| touch(at + index * distance));
}

/// Runs `body` in a child and waits until that has ended.
fn in_child(body: impl FnOnce()) -> Result<(), Errno> {
    // SAFETY: what other threads change is of no concern to the child.
    let child = unsafe { calls::fork()? };
    if child == 0 {
        body();
        calls::exit(0)
    }
    wait(child)
}

/// Waits until a child has ended, and well.
fn wait(child: u64) -> Result<(), Errno> {
    match calls::wait(child)? {
        0 => Ok(()),
        status => Err(Errno(i64::from(status))),
    }
}

/// A process that has mapped large pages, and sleeps.
struct Sharer {
    child: u64,
    state: &'static AtomicU32,
}

const BEGINS: u32 = 0;
const HAS_MAPPED: u32 = 1;
const MAY_END: u32 = 2;

impl Sharer {
    fn start(file: u64, n_tables: u64) -> Result<Sharer, Errno> {
        // SAFETY: an atomic.
        let state: &'static AtomicU32 = unsafe { memory::shared()? };
        // SAFETY: there is one thread.
        let child = unsafe { calls::fork()? };
        if child == 0 {
            let is_mapped = map_tables(file, n_tables).is_ok();
            state.store(HAS_MAPPED, Release);
            calls::wake_all(state);
            calls::wait_while(state, HAS_MAPPED);
            calls::exit(i32::from(!is_mapped))
        }
        calls::wait_while(state, BEGINS);
        Ok(Sharer { child, state })
    }

    fn end(self) -> Result<(), Errno> {
        self.state.store(MAY_END, Release);
        calls::wake_all(self.state);
        wait(self.child)
    }
}

/// How many readers are there, and whether they are to go on.
static N_READY: AtomicU64 = AtomicU64::new(0);
static GOES_ON: AtomicU32 = AtomicU32::new(0);

/// Runs `body` while a thread on each of so many other CPUs uses the address space; not if there are fewer.
fn with_readers(n_readers: u64, body: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    const MOST: usize = 3;
    if N_CPUS.load(Relaxed) <= n_readers {
        return Ok(());
    }
    GOES_ON.store(1, Relaxed);
    N_READY.store(0, Relaxed);
    let mut readers: [Option<Thread>; MOST] = [None; MOST];
    for (index, reader) in readers.iter_mut().enumerate().take(n_readers as usize) {
        *reader = Some(threads::start(read, index as u64 + 1)?);
    }
    while N_READY.load(Acquire) < n_readers {
        calls::give_way();
    }
    let outcome = body();
    GOES_ON.store(0, Release);
    readers.into_iter().flatten().for_each(Thread::join);
    outcome
}

extern "C" fn read(cpu: u64) {
    // If it cannot, the row shows it: there are no interrupts.
    calls::run_on(cpu).unwrap_or_default();
    N_READY.fetch_add(1, Release);
    while GOES_ON.load(Relaxed) != 0 {
        hint::spin_loop();
    }
}

/// Runs `operation` so many times and prints a row of it.
fn measure(
    n_times: u64,
    name: core::fmt::Arguments<'_>,
    mut operation: impl FnMut() -> Result<(), Errno>,
) -> Result<(), Errno> {
    // The first ones bring in what the later ones find.
    for _ in 0..4 {
        operation()?;
    }
    let n_before = n_interrupts()?;
    let begin = now();
    for _ in 0..n_times {
        operation()?;
    }
    let took = now() - begin;
    // Not those of looking.
    let n_interrupts = n_interrupts()? - n_before;
    Line::print(format_args!("row\t{name}\t{}\t{}\n", took / n_times, n_interrupts * 100 / n_times));
    Ok(())
}

/// The clock, which goes on by one with each instruction, if the machine was told so.
fn now() -> u64 {
    // SAFETY: every 64-bit CPU has it, and it touches no memory.
    unsafe { _rdtsc() }
}

/// How many interrupts CPUs have raised for each other: all numbers in the line of function calls.
fn n_interrupts() -> Result<u64, Errno> {
    const MOST_BYTES: usize = 16 << 10;
    let file = calls::open(c"/proc/interrupts")?;
    let mut text = [0; MOST_BYTES];
    let mut n_bytes = 0;
    loop {
        match calls::read(file, &mut text[n_bytes..])? {
            0 => break,
            n => n_bytes += n as usize,
        }
    }
    calls::close(file)?;
    let text = core::str::from_utf8(&text[..n_bytes]).unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("CAL:")).ok_or(Errno(0))?;
    Ok(line.split_whitespace().map_while(|word| word.parse::<u64>().ok()).sum())
}
