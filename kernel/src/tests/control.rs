//! The positive control: what the library prevents does happen here without it.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use shootdown::{Attributes, Level, Stale};

use super::{
    Outcome, ensure,
    pages::{self, PAGE},
};
use crate::{
    access,
    command_line::CommandLine,
    jobs,
    machine::{Format, Metal},
    smp,
    witness::{self, Mark},
};

/// Loads that the other CPUs make through the old translation.
const N_LOADS: u64 = 10_000;

/// The other CPUs load from a page all the time. Its entry is changed: nobody notices. It is flushed: everybody does.
pub(super) fn run(m: &Metal, _: &CommandLine) -> Outcome {
    pages::with_space(m, |space| {
        ensure(pages::map(m, space, PAGE, Attributes::USER_WRITE), "the page could not be mapped")?;
        let new_mark = Mark(0x1234);
        let new = witness::take_frame(new_mark).ok_or("there is no second frame")?;
        let goes_on = AtomicBool::new(true);
        let (n_old, n_new) = (AtomicU64::new(0), AtomicU64::new(0));
        let outcome = AtomicU64::new(0);
        jobs::on_every_cpu(m, &|m| {
            if !pages::directs(m) {
                space.switch_to(m);
                while goes_on.load(Relaxed) {
                    let is_new = access::load(PAGE, 0) == Some(new_mark.0);
                    if is_new { &n_new } else { &n_old }.fetch_add(1, Relaxed);
                    crate::cpu::pause();
                }
                return;
            }
            let n_others = u64::from(smp::n_cpus()) - 1;
            jobs::until(|| n_old.load(Relaxed) >= N_LOADS);
            let old = pages::replace_entry(m, space, PAGE, new);
            let n_before = n_old.load(Relaxed);
            jobs::until(|| n_old.load(Relaxed) + n_new.load(Relaxed) >= n_before + N_LOADS);
            let was_unseen = n_new.load(Relaxed) == 0;
            space.flush(m, Stale::leaves(Level::LEAF.span::<Format>(PAGE), Level::LEAF));
            // Loads that were made before may be counted after, one for each CPU.
            let n_before = n_old.load(Relaxed);
            jobs::until(|| n_old.load(Relaxed) + n_new.load(Relaxed) >= n_before + N_LOADS);
            let is_seen = n_old.load(Relaxed) <= n_before + n_others;
            goes_on.store(false, Relaxed);
            outcome.store(u64::from(was_unseen) | u64::from(is_seen) << 1, Relaxed);
            if let Some(old) = old {
                pages::replace_entry(m, space, PAGE, old);
            }
        });
        witness::give_back(new);
        let outcome = outcome.into_inner();
        ensure(outcome & 1 != 0, "this machine forgets translations by itself: the other tests prove nothing here")?;
        ensure(outcome & 2 != 0, "after the flush the other CPUs go on reading the old frame")
    })
}
