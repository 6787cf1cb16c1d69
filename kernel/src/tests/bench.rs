//! How many instructions a shootdown takes, on all CPUs together: QEMU's clock counts them.

use core::{
    arch::x86_64::_rdtsc,
    sync::atomic::{AtomicU64, Ordering::*},
};

use shootdown::{Attributes, Level, Machine as _, Space, Stale, residency};

use super::{
    Outcome, ensure,
    pages::{self, PAGE},
};
use crate::{
    command_line::CommandLine,
    cpu, jobs,
    machine::{Format, Metal},
    serial::println,
    smp,
};

/// How many CPUs besides the one that flushes have the address space loaded.
const TARGETS: [u64; 5] = [0, 1, 2, 3, 7];
const N_FLUSHES: u64 = 1000;

/// What the targets do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Spin,
    Sleep,
}

/// Prints a table of shootdowns, and has the program print its own. Without timers and counters, and with every fix a constant.
pub(super) fn run(m: &Metal, _: &CommandLine) -> Outcome {
    pages::with_space(m, |space| shootdowns(m, space))?;
    super::user::ends_well(m, &["program", "bench"])
}

fn shootdowns(m: &Metal, space: &'static Space<Metal>) -> Outcome {
    ensure(pages::map(m, space, PAGE, Attributes::USER_WRITE), "there is no memory for a page")?;
    println!("\ninstructions for one page, on all CPUs together\ntargets  spinning  halted");
    let [mut one, mut three] = [None; 2];
    for n_targets in TARGETS.into_iter().filter(|n_targets| *n_targets < u64::from(smp::n_cpus())) {
        let took = [Meanwhile::Spin, Meanwhile::Sleep].map(|meanwhile| measure(m, space, n_targets, meanwhile));
        println!("{n_targets:>7} {:>9} {:>7}", took[0], took[1]);
        match n_targets {
            1 => one = Some(took),
            3 => three = Some(took),
            _ => {}
        }
    }
    if let (Some(one), Some(three)) = (one, three) {
        println!("a target {:>8} {:>7}", (three[0] - one[0]) / 2, (three[1] - one[1]) / 2);
    }
    Ok(())
}

/// The instructions that one flush takes when so many other CPUs have the address space loaded.
fn measure(m: &Metal, space: &'static Space<Metal>, n_targets: u64, meanwhile: Meanwhile) -> u64 {
    let (n_ready, took) = (AtomicU64::new(0), AtomicU64::new(0));
    jobs::on_every_cpu(m, &|m| {
        let number = u64::from(m.cpu().0);
        if number == 0 {
            space.switch_to(m);
            jobs::until(|| n_ready.load(Relaxed) == n_targets);
            took.store(time_flushes(m, space), Relaxed);
            n_ready.store(0, Relaxed);
            // Awake, to see that it is over.
            space.flush(m, Stale::EVERYTHING);
        } else if number <= n_targets {
            space.switch_to(m);
            n_ready.fetch_add(1, Relaxed);
            let is_over = || n_ready.load(Relaxed) == 0;
            match meanwhile {
                Meanwhile::Spin => jobs::until(is_over),
                Meanwhile::Sleep => {
                    while !is_over() {
                        cpu::sleep();
                    }
                }
            }
        }
        residency::leave(m);
    });
    took.into_inner() / N_FLUSHES
}

fn time_flushes(m: &Metal, space: &Space<Metal>) -> u64 {
    let page = Stale::leaves(Level::LEAF.span::<Format>(PAGE), Level::LEAF);
    space.flush(m, page);
    let begin = now();
    for _ in 0..N_FLUSHES {
        space.flush(m, page);
    }
    now() - begin
}

/// The clock, which goes on by one with each instruction.
fn now() -> u64 {
    // SAFETY: every 64-bit CPU has it, and it touches no memory.
    unsafe { _rdtsc() }
}
