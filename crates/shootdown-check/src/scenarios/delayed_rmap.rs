//! Write-back looks for the mappings of a page of a file, to make them read-only, while one of them is being unmapped
//! (R-RMAP).
//!
//! A reverse map says who maps a page. Here it is a word, since there is one page and one mapping.

use std::sync::atomic::Ordering::*;

use shootdown::{
    Attributes, CpuId, Fix, Frame, FrameRun, FrameSink, Gather, Machine, Modify, Pfn, Rmap, Shared, Unhooked, VpnRange,
};
use shootdown_sim::smp::Config;

use super::script::{PAGE_0, create_with};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// Where the page lies: in the first frame that is taken after the root's.
const FRAME: Pfn = Pfn(1);

pub(super) static DELAYED_RMAP: Scenario = Scenario {
    name: "delayed_rmap_3cpu",
    goal: "Write-back finds no mapping of a page and calls it clean, while a stale translation still lets it be written.",
    method: "CPU 0 unmaps a dirty page of a file, CPU 1 goes on writing to it, CPU 2 writes it back.",
    machine: Config::with_cpus(3),
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create_with(m, 1, Attributes::USER_WRITE);
            File.open(m);
        }
        // Write-back runs in a kernel thread, and has nothing of the address space.
        if m.cpu() != CpuId(2) {
            m.user_space().switch_to(m);
        }
        if m.cpu() == CpuId(1) {
            m.write(PAGE_0);
        }
    },
    main: |m| match m.cpu() {
        CpuId(0) => unmap(m),
        CpuId(1) => m.write(PAGE_0),
        _ => write_back(m),
    },
    proves: &[
        Proof::of(Fix::DelayRmap, "lost-store"),
        Proof::of(Fix::WaitForAcks, "stale-at-free"),
        Proof::of(Fix::FlushRemote, "stale-at-free"),
    ],
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

fn unmap(m: &Sim) {
    let space = m.user_space();
    let mut gather = Gather::new(m, space, &File);
    let tables = space.lock(m);
    gather.unhook_range(&tables, VpnRange::from_len(PAGE_0, 1), |unhooked| File.unhooked(m, unhooked));
    drop(tables);
    gather.finish();
}

/// What Linux does as `folio_mkclean` and then `folio_start_writeback`.
fn write_back(m: &Sim) {
    if File.is_mapped(m) {
        make_clean(m);
    }
    m.write_back(FRAME);
    File.drop_reference(m);
}

/// Makes the mapping clean and read-only, and flushes before anybody can unmap it.
fn make_clean(m: &Sim) {
    let space = m.user_space();
    let mut gather = Gather::new(m, space, &File);
    let tables = space.lock(m);
    if let Some(leaf) = tables.find(PAGE_0) {
        let clean = Attributes { writable: false, dirty: false, ..leaf.attributes() };
        gather.restrict(leaf, clean);
    }
    gather.finish();
    drop(tables);
}

/// A file of one page, mapped once. The mapping has a reference to the page, and the file itself another one, which it
/// drops once the page is written back.
struct File;

impl File {
    fn open(&self, m: &Sim) {
        let tables = m.user_space().lock(m);
        let leaf = tables.find(PAGE_0).expect("the page is mapped");
        assert_eq!(leaf.frame(), FRAME);
        self.mappings(m).store(m, 1, Relaxed);
        self.references(m).store(m, 2, Relaxed);
    }

    fn mappings(&self, m: &Sim) -> &'static Shared<Sim> {
        m.scratch(0)
    }

    fn references(&self, m: &Sim) -> &'static Shared<Sim> {
        m.scratch(1)
    }

    fn is_mapped(&self, m: &Sim) -> bool {
        // ORDER(remove/look): the flush came before, and nothing is written any more.
        self.mappings(m).load(m, Acquire) != 0
    }

    /// Only through a translation that counts as dirty can a store come that nobody hears of.
    fn unhooked(&self, m: &Sim, unhooked: &Unhooked) -> Rmap {
        if unhooked.attributes.dirty {
            m.note_dirty(unhooked.frame);
            Rmap::Delayed
        } else {
            self.forget_mapping(m);
            Rmap::Now
        }
    }

    fn forget_mapping(&self, m: &Sim) {
        // ORDER(remove/look): after the flush, if there was anything to flush.
        self.mappings(m).store(m, 0, Release);
    }

    fn drop_reference(&self, m: &Sim) {
        // ORDER(release/reuse): whoever drops the last one has all uses behind it.
        if self.references(m).modify(m, Modify::Add(1_u64.wrapping_neg()), AcqRel) == 1 {
            m.free_frame_of_owner(FRAME);
        }
    }
}

impl FrameSink<Sim> for File {
    fn release(&self, m: &Sim, run: FrameRun) {
        run.into_frames().for_each(|_: Frame| self.drop_reference(m));
    }

    fn remove_rmap(&self, m: &Sim, _run: &FrameRun) {
        self.forget_mapping(m);
    }
}
