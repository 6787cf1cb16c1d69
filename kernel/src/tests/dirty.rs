//! Stores that come at the last moment: what was stored to a page that is unmapped must be known, or it is lost.

use core::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::*},
};

use shootdown::{Attributes, Frame, Gather, Space};

use super::{
    Outcome, ensure,
    pages::{self, PAGE},
};
use crate::{command_line::CommandLine, cpu, jobs, machine::Metal, random, witness};

/// Rounds are operations too, of which there are this many times more.
const OPERATIONS_A_ROUND: u64 = 25;

/// One CPU maps and unmaps a page, and looks whether the entry knew of every store; the others store all the time.
pub(super) fn run(m: &Metal, command_line: &CommandLine) -> Outcome {
    let n_rounds = command_line.n_operations.div_ceil(OPERATIONS_A_ROUND);
    pages::with_space(m, |space| {
        let goes_on = AtomicBool::new(true);
        let (n_clean, n_dirty, n_lost) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        jobs::on_every_cpu(m, &|m| {
            space.switch_to(m);
            if !pages::directs(m) {
                while goes_on.load(Relaxed) {
                    witness::store(space.id(), PAGE);
                    cpu::pause();
                }
                return;
            }
            for _ in 0..n_rounds {
                // Not marked dirty.
                pages::map(m, space, PAGE, Attributes::USER_WRITE);
                if random::below(4) == 0 {
                    cpu::pause();
                }
                match unmap(m, space) {
                    (true, _) => &n_dirty,
                    (false, true) => &n_lost,
                    (false, false) => &n_clean,
                }
                .fetch_add(1, Relaxed);
            }
            goes_on.store(false, Relaxed);
        });
        ensure(n_lost.into_inner() == 0, "a store was made, and the entry that was taken out knew nothing of it")?;
        ensure(n_clean.into_inner() > 0 && n_dirty.into_inner() > 0, "the page was always stored to, or never")
    })
}

/// Unmaps the page; tells whether the entry said that it was stored to, and whether it was.
fn unmap(m: &Metal, space: &Space<Metal>) -> (bool, bool) {
    let was_stored_to = Cell::new(false);
    let sink = |m: &Metal, frame: Frame| {
        // Nobody can store any more.
        was_stored_to.set(witness::was_stored_to(frame.pfn()));
        witness::give_frame_back(m, frame);
    };
    let mut gather = Gather::new(m, space, &sink);
    let is_dirty = {
        let tables = space.lock(m);
        let leaf = tables.find(PAGE);
        leaf.and_then(|leaf| gather.unhook(leaf)).is_some_and(|unhooked| unhooked.attributes.dirty)
    };
    gather.finish();
    (is_dirty, was_stored_to.get())
}
