//! All CPUs at once do, in random order, whatever a kernel does with address spaces, and look for what must not happen.
#![expect(clippy::disallowed_types, reason = "the counts are of the test, not of the library")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::*},
};

use shootdown::{
    Attributes, CpuId, CpuSet, EntryFormat, Fix, Frame, Gather, Level, Machine, Masked, Space, Vpn, VpnRange, call,
    residency,
};

use super::{
    host::{Host, N_CPUS, N_SPACES, Settings},
    machine::Cpu,
    mmu::{DATA, Owner},
};

/// First pages of the regions in use: two neighbours, and two that share fewer and fewer tables with them.
const REGIONS: [u64; 4] = [0, 1 << 9, 1 << 18, 1 << 27];
/// Pages of each region that are in use.
const REGION_PAGES: u64 = 40;
/// All pages that the tables can translate.
const EVERYTHING: VpnRange = <Cpu as Machine>::Format::REACH;

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) host: Arc<Host>,
    /// Accesses that succeeded.
    pub(crate) n_accesses: u64,
    pub(crate) n_mapped: u64,
    /// Masked sections that a rendezvous did not wait for.
    pub(crate) n_overtaken: u64,
}

#[derive(Default)]
struct Counts {
    n_accesses: AtomicU64,
    n_mapped: AtomicU64,
    n_overtaken: AtomicU64,
    // Odd while the CPU is in a section with interrupts masked.
    sections: [AtomicU64; N_CPUS],
}

/// Runs `n_operations` on each CPU and then takes everything down again.
pub(crate) fn stress(seed: u64, n_operations: u64, left_out: Option<Fix>) -> Outcome {
    let counts = Counts::default();
    let command = format!("cargo run -p shootdown --example host_threads -- {seed}");
    let host = Host::new(Settings::new(seed, left_out, command));
    host.run(|m| {
        if m.cpu() == CpuId(0) {
            for space in &m.host.spaces {
                space.create(m).expect("there are frames for two roots");
            }
        }
        m.meet();
        Worker { m, counts: &counts }.run(n_operations);
        m.meet();
        if m.cpu() == CpuId(0) {
            for space in &m.host.spaces {
                unmap(m, space, EVERYTHING, EVERYTHING);
                space.destroy(m);
            }
        }
    });
    let Counts { n_accesses, n_mapped, n_overtaken, .. } = counts;
    Outcome {
        host,
        n_accesses: n_accesses.into_inner(),
        n_mapped: n_mapped.into_inner(),
        n_overtaken: n_overtaken.into_inner(),
    }
}

/// Takes the pages of `range` out, and the tables that are empty then and translate nothing outside of `limits`.
pub(crate) fn unmap(m: &Cpu, space: &Space<Cpu>, range: VpnRange, limits: VpnRange) {
    let sink = |m: &Cpu, frame: Frame| m.host.memory.free(frame.pfn());
    let mut gather = Gather::new(m, space, &sink);
    let mut tables = space.lock(m);
    while let Some(leaf) = tables.next_leaf(range) {
        gather.unhook(leaf);
    }
    gather.unhook_tables(&mut tables, range, limits);
    drop(tables);
    m.dawdle();
    gather.finish();
}

/// Maps a new frame at `page`; tells whether there was one, and place for it.
pub(crate) fn map(m: &Cpu, space: &Space<Cpu>, page: Vpn) -> bool {
    let memory = &m.host.memory;
    let Some(frame) = memory.take(DATA, Owner::page(space.id(), page)) else {
        return false;
    };
    // SAFETY: the frame was just taken, so the only reference is ours, and every frame is aligned to the lowest level.
    #[expect(unsafe_code, reason = "this is where the allocator of frames hands over")]
    let frame = unsafe { Frame::claim(frame, Level::LEAF) };
    let mapped = space.lock(m).map(page, frame, Attributes::USER_WRITE);
    mapped.map_err(|error| memory.free(error.frame.pfn())).is_ok()
}

struct Worker<'w> {
    m: &'w Cpu,
    counts: &'w Counts,
}

impl Worker<'_> {
    fn run(&self, n_operations: u64) {
        let m = self.m;
        let mut is_lazy = true; // or has nothing loaded
        for _ in 0..n_operations {
            let space = &m.host.spaces[m.random(N_SPACES as u64) as usize];
            match m.random(21) {
                0..4 => self.map_some(space),
                4..7 => self.unmap_some(space),
                7 => self.forbid_stores(space),
                8 => self.allow_stores(space),
                9 => self.rendezvous(),
                10 => {
                    residency::enter_lazy(m);
                    is_lazy = true;
                }
                11 => {
                    residency::leave(m);
                    is_lazy = true;
                }
                12 => {
                    space.switch_to(m);
                    is_lazy = false;
                }
                13 => {
                    let _masked = Masked::new(m);
                    call::depart(m);
                    m.dawdle();
                    call::arrive(m);
                    is_lazy = true;
                }
                _ if is_lazy => {
                    space.switch_to(m);
                    is_lazy = false;
                }
                14..18 => self.access_some(),
                _ => self.access_some_masked(),
            }
        }
        if m.random(2) == 0 { residency::enter_lazy(m) } else { residency::leave(m) }
    }

    fn page(&self) -> Vpn {
        Vpn(REGIONS[self.m.random(REGIONS.len() as u64) as usize] + self.m.random(REGION_PAGES))
    }

    /// Masks interrupts, or not: the library must be good for both.
    fn masked_at_random(&self) -> Option<Masked<'_, Cpu>> {
        (self.m.random(4) == 0).then(|| Masked::new(self.m))
    }

    fn map_some(&self, space: &Space<Cpu>) {
        let _masked = self.masked_at_random();
        let first = self.page().0;
        for page in (first..first + 1 + self.m.random(16)).map(Vpn) {
            if map(self.m, space, page) {
                self.counts.n_mapped.fetch_add(1, Relaxed);
            }
        }
    }

    fn unmap_some(&self, space: &Space<Cpu>) {
        let _masked = self.masked_at_random();
        let first = self.page();
        let range = match self.m.random(4) {
            0 => Level(2).span::<<Cpu as Machine>::Format>(first),
            _ => VpnRange::from_len(first, 1 + self.m.random(24)),
        };
        let limits = if self.m.random(2) == 0 { range } else { EVERYTHING };
        unmap(self.m, space, range, limits);
    }

    /// Takes the permission to store away from one page.
    fn forbid_stores(&self, space: &Space<Cpu>) {
        let _masked = self.masked_at_random();
        let sink = |_: &Cpu, _: Frame| unreachable!("nothing was unhooked");
        let mut gather = Gather::new(self.m, space, &sink);
        let tables = space.lock(self.m);
        if let Some(leaf) = tables.find(self.page()) {
            let frame = leaf.frame();
            gather.change(leaf, Attributes::USER_READ);
            gather.finish();
            // Still under the lock, so the page is still mapped and nobody else has changed it.
            self.m.host.memory.forbid_stores(frame);
        }
    }

    fn allow_stores(&self, space: &Space<Cpu>) {
        let tables = space.lock(self.m);
        if let Some(mut leaf) = tables.find(self.page()) {
            self.m.host.memory.allow_stores(leaf.frame());
            leaf.set_access_flags(Attributes::USER_WRITE);
        }
    }

    fn access_some(&self) {
        for _ in 0..16 {
            let wanted = if self.m.random(2) == 0 { Attributes::USER_READ } else { Attributes::USER_WRITE };
            if self.m.access(self.page(), wanted) {
                self.counts.n_accesses.fetch_add(1, Relaxed);
            }
            self.m.dawdle();
        }
    }

    /// What a kernel does that looks pages up without a lock: nothing it finds may go until interrupts are unmasked.
    #[doc(alias = "get_user_pages_fast")]
    fn access_some_masked(&self) {
        let section = &self.counts.sections[usize::from(self.m.cpu().0)];
        let _masked = Masked::new(self.m);
        section.fetch_add(1, Relaxed);
        self.access_some();
        section.fetch_add(1, Relaxed);
    }

    /// Meets some other CPUs, and looks whether those that were in a masked section have left it since.
    fn rendezvous(&self) {
        let here = self.m.cpu();
        let targets: CpuSet<_> =
            (0..N_CPUS as u16).map(CpuId).filter(|cpu| *cpu != here && self.m.random(2) == 0).collect();
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
    }
}
