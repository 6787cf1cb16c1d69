//! Everything at once, at random: for the live driver and a long time.
//!
//! Each CPU does one thing after the other to the pages of one address space, and uses them in between. What it does next
//! is a choice of the machine's, so a schedule says it, too.

mod kernel;
mod shared;
mod sizes;

use shootdown::{
    Attributes, CpuId, Gather, Level, Machine, Masked, Pfn, Reclaim, Rmap, Space, Stale, Tagging, Unhooked, Vpn,
    VpnRange,
    arch::tiny::Tiny,
    call, flush_kernel,
    page::{self, DropReference, References},
    residency,
    walk::{self, Forking, Pinned, Pins, Purpose, Walkers, Walking},
};
use shootdown_sim::smp::{Access, Config, PAGES, TlbModel};

use super::{
    everything,
    script::{create_with, return_to_user},
};
use crate::{machine::Sim, scenario::Scenario};

/// What each CPU does in one run.
pub const OPERATIONS_PER_CPU: u64 = 8;

/// All of them.
pub static ALL: [&Scenario; 11] = [
    &SOAK,
    &TAGS,
    &MAY_SETS,
    &BROADCAST,
    &sizes::SIZES,
    &sizes::BROADCAST,
    &shared::SHARED,
    &shared::BROADCAST,
    &kernel::KERNEL,
    &kernel::ABSENT,
    &kernel::BROADCAST,
];

static SOAK: Scenario = Scenario {
    name: "soak",
    goal: "Something goes wrong that takes more than one idea.",
    method: "Three CPUs use, map, unmap, protect, write back, reclaim, move, copy, pin and share pages, come and go, all at random.",
    machine: EVERYTHING,
    setup,
    main,
    walkers: Walkers::Unannounced,
    ..Scenario::BLANK
};

static TAGS: Scenario =
    Scenario { name: "soak_tags", machine: Config { has_tags: true, ..EVERYTHING }, tagging: Tagging::Slots, ..SOAK };

static MAY_SETS: Scenario =
    Scenario { name: "soak_may_sets", machine: Config { tlb: TlbModel::MaySets, ..EVERYTHING }, ..SOAK };

static BROADCAST: Scenario = Scenario {
    name: "soak_broadcast",
    machine: Config { has_tags: true, ..EVERYTHING },
    broadcasts: true,
    walkers: Walkers::Announced,
    ..SOAK
};

const EVERYTHING: Config = Config { cpus: 3, ..everything::MACHINE };

fn setup(m: &Sim) {
    if m.cpu() == CpuId(0) {
        create_with(m, 2, Attributes::USER_WRITE);
        m.other_space().create(m).expect("the machine has a frame for the root");
    }
    call::arrive(m);
    m.user_space().switch_to(m);
}

fn main(m: &Sim) {
    let mut is_away = false;
    let mut pinned = None;
    for _ in 0..OPERATIONS_PER_CPU {
        match m.choose(8) {
            0 => use_page(m, &mut is_away),
            1 => pin(m, &mut is_away, &mut pinned),
            2 => unmap(m),
            3 => change(m),
            4 => write_back(m),
            5 => reclaim(m),
            6 => relocate(m),
            _ => match m.choose(5) {
                0 => replace(m),
                1 => leave(m, &mut is_away),
                2 => _ = flush_kernel(m, Stale::EVERYTHING),
                3 => fork(m, m.user_space()),
                _ => {
                    let _masked = Masked::new(m);
                    unmap(m);
                }
            },
        }
    }
    come_back(m, &mut is_away);
    unpin(m, &mut pinned);
}

fn come_back(m: &Sim, is_away: &mut bool) {
    if std::mem::take(is_away) {
        return_to_user(m);
    }
}

fn page(m: &Sim) -> Vpn {
    Vpn(m.choose(PAGES as u8))
}

/// One page, or two that follow each other.
fn pages(m: &Sim) -> VpnRange {
    let start = page(m);
    VpnRange::from_len(start, 1 + m.choose(2).min(PAGES as u64 - 1 - start.0))
}

/// User code touches a page, with its faults handled.
fn use_page(m: &Sim, is_away: &mut bool) {
    come_back(m, is_away);
    let page = page(m);
    let access = if m.choose(2) == 0 { Access::Read } else { Access::Write };
    if !m.tries(page, access) && handle_fault(m, page, access) {
        // Somebody may have taken it away again.
        match access {
            Access::Read => m.access(page),
            Access::Write => m.write(page),
        }
    }
}

fn handle_fault(m: &Sim, page: Vpn, access: Access) -> bool {
    let mut tables = m.user_space().lock(m);
    let writes = access == Access::Write;
    if let Some(mut leaf) = tables.find(page) {
        let now = leaf.attributes();
        let (writable, dirty) = (writes || now.writable, writes || now.dirty);
        leaf.set_access_flags(Attributes { user: true, writable, dirty, ..now });
        return true;
    }
    let attributes = Attributes { writable: writes, dirty: writes, accessed: true, ..Attributes::USER_READ };
    let Ok(frame) = page::allocate(m, Level::LEAF) else {
        return false;
    };
    match tables.map(page, frame, attributes) {
        Ok(()) => true,
        Err(error) => {
            page::drop_reference(m, error.frame);
            false
        }
    }
}

fn unmap(m: &Sim) {
    let (space, pages) = (m.user_space(), pages(m));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unmap(pages, |unhooked| {
        note_dirty(m, unhooked);
        if unhooked.attributes.dirty { Rmap::Delayed } else { Rmap::Now }
    });
    if m.choose(2) == 0 {
        gather.unhook_tables(&mut space.lock(m), pages, pages);
    }
    gather.finish();
}

/// Notes what was stored through translations that are gone.
fn note_dirty(m: &Sim, unhooked: &Unhooked) {
    if unhooked.attributes.dirty {
        let n_frames = unhooked.count * unhooked.level.pages::<Tiny>();
        (0..n_frames).for_each(|index| m.note_dirty(Pfn(unhooked.frame.0 + index)));
    }
}

/// Takes permissions away, and flushes when the lock is released.
fn change(m: &Sim) {
    let pages = pages(m);
    let mut gather = Gather::new(m, m.user_space(), &DropReference);
    let tables = m.user_space().lock(m);
    let kind = m.choose(3);
    for leaf in tables.leaves(pages) {
        let (frame, now) = (leaf.frame(), leaf.attributes());
        let to = match kind {
            0 => Attributes { writable: false, ..now },
            1 => Attributes { user: false, ..now },
            _ => Attributes { writable: false, dirty: false, ..now },
        };
        if gather.change(leaf, to).dirty && !to.dirty {
            m.note_dirty(frame);
        }
    }
    drop(tables);
    gather.finish();
}

/// Makes a page clean and read-only and writes it out: no store to it may be lost after this.
fn write_back(m: &Sim) {
    let page = page(m);
    let mut gather = Gather::new(m, m.user_space(), &DropReference);
    let tables = m.user_space().lock(m);
    if let Some(leaf) = tables.find(page) {
        let (frame, now) = (leaf.frame(), leaf.attributes());
        gather.restrict(leaf, Attributes { writable: false, dirty: false, ..now });
        m.write_back(frame);
    }
    drop(tables);
    gather.finish();
}

/// Takes pages away one by one, writes them out, and flushes late; maybe with something else in between.
fn reclaim(m: &Sim) {
    let (space, pages) = (m.user_space(), pages(m));
    let mut reclaim = Reclaim::new(m, &DropReference);
    for page in (pages.start.0..pages.end.0).map(Vpn) {
        let unhooked = space.lock(m).find(page).and_then(|leaf| reclaim.unhook(space, leaf));
        if let Some(unhooked) = unhooked
            && unhooked.attributes.dirty
        {
            m.note_dirty(unhooked.frame);
            if m.choose(2) == 0 {
                reclaim.flush_before_write();
                m.write_back(unhooked.frame);
            }
        }
    }
    if m.choose(2) == 0 {
        unmap(m);
    }
    reclaim.finish();
}

/// Moves pages to the other half, as far as nothing is there.
fn relocate(m: &Sim) {
    let half = PAGES as u64 / 2;
    let (from, to) = if m.choose(2) == 0 { (0, half) } else { (half, 0) };
    let n_pages = 1 + m.choose(2);
    let mut gather = Gather::new(m, m.user_space(), &DropReference);
    // What is in the way stays, and so does what would have come there.
    gather.relocate(VpnRange::from_len(Vpn(from), n_pages), Vpn(to), || m.rmap().lock(m), |_| {}).ok();
    gather.finish();
}

/// Puts a copy in the place of a page.
fn replace(m: &Sim) {
    let page = page(m);
    let Ok(frame) = page::allocate(m, Level::LEAF) else {
        return;
    };
    let mut gather = Gather::new(m, m.user_space(), &DropReference);
    let tables = m.user_space().lock(m);
    let accessible = |was| Attributes { user: true, ..was };
    if let Err(frame) = gather.replace(&tables, page, frame, accessible, |from, to| m.copy(from, to)) {
        page::drop_reference(m, frame);
    }
    drop(tables);
    gather.finish();
}

/// Pins a page without a lock, and keeps it until it pins the next.
fn pin(m: &Sim, is_away: &mut bool, pinned: &mut Option<Pinned>) {
    come_back(m, is_away);
    let purpose = if m.choose(2) == 0 { Purpose::Read } else { Purpose::Write };
    pin_in(m, m.user_space(), purpose, pinned);
}

fn pin_in(m: &Sim, space: &Space<Sim>, purpose: Purpose, pinned: &mut Option<Pinned>) {
    unpin(m, pinned);
    *pinned = walk::pin(m, space, page(m), purpose, &References).ok();
}

fn unpin(m: &Sim, pinned: &mut Option<Pinned>) {
    pinned.take().into_iter().for_each(|pinned| References.unpin(m, pinned.frame, pinned.level));
}

/// Makes the pages that nobody has pinned, and that are in nobody else's tables, read-only, as if they were shared.
fn fork(m: &Sim, space: &Space<Sim>) {
    let mut gather = Gather::new(m, space, &DropReference);
    let tables = space.lock(m);
    let forking = Forking::begin(m, space);
    for leaf in tables.leaves(VpnRange::from_len(Vpn(0), PAGES as u64)) {
        if page::is_exclusive(&leaf) {
            let read_only = Attributes { writable: false, ..leaf.attributes() };
            gather.change(leaf, read_only);
        }
    }
    drop(tables);
    gather.finish();
    drop(forking);
}

/// Looks for some pages without a lock, all in one walk.
fn look(m: &Sim, space: &Space<Sim>) {
    let VpnRange { start, end } = pages(m);
    let walking = Walking::begin(m);
    for page in (start.0..end.0).map(Vpn) {
        _ = walking.find(space, page);
    }
}

/// Goes lazy, or to another address space.
fn leave(m: &Sim, is_away: &mut bool) {
    if !*is_away {
        m.stop_user();
    }
    *is_away = true;
    if m.choose(2) == 0 {
        residency::enter_lazy(m);
    } else {
        m.other_space().switch_to(m);
    }
}
