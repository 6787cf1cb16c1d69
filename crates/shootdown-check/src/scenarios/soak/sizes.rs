//! Pages that change their size, and tables that go with all that is in them, while others walk there.

use shootdown::{
    Attributes, CpuId, Gather, Level, Machine, call,
    page::DropReference,
    residency,
    walk::{Purpose, Walkers},
};
use shootdown_sim::smp::Config;

use super::{
    super::{
        resize::{collapse, free, split},
        script::create_with,
    },
    EVERYTHING, OPERATIONS_PER_CPU, come_back, fork, look, note_dirty, page, pin_in, unmap, unpin, use_page,
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
            3 => free(m, collapse(m, page(m))),
            4 => free(m, split(m, page(m)).err().flatten()),
            5 => retract(m),
            6 => {
                come_back(m, &mut is_away);
                look(m, m.user_space());
            }
            _ => match m.choose(2) {
                0 => fork(m, m.user_space()),
                _ => be_lazy(m, &mut is_away),
            },
        }
    }
    come_back(m, &mut is_away);
    unpin(m, &mut pinned);
}

fn retract(m: &Sim) {
    let (space, page) = (m.user_space(), page(m));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.retract(&space.lock(m), page, LARGE, |unhooked| note_dirty(m, unhooked));
    gather.finish();
}

/// Keeps the address space loaded and runs nothing of it.
fn be_lazy(m: &Sim, is_away: &mut bool) {
    if !*is_away {
        m.stop_user();
    }
    *is_away = true;
    residency::enter_lazy(m);
}
