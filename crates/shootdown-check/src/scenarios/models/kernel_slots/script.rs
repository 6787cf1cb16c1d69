//! What the models of the kernel's slots have in common: an init root, a root for each process, and in each of them the entry
//! by which it reaches the kernel's pages.
//!
//! What touches a page here is the kernel, so a fault is for its own handler.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use shootdown::{
    At, Attributes, Entry, EntryAt, EntryFormat, Level, Machine, Modify, Pfn, Shared, SpaceId, TableFrame, Vpn,
    arch::tiny::Tiny,
};
use shootdown_sim::smp::Access;

use crate::machine::Sim;

/// The kernel's pages: the second entry of a root leads to both.
pub(super) const PAGE: Vpn = Vpn(2);
pub(super) const NEXT_PAGE: Vpn = Vpn(3);

/// The root that all others are copied from. [`create_roots`] is the first to take frames, and the machine hands them out in
/// order.
pub(super) const INIT: TableFrame = TableFrame(Pfn(0));

/// The root of a process, from 0.
pub(super) const fn root(process: u32) -> TableFrame {
    TableFrame(Pfn(1 + process as u64))
}

/// Creates the init root and those of so many processes, all of them empty.
pub(super) fn create_roots(m: &Sim, n_processes: u32) {
    for frame in std::iter::once(INIT).chain((0..n_processes).map(root)) {
        assert_eq!(m.alloc_table(), Ok(frame));
    }
}

/// Loads the root of a process.
pub(super) fn load(m: &Sim, process: u32) {
    m.load_root(Some((root(process), SpaceId(process))));
}

/// Returns the entry of a root that leads to a page.
#[track_caller]
pub(super) fn slot(m: &Sim, root: TableFrame, page: Vpn) -> u64 {
    m.load(At::Entry(entry(root, Tiny::ROOT, page)), Acquire)
}

/// Fills the entry of a root that leads to a page, or clears it.
#[track_caller]
pub(super) fn set_slot(m: &Sim, root: TableFrame, page: Vpn, to: u64) {
    m.store(At::Entry(entry(root, Tiny::ROOT, page)), to, Release);
}

/// Copies the entry that leads to a page from the init root.
#[track_caller]
pub(super) fn copy_slot(m: &Sim, to: TableFrame, page: Vpn) {
    set_slot(m, to, page, slot(m, INIT, page));
}

/// Fills the init root's slot for a page, and tells whether it was empty. Nobody else does the same meanwhile.
#[track_caller]
pub(super) fn fill_init_slot(m: &Sim, page: Vpn) -> bool {
    let is_empty = slot(m, INIT, page) == 0;
    if is_empty {
        let table = m.alloc_table().expect("the machine has a frame for the table");
        set_slot(m, INIT, page, Tiny::table(table));
    }
    is_empty
}

/// Maps a page where the init root says.
#[track_caller]
pub(super) fn map(m: &Sim, page: Vpn) {
    let frame = m.alloc_frame();
    set_leaf(m, page, Tiny::leaf(frame.pfn(), Level::LEAF, Attributes::USER_WRITE));
}

/// Sets the entry of a page, in the table that the init root's slot leads to.
#[track_caller]
pub(super) fn set_leaf(m: &Sim, page: Vpn, to: u64) {
    let Entry::Table(table) = Tiny::decode(slot(m, INIT, page), Tiny::ROOT) else {
        panic!("the slot is filled before pages are mapped under it");
    };
    m.store(At::Entry(entry(table, Level::LEAF, page)), to, Release);
}

fn entry(table: TableFrame, level: Level, page: Vpn) -> EntryAt {
    EntryAt { table, index: page.index::<Tiny>(level) }
}

/// Returns the address of a page to whoever [waits](wait_for) for it.
#[track_caller]
pub(super) fn hand_out(m: &Sim, page: Vpn) {
    handed_out(m).update(m, Modify::Or(1 << page.0), AcqRel);
}

pub(super) fn wait_for(m: &Sim, page: Vpn) {
    m.spin(|m| (handed_out(m).load(m, Acquire) & 1 << page.0 != 0).then_some(()));
}

/// The pages whose addresses are known, as bits.
fn handed_out(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(1)
}

/// Lets kernel code use a page, whose address it was given. Nothing handles a fault.
#[track_caller]
pub(super) fn use_page(m: &Sim, page: Vpn) {
    assert!(m.tries(page, Access::Read), "a fault on a kernel address in use");
}

/// Does something while no other CPU does.
pub(super) fn locked(m: &Sim, critical: impl FnOnce(&Sim)) {
    let lock = m.scratch(0);
    m.spin(|m| (lock.modify(m, Modify::CompareExchange { old: 0, new: 1 }, Acquire) == 0).then_some(()));
    critical(m);
    lock.store(m, 0, Release);
}
