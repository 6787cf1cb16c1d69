//! What the models of kernel addresses have in common: one root, in which every page is reached through a table that is there,
//! and two CPUs that run nothing but the kernel.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use shootdown::{
    At, Attributes, CpuId, EntryAt, EntryFormat, Invalidate, Level, Machine, Modify, Pfn, Shared, SpaceId, TableFrame,
    Vpn, arch::tiny::Tiny,
};

use super::super::script::kick;
use crate::machine::Sim;

/// The page whose address is used again, and the one beside it.
pub(super) const PAGE: Vpn = Vpn(2);
pub(super) const NEXT_PAGE: Vpn = Vpn(3);

/// Where [`setup`] puts them: the machine hands frames out in order. [`OLD`] is what the page is mapped to, [`NEW`] what it will
/// be mapped to next.
const ROOT: TableFrame = TableFrame(Pfn(0));
const TABLE: TableFrame = TableFrame(Pfn(1));
pub(super) const OLD: Pfn = Pfn(2);
pub(super) const NEW: Pfn = Pfn(3);

/// The page is mapped, and both CPUs have the root loaded.
pub(super) fn setup(m: &Sim) {
    if m.cpu() == CpuId(0) {
        assert_eq!((m.alloc_table(), m.alloc_table()), (Ok(ROOT), Ok(TABLE)));
        assert_eq!((m.alloc_frame().pfn(), m.alloc_frame().pfn()), (OLD, NEW));
        let slot = EntryAt { table: ROOT, index: PAGE.index::<Tiny>(Tiny::ROOT) };
        m.store(At::Entry(slot), Tiny::table(TABLE), Release);
        map(m, PAGE, OLD);
    }
    m.load_root(Some((ROOT, SpaceId(0))));
}

/// The same, and what a CPU remembers is wrong only when it is used.
pub(super) fn setup_without_user(m: &Sim) {
    setup(m);
    m.stop_user();
}

#[track_caller]
pub(super) fn map(m: &Sim, page: Vpn, frame: Pfn) {
    m.store(At::Entry(leaf(page)), Tiny::leaf(frame, Level::LEAF, Attributes::USER_WRITE), Release);
}

/// Takes the page away, and flushes nothing.
#[track_caller]
pub(super) fn unmap(m: &Sim, page: Vpn) {
    m.store(At::Entry(leaf(page)), 0, Release);
}

fn leaf(page: Vpn) -> EntryAt {
    EntryAt { table: TABLE, index: page.index::<Tiny>(Level::LEAF) }
}

/// Has both CPUs forget everything, and waits until they have.
pub(super) fn flush(m: &Sim) {
    m.invalidate(Invalidate::All);
    m.complete();
    let other = CpuId(1 - m.cpu().0);
    have_forgotten(m).update(m, Modify::And(!(1 << other.0)), AcqRel);
    kick(m, other);
    m.spin(|m| (have_forgotten(m).load(m, Acquire) & 1 << other.0 != 0).then_some(()));
}

/// The handler for that.
pub(super) fn forget(m: &Sim) {
    m.invalidate(Invalidate::All);
    have_forgotten(m).update(m, Modify::Or(1 << m.cpu().0), AcqRel);
}

/// The CPUs that have, as bits.
fn have_forgotten(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(0)
}
