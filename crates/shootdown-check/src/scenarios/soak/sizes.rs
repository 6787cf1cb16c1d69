//! Pages that change their size, and tables that go with all that is in them, while others walk there.

use shootdown::{
    Attributes, CpuId, Gather, Level, Machine, VpnRange, call,
    page::DropReference,
    residency,
    table::QuiescentTable,
    walk::{Purpose, Walkers, Walking},
};
use shootdown_sim::smp::{Config, PAGES};

use super::{
    super::script::create_with, EVERYTHING, OPERATIONS_PER_CPU, come_back, fork, note_dirty, page, pages, pin_in,
    unmap, unpin, use_page,
};
use crate::{machine::Sim, scenario::Scenario};

pub(super) static SIZES: Scenario = Scenario {
    name: "soak_sizes",
    goal: "Something goes wrong that takes more than one idea.",
    method: "Three CPUs use, walk, pin, unmap, collapse, split, retract and share pages, all at random.",
    machine: EVERYTHING,
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create_with(m, 2, Attributes::USER_WRITE);
        }
        call::arrive(m);
        m.user_space().switch_to(m);
    },
    main,
    walkers: Walkers::Unannounced,
    ..Scenario::BLANK
};

pub(super) static BROADCAST: Scenario = Scenario {
    name: "soak_sizes_broadcast",
    machine: Config { has_tags: true, ..EVERYTHING },
    broadcasts: true,
    walkers: Walkers::Announced,
    ..SIZES
};

const LARGE: Level = Level(2);

fn main(m: &Sim) {
    let mut is_away = false;
    let mut pinned = None;
    for _ in 0..OPERATIONS_PER_CPU {
        match m.choose(8) {
            0 => use_page(m, &mut is_away),
            1 => {
                come_back(m, &mut is_away);
                let purpose = if m.choose(2) == 0 { Purpose::Read } else { Purpose::Write };
                pin_in(m, m.user_space(), purpose, &mut pinned);
            }
            2 => unmap(m),
            3 => collapse(m),
            4 => split(m),
            5 => retract(m),
            6 => {
                come_back(m, &mut is_away);
                look(m);
            }
            _ => match m.choose(2) {
                0 => fork(m),
                _ => be_lazy(m, &mut is_away),
            },
        }
    }
    come_back(m, &mut is_away);
    unpin(m, &mut pinned);
}

fn collapse(m: &Sim) {
    let (space, page) = (m.user_space(), page(m));
    let Ok(frame) = page::allocate(m, LARGE) else {
        return;
    };
    let mut gather = Gather::new(m, space, &DropReference);
    let tables = space.lock(m);
    let copy = |from, to| m.copy(from, to);
    let collapsed = gather.collapse(&tables, page, frame, page::is_exclusive, |noted| noted, copy);
    drop(tables);
    gather.finish();
    match collapsed {
        Ok(table) => table.free(m),
        Err((_, frame)) => page::drop_reference(m, frame),
    }
}

fn split(m: &Sim) {
    let (space, page) = (m.user_space(), page(m));
    let Ok(table) = QuiescentTable::allocate(m, Level::LEAF) else {
        return;
    };
    let mut gather = Gather::new(m, space, &DropReference);
    let tables = space.lock(m);
    let share_out = |frame| page::split(m, frame, LARGE);
    let split = gather.split(&tables, page, table, page::is_exclusive, share_out);
    drop(tables);
    gather.finish();
    split.err().into_iter().for_each(|(_, table)| table.free(m));
}

fn retract(m: &Sim) {
    let (space, page) = (m.user_space(), page(m));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.retract(&space.lock(m), page, LARGE, |unhooked| note_dirty(m, unhooked));
    gather.finish();
}

/// Looks for some pages without a lock, all in one walk.
fn look(m: &Sim) {
    let VpnRange { start, end } = pages(m);
    let walking = Walking::begin(m);
    for page in (0..PAGES as u64).map(shootdown::Vpn).filter(|page| *page >= start && *page < end) {
        _ = walking.find(m.user_space(), page);
    }
}

/// Keeps the address space loaded and runs nothing of it.
fn be_lazy(m: &Sim, is_away: &mut bool) {
    if !*is_away {
        m.stop_user();
    }
    *is_away = true;
    residency::enter_lazy(m);
}
