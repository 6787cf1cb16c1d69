//! Pages that come and go, or move, under CPUs that use them.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use shootdown::{Attributes, Level, Space, Vpn, VpnRange};

use super::{
    Outcome, ensure,
    pages::{self, PAGE},
};
use crate::{
    access,
    command_line::CommandLine,
    cpu, jobs,
    machine::Metal,
    random, smp,
    witness::{self, Mark},
};

const N_ROUNDS: u64 = 300;
/// More than a flush invalidates one by one, so that both ways are taken.
const N_PAGES: u64 = 40;
const FIRST: Vpn = Vpn(PAGE.0 & !511);

/// Moves a page to another frame and asks every CPU what it reads there.
pub(super) fn remap(m: &Metal, _: &CommandLine) -> Outcome {
    pages::with_space(m, |space| {
        let is_fine = AtomicBool::new(true);
        let must = |is_so: bool| {
            if !is_so {
                is_fine.store(false, Relaxed)
            }
        };
        jobs::on_every_cpu(m, &|m| {
            space.switch_to(m);
            for round in 0..N_ROUNDS {
                if pages::directs(m) {
                    must(move_page(m, space) && access::store(PAGE, 2, round));
                }
                jobs::meet();
                must(witness::load(space.id(), PAGE));
                must(access::load(PAGE, 2) == Some(round));
                jobs::meet();
            }
        });
        ensure(is_fine.into_inner(), "a CPU reads the frame that the page has left")
    })
}

/// Makes the page have another frame than before; tells whether that went well.
fn move_page(m: &Metal, space: &Space<Metal>) -> bool {
    let page = VpnRange::from_len(PAGE, 1);
    // The pool gives the lowest frame that is free. So this one is kept until the old one has been taken away.
    let new = witness::take_frame(Mark(0));
    pages::unmap(m, space, page, page);
    let old = witness::take_frame(Mark(0));
    new.into_iter().for_each(witness::give_back);
    let is_mapped = pages::map(m, space, PAGE, Attributes::USER_WRITE);
    old.into_iter().for_each(witness::give_back);
    is_mapped
}

/// One CPU maps and unmaps pages; all others use them, now and then with interrupts masked.
pub(super) fn unmap(m: &Metal, _: &CommandLine) -> Outcome {
    pages::with_space(m, |space| {
        let goes_on = AtomicBool::new(true);
        let n_used = AtomicU64::new(0);
        jobs::on_every_cpu(m, &|m| {
            if pages::directs(m) {
                come_and_go(m, space);
                goes_on.store(false, Relaxed);
                return;
            }
            space.switch_to(m);
            while goes_on.load(Relaxed) {
                use_some(space, &n_used);
            }
        });
        ensure(n_used.into_inner() >= N_ROUNDS * u64::from(smp::n_cpus()), "the other CPUs hardly found a page")
    })
}

fn come_and_go(m: &Metal, space: &Space<Metal>) {
    for _ in 0..N_ROUNDS {
        for page in (FIRST.0..FIRST.0 + N_PAGES).map(Vpn) {
            pages::map(m, space, page, Attributes::USER_WRITE);
        }
        for _ in 0..8 {
            cpu::pause();
        }
        let range = VpnRange::from_len(Vpn(FIRST.0 + random::below(8)), 1 + random::below(N_PAGES));
        // With the tables, or without.
        let limits = if random::below(2) == 0 { Level(3).span::<crate::machine::Format>(FIRST) } else { range };
        pages::unmap(m, space, range, limits);
    }
}

fn use_some(space: &Space<Metal>, n_used: &AtomicU64) {
    let was = if random::below(2) == 0 { cpu::mask_interrupts() } else { 0 };
    for _ in 0..16 {
        let page = Vpn(FIRST.0 + random::below(N_PAGES));
        let is_mapped = match random::below(2) {
            0 => witness::load(space.id(), page),
            _ => witness::store(space.id(), page),
        };
        witness::check_contents(space.id(), page);
        n_used.fetch_add(u64::from(is_mapped), Relaxed);
        jobs::dawdle();
    }
    cpu::restore_interrupts(was);
    cpu::pause();
}
