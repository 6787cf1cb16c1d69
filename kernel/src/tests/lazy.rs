//! CPUs that have an address space loaded and do not use it.

use core::sync::atomic::{AtomicU64, Ordering::*};

use shootdown::{Attributes, Counter, SpaceId, VpnRange, residency};

use super::{
    Outcome, ensure,
    pages::{self, PAGE, USER},
};
use crate::{command_line::CommandLine, jobs, machine::Metal, places, smp, tlb, witness};

/// A page is replaced while the other CPUs are lazy; they are not interrupted, and find the new frame when they are
/// back.
pub(super) fn catch_up(m: &Metal, _: &CommandLine) -> Outcome {
    pages::with_space(m, |space| {
        ensure(pages::map(m, space, PAGE, Attributes::USER_WRITE), "the page could not be mapped")?;
        let n_reached = AtomicU64::new(0);
        let n_skipped = || places::counted(Counter::SkippedLazy);
        jobs::on_every_cpu(m, &|m| {
            space.switch_to(m);
            n_reached.fetch_add(u64::from(witness::load(space.id(), PAGE)), Relaxed);
            if !pages::directs(m) {
                residency::enter_lazy(m);
            }
            jobs::meet();
            if pages::directs(m) {
                let n_before = n_skipped();
                let page = VpnRange::from_len(PAGE, 1);
                pages::unmap(m, space, page, page);
                if n_skipped() == n_before + u64::from(smp::n_cpus()) - 1 {
                    n_reached.fetch_add(1, Relaxed);
                }
            }
            jobs::meet();
            space.switch_to(m);
            // Nothing is mapped any more.
            n_reached.fetch_add(u64::from(witness::load(space.id(), PAGE)), Relaxed);
        });
        ensure(
            n_reached.into_inner() == u64::from(smp::n_cpus()) + 1,
            "a lazy CPU was interrupted, or reaches a page that has gone",
        )
    })
}

/// An address space ends that other CPUs have loaded lazily: nobody translates through its root table any more.
pub(super) fn exit(m: &Metal, _: &CommandLine) -> Outcome {
    let space = pages::create(m, SpaceId(0));
    let is_mapped = pages::map(m, space, PAGE, Attributes::USER_WRITE);
    // They go lazy when the job is done.
    jobs::on_every_cpu(m, &|m| {
        space.switch_to(m);
        witness::load(space.id(), PAGE);
    });
    residency::leave(m);
    pages::unmap(m, space, USER, USER);
    space.destroy(m);
    let n_left_behind = AtomicU64::new(0);
    jobs::on_every_cpu(m, &|m| {
        n_left_behind.fetch_add(u64::from(tlb::root() != smp::kernel_root()), Relaxed);
        residency::leave(m);
    });
    ensure(is_mapped, "the page could not be mapped")?;
    ensure(n_left_behind.into_inner() == 0, "a CPU has the root table loaded that was freed")
}
