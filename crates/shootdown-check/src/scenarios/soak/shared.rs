//! Two address spaces that share tables, leave them and take them in again, while others walk there.

use shootdown::{
    Attributes, CpuId, Gather, Level, Machine, Rmap, Space, Vpn, call,
    page::DropReference,
    share::Unsharing,
    walk::{Purpose, Walkers},
};
use shootdown_sim::smp::{Access, Config, TlbModel};

use super::{
    super::share::script::create_sharers, EVERYTHING, OPERATIONS_PER_CPU, fork, look, note_dirty, page, pages, pin_in,
    unpin,
};
use crate::{machine::Sim, scenario::Scenario};

pub(super) static SHARED: Scenario = Scenario {
    name: "soak_shared",
    goal: "Something goes wrong that takes more than one idea.",
    method: "Three CPUs, in two address spaces that map the same file, use, walk, pin and unmap pages, share and leave their \
             tables, and write-protect what is theirs, all at random.",
    machine: Config { tlb: TlbModel::MaySets, ..EVERYTHING },
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create_sharers(m, N_SPACES, &[Vpn(0), Vpn(1)]);
        }
        call::arrive(m);
        m.address_space(usize::from(m.cpu().0) % N_SPACES).switch_to(m);
    },
    main,
    walkers: Walkers::Unannounced,
    ..Scenario::BLANK
};

pub(super) static BROADCAST: Scenario = Scenario {
    name: "soak_shared_broadcast",
    machine: Config { has_tags: true, ..EVERYTHING },
    broadcasts: true,
    walkers: Walkers::Announced,
    ..SHARED
};

const N_SPACES: usize = 2;

fn main(m: &Sim) {
    let mut id = usize::from(m.cpu().0) % N_SPACES;
    let mut pinned = None;
    for _ in 0..OPERATIONS_PER_CPU {
        let here = m.address_space(id);
        match m.choose(8) {
            0 | 1 => use_page(m, id),
            2 => {
                let purpose = if m.choose(2) == 0 { Purpose::Read } else { Purpose::Write };
                pin_in(m, here, purpose, &mut pinned);
            }
            3 => look(m, here),
            4 => unmap(m, here),
            5 => leave_tables(m, here),
            6 => fork(m, here),
            _ => {
                id = (id + 1) % N_SPACES;
                m.address_space(id).switch_to(m);
            }
        }
    }
    unpin(m, &mut pinned);
}

/// User code touches a page. If it has a fault, the table of the other address space is taken in if it has one, and otherwise
/// the page is mapped.
fn use_page(m: &Sim, id: usize) {
    let (page, access) = (page(m), if m.choose(2) == 0 { Access::Read } else { Access::Write });
    if m.tries(page, access) {
        return;
    }
    let file_map = m.rmap().lock(m);
    let (here, there) = (m.address_space(id), m.address_space((id + 1) % N_SPACES));
    if m.choose(2) == 0
        && let Some(offer) = there.lock(m).offer(page, Level::LEAF, &file_map)
    {
        // Something else may be there already, and then it is given back.
        here.lock(m).accept(page, offer).ok();
    }
    let Ok(frame) = page::allocate(m, Level::LEAF) else {
        return;
    };
    let mapped = here.lock(m).map(page, frame, Attributes { dirty: true, ..Attributes::USER_WRITE });
    if let Err(error) = mapped {
        page::drop_reference(m, error.frame);
        grant(here.lock(m).find(page));
    }
    drop(file_map);
}

fn grant(leaf: Option<shootdown::Leaf<'_, Sim>>) {
    if let Some(mut leaf) = leaf {
        let now = leaf.attributes();
        leaf.set_access_flags(Attributes { writable: true, dirty: true, ..now });
    }
}

/// Leaves the tables that others have, and unmaps pages in the others.
fn unmap(m: &Sim, space: &Space<Sim>) {
    let pages = pages(m);
    let unhooks_tables = m.choose(2) == 0;
    let mut unsharing = Unsharing::begin(m.rmap().lock(m));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unshare(&mut space.lock(m), pages, Level::LEAF, &mut unsharing);
    gather.unmap(pages, |unhooked| {
        note_dirty(m, unhooked);
        if unhooked.attributes.dirty { Rmap::Delayed } else { Rmap::Now }
    });
    if unhooks_tables {
        gather.unhook_tables(&mut space.lock(m), pages, pages);
    }
    drop(unsharing.settle(&mut gather));
    gather.finish();
}

fn leave_tables(m: &Sim, space: &Space<Sim>) {
    let pages = pages(m);
    let mut unsharing = Unsharing::begin(m.rmap().lock(m));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unshare(&mut space.lock(m), pages, Level::LEAF, &mut unsharing);
    drop(unsharing.settle(&mut gather));
    gather.finish();
}
