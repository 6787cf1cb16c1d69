//! Stores that are forbidden and permitted again while all CPUs store.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use shootdown::{Attributes, Frame, Gather, Space, Vpn};

use super::{
    Outcome, ensure,
    pages::{self, PAGE},
};
use crate::{command_line::CommandLine, cpu, jobs, machine::Metal, witness};

const N_ROUNDS: u64 = 300;

/// One CPU forbids and permits; the others store all the time, and look whether they still might.
pub(super) fn run(m: &Metal, _: &CommandLine) -> Outcome {
    pages::with_space(m, |space| {
        ensure(pages::map(m, space, PAGE, Attributes::USER_WRITE), "the page could not be mapped")?;
        let goes_on = AtomicBool::new(true);
        let (n_stored, n_refused) = (AtomicU64::new(0), AtomicU64::new(0));
        jobs::on_every_cpu(m, &|m| {
            if !pages::directs(m) {
                space.switch_to(m);
                while goes_on.load(Relaxed) {
                    let stored = witness::store(space.id(), PAGE);
                    if stored { &n_stored } else { &n_refused }.fetch_add(1, Relaxed);
                    cpu::pause();
                }
                return;
            }
            for _ in 0..N_ROUNDS {
                let is_more = |counter: &AtomicU64, than: u64| counter.load(Relaxed) > than;
                let n_before = n_stored.load(Relaxed);
                jobs::until(|| is_more(&n_stored, n_before));
                forbid_stores(m, space, PAGE);
                let n_before = n_refused.load(Relaxed);
                // Or else somebody still stores, which is seen.
                jobs::until(|| is_more(&n_refused, n_before) || witness::stale().is_some());
                permit_stores(m, space, PAGE);
            }
            goes_on.store(false, Relaxed);
        });
        Ok(())
    })
}

/// Takes the permission to store away from a page, if it is mapped.
pub(super) fn forbid_stores(m: &Metal, space: &Space<Metal>, page: Vpn) {
    let sink = |_: &Metal, _: Frame| unreachable!("nothing was unhooked");
    let mut gather = Gather::new(m, space, &sink);
    let tables = space.lock(m);
    let Some(leaf) = tables.find(page) else {
        return;
    };
    let frame = leaf.frame();
    gather.change(leaf, Attributes::USER_READ);
    jobs::dawdle();
    gather.finish();
    // Still under the lock, so the page is still mapped and nobody else has changed it.
    witness::set_read_only(frame, true);
}

/// Gives the permission to store to a page, if it is mapped.
pub(super) fn permit_stores(m: &Metal, space: &Space<Metal>, page: Vpn) {
    let tables = space.lock(m);
    if let Some(mut leaf) = tables.find(page) {
        witness::set_read_only(leaf.frame(), false);
        leaf.set_access_flags(Attributes::USER_WRITE);
    }
}
