//! The tests, and running them.
//!
//! The first is the control: it shows that this machine does use stale translations, without which nothing that follows
//! would prove anything. A test fails if it says so, if something stale was used, or if it leaves frames behind.

use core::{
    panic::PanicInfo,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::*},
};

use crate::{
    command_line::CommandLine,
    cpu,
    exit::{Verdict, exit},
    machine::{Format, Metal},
    memory,
    serial::{print, println},
    witness,
};

mod bench;
mod calls;
mod comings;
mod control;
mod dirty;
mod lazy;
mod pages;
mod permissions;
mod scarcity;
mod stress;
mod unmap;
mod user;

/// Nothing, or why it failed.
type Outcome = Result<(), &'static str>;

struct Test {
    name: &'static str,
    run: fn(&Metal, &CommandLine) -> Outcome,
}

const TESTS: [Test; 14] = [
    Test { name: "control", run: control::run },
    Test { name: "remap", run: unmap::remap },
    Test { name: "unmap", run: unmap::unmap },
    Test { name: "protect", run: permissions::run },
    Test { name: "dirty", run: dirty::run },
    Test { name: "lazy", run: lazy::catch_up },
    Test { name: "lazy_exit", run: lazy::exit },
    Test { name: "calls", run: calls::masked },
    Test { name: "lost_kicks", run: calls::lost },
    Test { name: "comings", run: comings::run },
    Test { name: "scarcity", run: scarcity::run },
    Test { name: "stress", run: stress::run },
    Test { name: "contents", run: user::contents },
    Test { name: "user", run: user::run },
];
/// The only one of the kernel that measures.
const BENCH: Test = Test { name: "bench", run: bench::run };
/// What the tests are about, a line each, in the same order: the command lists them without booting.
const ABOUT: &str = include_str!("../tests.tsv");

static IS_RUNNING: AtomicBool = AtomicBool::new(false);
static IS_ENDING: AtomicBool = AtomicBool::new(false);
static N_PASSED: AtomicU32 = AtomicU32::new(0);
static N_FAILED: AtomicU32 = AtomicU32::new(0);

/// Does what the command line says and ends the machine.
pub(crate) fn run(m: &Metal, command_line: &CommandLine) -> ! {
    let names = ABOUT.lines().filter_map(|line| line.split_once('\t')).map(|(name, _)| name);
    assert!(names.eq(TESTS.iter().map(|test| test.name)), "tests.tsv names other tests");
    if cfg!(feature = "bench") {
        run_one(m, &BENCH, command_line);
        end()
    }
    for test in TESTS.iter().filter(|test| command_line.test.is_none_or(|name| name == test.name)) {
        run_one(m, test, command_line);
    }
    end()
}

fn run_one(m: &Metal, test: &Test, command_line: &CommandLine) {
    print!("test {} ... ", test.name);
    IS_RUNNING.store(true, Relaxed);
    witness::begin();
    let n_taken = || (memory::TABLES.n_taken(), memory::DATA.n_taken(), memory::LARGE_PAGES.n_taken());
    let n_before = n_taken();
    let outcome = (test.run)(m, command_line);
    IS_RUNNING.store(false, Relaxed);
    let is_leaking = n_taken() != n_before;
    let n_counted = if outcome.is_ok() && witness::stale().is_none() && !is_leaking { &N_PASSED } else { &N_FAILED };
    n_counted.fetch_add(1, Relaxed);
    if let Some((n_stale, cpu, page, found)) = witness::stale() {
        let address = page.address::<Format>().0;
        println!("FAILED: stale accesses: {n_stale}, the first on CPU {cpu} at {address:#x}, which found {found:#x}");
    } else if let Err(reason) = outcome {
        println!("FAILED: {reason}");
    } else if is_leaking {
        println!("FAILED: frames were not given back: {n_before:?} were in use before, {:?} are now", n_taken());
    } else {
        println!("ok");
    }
}

fn end() -> ! {
    let (n_passed, n_failed) = (N_PASSED.load(Relaxed), N_FAILED.load(Relaxed));
    let (n_accesses, n_stale) = witness::counts();
    if n_accesses > 0 {
        println!("{n_accesses} accesses looked at, {n_stale} stale");
    }
    println!("{n_passed} passed, {n_failed} failed");
    exit(if n_failed == 0 { Verdict::Passed } else { Verdict::Failed })
}

/// What a panic comes to: it fails the test that runs, and ends the machine.
pub(crate) fn end_in_panic(information: &PanicInfo<'_>) -> ! {
    if IS_ENDING.swap(true, Relaxed) {
        cpu::halt_for_ever();
    }
    let is_running = IS_RUNNING.load(Relaxed);
    print!("{}{}", if is_running { "FAILED: " } else { "panic: " }, information.message());
    if let Some(location) = information.location() {
        print!(" ({}:{})", location.file(), location.line());
    }
    println!("");
    if !is_running {
        exit(Verdict::Broken);
    }
    N_FAILED.fetch_add(1, Relaxed);
    end()
}

/// Fails unless something is so.
fn ensure(is_so: bool, otherwise: &'static str) -> Outcome {
    if is_so { Ok(()) } else { Err(otherwise) }
}
