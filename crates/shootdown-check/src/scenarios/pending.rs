//! An entry forbids something, and who made it so has not flushed yet: whoever finds it so must not rely on it (R-NUMA,
//! R-UFFD, R-KSM).
//!
//! CPU 0 changes the entry and flushes when the lock is long released. CPU 1 reads the page meanwhile, and puts another frame
//! in its place. CPU 2 goes on storing to it.

use shootdown::{Attributes, CpuId, Fix, Frame, Gather, Machine};
use shootdown_sim::smp::{Config, MemoryModel, TlbModel};

use super::script::{PAGE_0, create_with};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// Late stores are other scenarios' business.
const THREE_CPUS: Config = Config { memory: MemoryModel::Sc, tlb: TlbModel::MaySets, ..Config::with_cpus(3) };

pub(super) static MIGRATION: Scenario = Scenario {
    name: "migration_3cpu",
    goal: "A page is migrated without a flush since nobody has access to it, while a stale translation still lets it be written.",
    method: "CPU 0 makes the page inaccessible, as NUMA hinting does, CPU 1 migrates it, and CPU 2 stores to it.",
    machine: THREE_CPUS,
    setup,
    main: |m| match m.cpu() {
        CpuId(0) => change(m, |attributes| Attributes { user: false, ..attributes }),
        CpuId(1) => replace(m, |was| Attributes { user: true, ..was }),
        _ => m.write(PAGE_0),
    },
    proves: &[Proof::of(Fix::AskWhatIsPending, "lost-store")],
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

pub(super) static COPY: Scenario = Scenario {
    name: "copy_on_write_3cpu",
    goal: "A page is copied since its entry forbids stores, while a stale translation still lets it be written.",
    method: "CPU 0 makes the page read-only, CPU 1 copies it to have one of its own, and CPU 2 stores to it.",
    main: |m| match m.cpu() {
        CpuId(0) => change(m, read_only),
        CpuId(1) => replace(m, |was| Attributes { writable: true, dirty: true, ..was }),
        _ => m.write(PAGE_0),
    },
    proves: &[Proof::of(Fix::FlushBeforeCopy, "lost-store")],
    ..MIGRATION
};

pub(super) static MERGE: Scenario = Scenario {
    name: "merge_3cpu",
    goal: "A page is compared with another one and given up for it, while a stale translation still lets it be written.",
    method: "CPU 0 makes the page read-only, CPU 1 does as well, compares it and merges it, and CPU 2 stores to it.",
    main: |m| match m.cpu() {
        CpuId(0) => change(m, read_only),
        CpuId(1) => merge(m),
        _ => m.write(PAGE_0),
    },
    ..MIGRATION
};

fn setup(m: &Sim) {
    if m.cpu() == CpuId(0) {
        create_with(m, 1, Attributes::USER_WRITE);
    }
    // Who changes things does it from outside, and has nothing loaded.
    if m.cpu() == CpuId(2) {
        m.user_space().switch_to(m);
        m.write(PAGE_0);
    }
}

const fn read_only(attributes: Attributes) -> Attributes {
    Attributes { writable: false, ..attributes }
}

/// Changes the entry, if the page is there, and flushes later.
fn change(m: &Sim, to: impl Fn(Attributes) -> Attributes) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let mut gather = Gather::new(m, m.user_space(), &sink);
    let tables = m.user_space().lock(m);
    if let Some(leaf) = tables.find(PAGE_0) {
        let attributes = to(leaf.attributes());
        gather.change(leaf, attributes);
    }
    drop(tables);
    gather.finish();
}

/// Puts a copy in the place of the page, if nobody has access to it, or only to read it.
fn replace(m: &Sim, attributes: impl Fn(Attributes) -> Attributes) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let mut gather = Gather::new(m, m.user_space(), &sink);
    let tables = m.user_space().lock(m);
    let found = tables.find(PAGE_0).map(|leaf| leaf.attributes());
    if found.is_some_and(|found| !(found.user && found.writable)) {
        let frame = m.alloc_frame();
        let replaced = gather.replace(&tables, PAGE_0, frame, attributes, |from, to| m.copy(from, to));
        assert!(replaced.is_ok(), "the page is mapped");
    }
    drop(tables);
    gather.finish();
}

/// Makes sure that nobody writes to the page, finds that it is as another one, and puts that in its place.
fn merge(m: &Sim) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let mut gather = Gather::new(m, m.user_space(), &sink);
    let tables = m.user_space().lock(m);
    let leaf = tables.find(PAGE_0).expect("the page is mapped");
    let (old, attributes) = (leaf.frame(), read_only(leaf.attributes()));
    gather.restrict(leaf, attributes);
    let equal = m.alloc_frame();
    m.copy(old, equal.pfn());
    let replaced = gather.replace(&tables, PAGE_0, equal, read_only, |_, _| {});
    assert!(replaced.is_ok(), "the page is mapped");
    drop(tables);
    gather.finish();
}
