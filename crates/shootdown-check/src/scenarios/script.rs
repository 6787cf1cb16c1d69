//! What the scripts of several scenarios have in common.

use shootdown::{
    Attributes, CpuId, Fix, Frame, FrameSink, Gather, Level, Machine, Pfn, Rmap, TablesGuard, Vpn, VpnRange, page,
    residency,
};
use shootdown_sim::smp::Config;

use crate::{machine::Sim, scenario::Proof};

/// The steps without which any flush of a page that another CPU uses goes wrong.
pub(super) const FLUSHING: [Proof; 3] = [
    Proof::of(Fix::FlushBeforeFree, "stale-at-free"),
    Proof::of(Fix::WaitForAcks, "stale-at-free"),
    Proof::of(Fix::FlushRemote, "stale-at-free"),
];

/// The same where the other CPU runs no user code, so that only its walker can still reach what is freed.
pub(super) const FLUSHING_WALKERS: [Proof; 3] = [
    Proof::of(Fix::FlushBeforeFree, "stale-at-free"),
    Proof::of(Fix::WaitForAcks, "walker-in-freed-table"),
    Proof::of(Fix::FlushRemote, "walker-in-freed-table"),
];

/// Adds one to the usual proofs.
pub(super) const fn and(usual: [Proof; 3], more: Proof) -> [Proof; 4] {
    let [first, second, third] = usual;
    [first, second, third, more]
}

pub(super) const PAGE_0: Vpn = Vpn(0);
pub(super) const PAGE_1: Vpn = Vpn(1);

/// Two CPUs whose walkers begin at the root every time: enough where no table is freed.
pub(super) const TWO_CPUS: Config = Config::with_cpus(2);

/// Two CPUs whose changes in one step are late as well: where the total order of stores and loads matters.
pub(super) const TWO_LATE_CPUS: Config = Config { late_changes: true, ..TWO_CPUS };

/// Two CPUs with walk caches.
pub(super) const TWO_CACHING_CPUS: Config = Config { caches_walks: true, ..TWO_CPUS };

/// Creates the address space and maps its first pages, on the first CPU to run this. Tables for them lie in one
/// subtree.
pub(super) fn create(m: &Sim, n_pages: u64) {
    create_with(m, n_pages, Attributes::USER_READ);
}

/// The same with other permissions.
pub(super) fn create_with(m: &Sim, n_pages: u64, attributes: Attributes) {
    let space = m.user_space();
    space.create(m).expect("the machine has a frame for the root");
    let mut tables = space.lock(m);
    for number in (0..n_pages).map(Vpn) {
        let frame = page::allocate(m, Level::LEAF).expect("the scenario needs more frames");
        tables.map(number, frame, attributes).expect("the machine has frames for the tables");
    }
}

/// Creates the address space with so many pages, and switches every CPU that runs this to it.
pub(super) fn use_everywhere(m: &Sim, n_pages: u64) {
    use_everywhere_with(m, n_pages, Attributes::USER_READ);
}

/// The same with other permissions.
pub(super) fn use_everywhere_with(m: &Sim, n_pages: u64, attributes: Attributes) {
    if m.cpu() == CpuId(0) {
        create_with(m, n_pages, attributes);
    }
    m.user_space().switch_to(m);
}

/// Unmaps pages and gives their frames back.
pub(super) fn unmap(m: &Sim, pages: VpnRange) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let mut gather = Gather::new(m, space, &sink);
    let tables = space.lock(m);
    unhook_leaves(m, &mut gather, &tables, pages);
    drop(tables);
    gather.finish();
    m.promises(pages);
}

/// Unmaps pages, and the tables that translate nothing else, and gives the frames back.
pub(super) fn unmap_with_tables(m: &Sim, pages: VpnRange) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let mut gather = Gather::new(m, space, &sink);
    let mut tables = space.lock(m);
    unhook_leaves(m, &mut gather, &tables, pages);
    gather.unhook_tables(&mut tables, pages, pages);
    drop(tables);
    gather.finish();
    m.promises(pages);
}

fn unhook_leaves<S: FrameSink<Sim>>(
    m: &Sim,
    gather: &mut Gather<'_, Sim, S>,
    tables: &TablesGuard<'_, Sim>,
    pages: VpnRange,
) {
    gather.unhook_range(tables, pages, |unhooked| {
        if unhooked.attributes.dirty {
            (0..unhooked.count).for_each(|index| m.note_dirty(Pfn(unhooked.frame.0 + index)));
        }
        Rmap::Now
    });
}

/// Changes what a page permits, notes that it was dirty if it is not any more, and returns its frame.
pub(super) fn change(m: &Sim, page: Vpn, to: impl Fn(Attributes) -> Attributes) -> Pfn {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let mut gather = Gather::new(m, space, &sink);
    let tables = space.lock(m);
    let leaf = tables.find(page).expect("the page is mapped");
    let (frame, attributes) = (leaf.frame(), to(leaf.attributes()));
    if gather.change(leaf, attributes).dirty && !attributes.dirty {
        m.note_dirty(frame);
    }
    drop(tables);
    gather.finish();
    frame
}

/// Leaves user mode for a kernel thread that needs no address space.
pub(super) fn become_lazy(m: &Sim) {
    m.stop_user();
    residency::enter_lazy(m);
}

/// Comes back to user mode in the address space.
pub(super) fn return_to_user(m: &Sim) {
    m.user_space().switch_to(m);
    m.resume_user();
}

/// Two address spaces, one of them with a page, which every CPU has loaded.
pub(super) fn use_one_of_two(m: &Sim) {
    if m.cpu() == CpuId(0) {
        create(m, 1);
        m.other_space().create(m).expect("the machine has a frame for the root");
    }
    m.user_space().switch_to(m);
}

/// Runs something else for a while and comes back.
pub(super) fn go_and_return(m: &Sim) {
    m.stop_user();
    m.other_space().switch_to(m);
    return_to_user(m);
}
