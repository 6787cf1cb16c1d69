//! All CPUs at once do, in random order, whatever a kernel does with address spaces. What programs find there is looked
//! at all the time.

use core::sync::atomic::{AtomicU64, Ordering::*};

use shootdown::{
    Attributes, CpuId, CpuSet, Level, Machine as _, Masked, Space, SpaceId, Vpn, VpnRange, call, residency,
};

use super::{
    Outcome, ensure,
    pages::{self, USER},
    permissions,
};
use crate::{
    command_line::CommandLine,
    cpu::{self, MAX_CPUS},
    jobs,
    machine::{Cpus, Format, Metal},
    places::{self, N_TEST_SPACES},
    random, smp, witness,
};

/// First pages of the regions in use: two neighbours, and two that share fewer and fewer tables with them. Each has its
/// own part of QEMU's TLB, which has 256 places at first and finds them by the lowest bits: nothing is forgotten by
/// accident.
const REGIONS: [u64; 4] = [1 << 10, (3 << 9) + 48, (1 << 18) + 96, (1 << 27) + 144];
/// Pages of each region that are in use.
const REGION_PAGES: u64 = 40;

struct Counts {
    n_used: AtomicU64,
    n_mapped: AtomicU64,
    // Masked sections that a rendezvous did not wait for.
    n_overtaken: AtomicU64,
    // Odd while the CPU is in a section with interrupts masked.
    sections: [AtomicU64; MAX_CPUS],
}

/// Does as many operations as the command line says, on all CPUs together.
pub(super) fn run(m: &Metal, command_line: &CommandLine) -> Outcome {
    let spaces = core::array::from_fn::<_, N_TEST_SPACES, _>(|id| pages::create(m, SpaceId(id as u32)));
    let n_operations = command_line.n_operations.div_ceil(u64::from(smp::n_cpus()));
    let counts = Counts {
        n_used: AtomicU64::new(0),
        n_mapped: AtomicU64::new(0),
        n_overtaken: AtomicU64::new(0),
        sections: [const { AtomicU64::new(0) }; MAX_CPUS],
    };
    places::set_memory_fails(true);
    jobs::on_every_cpu(m, &|m| Worker { m, counts: &counts }.run(n_operations));
    places::set_memory_fails(false);
    pages::leave_everywhere(m);
    for space in spaces {
        pages::unmap(m, space, USER, USER);
        space.destroy(m);
    }
    ensure(counts.n_overtaken.into_inner() == 0, "a rendezvous returned before a masked section had ended")?;
    let n_enough = command_line.n_operations / 10;
    ensure(counts.n_mapped.into_inner() >= n_enough, "hardly a page was mapped")?;
    ensure(counts.n_used.into_inner() >= n_enough, "hardly a page was used")
}

struct Worker<'w> {
    m: &'w Metal,
    counts: &'w Counts,
}

impl Worker<'_> {
    fn run(&self, n_operations: u64) {
        // The one that is loaded and not lazy.
        let mut active: Option<&Space<Metal>> = None;
        for _ in 0..n_operations {
            let space = &places::SPACES[random::below(N_TEST_SPACES as u64) as usize];
            match (random::below(20), active) {
                (0..4, _) => self.map_some(space),
                (4..7, _) => self.unmap_some(space),
                (7, _) => {
                    let _masked = self.masked_at_random();
                    permissions::forbid_stores(self.m, space, page());
                }
                (8, _) => permissions::permit_stores(self.m, space, page()),
                (9, _) => self.rendezvous(),
                (10, _) => {
                    residency::enter_lazy(self.m);
                    active = None;
                }
                (11, _) => {
                    residency::leave(self.m);
                    active = None;
                }
                (12, _) | (_, None) => {
                    space.switch_to(self.m);
                    active = Some(space);
                }
                (13..17, Some(active)) => self.use_some(active),
                (_, Some(active)) => self.use_some_masked(active),
            }
        }
        if random::below(2) == 0 { residency::enter_lazy(self.m) } else { residency::leave(self.m) }
    }

    /// Masks interrupts, or not: the library must be good for both.
    fn masked_at_random(&self) -> Option<Masked<'_, Metal>> {
        (random::below(4) == 0).then(|| Masked::new(self.m))
    }

    fn map_some(&self, space: &Space<Metal>) {
        let _masked = self.masked_at_random();
        let first = page().0;
        for page in (first..first + 1 + random::below(16)).map(Vpn) {
            if pages::map(self.m, space, page, Attributes::USER_WRITE) {
                self.counts.n_mapped.fetch_add(1, Relaxed);
            }
        }
    }

    fn unmap_some(&self, space: &Space<Metal>) {
        let _masked = self.masked_at_random();
        let first = page();
        let range = match random::below(4) {
            0 => Level(2).span::<Format>(first),
            _ => VpnRange::from_len(first, 1 + random::below(24)),
        };
        let limits = if random::below(2) == 0 { range } else { USER };
        pages::unmap(self.m, space, range, limits);
    }

    fn use_some(&self, space: &Space<Metal>) {
        for _ in 0..16 {
            let page = page();
            let is_mapped = match random::below(2) {
                0 => witness::load(space.id(), page),
                _ => witness::store(space.id(), page),
            };
            witness::check_contents(space.id(), page);
            self.counts.n_used.fetch_add(u64::from(is_mapped), Relaxed);
            jobs::dawdle();
        }
    }

    /// What a kernel does that looks pages up without a lock: nothing it finds may go until interrupts are open again.
    #[doc(alias = "get_user_pages_fast")]
    fn use_some_masked(&self, space: &Space<Metal>) {
        let section = &self.counts.sections[usize::from(self.m.cpu().0)];
        let _masked = Masked::new(self.m);
        section.fetch_add(1, Relaxed);
        self.use_some(space);
        section.fetch_add(1, Relaxed);
    }

    /// Meets some other CPUs, and looks whether those that were in a masked section have left it since.
    fn rendezvous(&self) {
        let here = self.m.cpu();
        let targets: CpuSet<Cpus> =
            (0..smp::n_cpus()).map(CpuId).filter(|cpu| *cpu != here && random::below(2) == 0).collect();
        let masked = self.masked_at_random();
        // Relaxed: the rendezvous orders what each target did before it against what we do after.
        let before = self.counts.sections.each_ref().map(|section| section.load(Relaxed));
        call::rendezvous(self.m, &targets);
        for cpu in targets.iter().map(|cpu| usize::from(cpu.0)) {
            if before[cpu] % 2 == 1 && self.counts.sections[cpu].load(Relaxed) == before[cpu] {
                self.counts.n_overtaken.fetch_add(1, Relaxed);
            }
        }
        drop(masked);
        cpu::pause();
    }
}

/// A page of some region.
fn page() -> Vpn {
    Vpn(REGIONS[random::below(REGIONS.len() as u64) as usize] + random::below(REGION_PAGES))
}
