//! Models of kernels that take a slot back, which none of those does that copy slots: whatever brings new slots to roots
//! that lack them brings nothing to a walker that follows an old one.
//!
//! To count a removal as if it were a new slot is not enough. It holds where the slot is cleared in every root, under the
//! lock that creation of roots takes, before all CPUs forget it, and that before the table is freed.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use shootdown::{CpuId, EntryFormat, Invalidate, Machine, Modify, Shared, SpaceId, TableFrame, arch::tiny::Tiny};
use shootdown_sim::smp::Config;

use super::{
    super::script::{cpus, kick},
    script::{INIT, PAGE, copy_slot, create_roots, fill_init_slot, load, locked, root, set_slot, slot},
};
use crate::{machine::Sim, scenario::Scenario};

/// The shortest trace: CPU 1 forgets all and does not switch; its walker follows the slot of its own root to the freed table.
pub(in super::super) static COUNTED: Scenario = Scenario {
    name: "model_slot_removed_counted_2cpu",
    goal: "A slot's table is freed while a root still leads to it.",
    method: "CPU 0 clears the init root's slot, counts that, has CPU 1 forget all, and frees the table; CPU 1 will copy slots \
             when it switches.",
    machine: Config { caches_walks: true, ..cpus(2) },
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create_roots(m, 2);
            fill_init_slot(m, PAGE);
            copy_slot(m, root(0), PAGE);
            // What CPU 0 works in.
            m.load_root(Some((INIT, SpaceId(2))));
        } else {
            load(m, 0);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            let table = table(m);
            set_slot(m, INIT, PAGE, 0);
            count(m).update(m, Modify::Add(1), AcqRel);
            flush(m);
            m.free_table(table);
        } else if count(m).load(m, Acquire) != 0 {
            copy_slot(m, root(0), PAGE);
            load(m, 0);
        }
    },
    handler: |m| {
        m.invalidate(Invalidate::All);
        has_forgotten(m).store(m, 1, Release);
    },
    ..Scenario::BLANK
};

pub(in super::super) static EVERYWHERE: Scenario = Scenario {
    name: "model_slot_removed_2cpu",
    goal: "A slot's table is freed while a root still leads to it.",
    method: "CPU 0 clears the slot in all roots, has CPU 1 forget all, and frees the table, under the lock under which CPU 1 \
             creates a root and goes there.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            locked(m, |m| {
                let table = table(m);
                [INIT, root(0), root(1)].into_iter().for_each(|root| set_slot(m, root, PAGE, 0));
                flush(m);
                m.free_table(table);
            });
        } else {
            locked(m, |m| copy_slot(m, root(1), PAGE));
            load(m, 1);
        }
    },
    ..COUNTED
};

fn table(m: &Sim) -> TableFrame {
    Tiny::decode(slot(m, INIT, PAGE), Tiny::ROOT).table().expect("the slot is filled")
}

/// Has both CPUs forget everything.
fn flush(m: &Sim) {
    m.invalidate(Invalidate::All);
    m.complete();
    kick(m, CpuId(1));
    m.spin(|m| (has_forgotten(m).load(m, Acquire) == 1).then_some(()));
}

fn count(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(2)
}

fn has_forgotten(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(3)
}
