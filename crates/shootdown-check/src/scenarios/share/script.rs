//! What the scripts about shared tables have in common.

use shootdown::{
    Attributes, CpuId, Gather, Level, Machine, Rmap, Space, Vpn, VpnRange, call,
    page::{self, DropReference},
    share::Unsharing,
};
use shootdown_sim::smp::Config;

use super::super::script::{PAGE_0, TWO_CPUS};
use crate::machine::Sim;

/// Tables of this level are shared: those that map pages.
pub(in super::super) const SHARED: Level = Level::LEAF;

/// What the first table translates.
pub(in super::super) const FIRST_TABLE: VpnRange = VpnRange::from_len(PAGE_0, 2);

/// What both tables translate.
pub(in super::super) const BOTH_TABLES: VpnRange = VpnRange::from_len(PAGE_0, 4);

pub(super) const TWO_BROADCASTING_CPUS: Config = Config { has_tags: true, ..TWO_CPUS };

/// The address space that stays, and reuses the table.
pub(in super::super) fn stayer(m: &Sim) -> &Space<Sim> {
    m.address_space(0)
}

/// The address space that leaves the table.
pub(in super::super) fn leaver(m: &Sim) -> &Space<Sim> {
    m.address_space(1)
}

/// A third one that has it.
pub(super) fn third(m: &Sim) -> &Space<Sim> {
    m.address_space(2)
}

/// Creates so many address spaces, which share all tables below these pages.
pub(in super::super) fn create_sharers(m: &Sim, n_spaces: usize, pages: &[Vpn]) {
    for id in 0..n_spaces {
        m.address_space(id).create(m).expect("the machine has a frame for the root");
    }
    for page in pages {
        let frame = page::allocate(m, Level::LEAF).expect("the scenario needs more frames");
        let mapped = stayer(m).lock(m).map(*page, frame, Attributes::USER_READ);
        assert!(mapped.is_ok(), "the machine has frames for the tables");
        for id in 1..n_spaces {
            let is_shared =
                m.address_space(id).lock(m).find_shared(*page).is_some() || share(m, m.address_space(id), *page);
            assert!(is_shared, "the table is there, and nothing is in the way");
        }
    }
}

/// Two address spaces share the table of the first page, and every CPU runs in the one that leaves it.
pub(super) fn run_in_leaver(m: &Sim) {
    call::arrive(m);
    if m.cpu() == CpuId(0) {
        create_sharers(m, 2, &[PAGE_0]);
    }
    leaver(m).switch_to(m);
}

/// Takes the stayer's table in; tells whether it did. The file map is held.
pub(in super::super) fn share(m: &Sim, by: &Space<Sim>, page: Vpn) -> bool {
    let file_map = ();
    let offer = stayer(m).lock(m).offer(page, SHARED, &file_map);
    offer.is_some_and(|offer| by.lock(m).accept(page, offer).is_ok())
}

/// Leaves the shared tables below `pages`, under one hold of the file map.
pub(in super::super) fn unshare(m: &Sim, space: &Space<Sim>, pages: VpnRange) {
    let mut unsharing = Unsharing::begin(m.rmap().lock(m));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unshare(&mut space.lock(m), pages, SHARED, &mut unsharing);
    let file_map = unsharing.settle(&mut gather);
    drop(file_map);
    gather.finish();
}

/// Leaves the table, or unmaps it if nobody else has it.
pub(in super::super) fn unmap_file(m: &Sim, space: &Space<Sim>) {
    let mut unsharing = Unsharing::begin(m.rmap().lock(m));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unshare(&mut space.lock(m), FIRST_TABLE, SHARED, &mut unsharing);
    gather.unmap(FIRST_TABLE, |_| Rmap::Now);
    gather.unhook_tables(&mut space.lock(m), FIRST_TABLE, FIRST_TABLE);
    let file_map = unsharing.settle(&mut gather);
    gather.finish();
    drop(file_map);
}
