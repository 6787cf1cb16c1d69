//! What the scripts of several scenarios have in common.

use shootdown::{Attributes, Fix, Frame, Gather, Vpn, VpnRange, residency};
use shootdown_sim::smp::Config;

use crate::machine::Sim;

/// The steps without which any flush of a page that another CPU uses goes wrong.
pub(super) const FLUSHING: &[Fix] = &[Fix::FlushBeforeFree, Fix::WaitForAcks, Fix::FlushRemote];

pub(super) const PAGE_0: Vpn = Vpn(0);
pub(super) const PAGE_1: Vpn = Vpn(1);

/// Two CPUs whose walkers begin at the root every time: enough where no table is freed.
pub(super) const TWO_CPUS: Config = Config { cpus: 2, may_refuse_batches: false, caches_walks: false };

/// Two CPUs with walk caches.
pub(super) const TWO_CACHING_CPUS: Config = Config { caches_walks: true, ..TWO_CPUS };

/// Creates the address space and maps its first pages, on the first CPU to run this. Tables for them lie in one
/// subtree.
pub(super) fn create(m: &Sim, n_pages: u64) {
    let space = m.user_space();
    space.create(m).expect("the machine has a frame for the root");
    let mut tables = space.lock(m);
    for page in (0..n_pages).map(Vpn) {
        let frame = m.alloc_frame();
        tables.map(page, frame, Attributes::USER_READ).expect("the machine has frames for the tables");
    }
}

/// Unmaps pages and gives their frames back.
pub(super) fn unmap(m: &Sim, pages: VpnRange) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let mut gather = Gather::new(m, space, &sink);
    let tables = space.lock(m);
    while let Some(leaf) = tables.next_leaf(pages) {
        gather.unhook(leaf);
    }
    drop(tables);
    gather.finish();
}

/// Unmaps pages, and the tables that translate nothing else, and gives the frames back.
pub(super) fn unmap_with_tables(m: &Sim, pages: VpnRange) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let mut gather = Gather::new(m, space, &sink);
    let mut tables = space.lock(m);
    while let Some(leaf) = tables.next_leaf(pages) {
        gather.unhook(leaf);
    }
    gather.unhook_tables(&mut tables, pages, pages);
    drop(tables);
    gather.finish();
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
