//! Taking an address space apart that had its last user, without telling TLBs (R-OOMFULL).

use shootdown::{Counter, CpuId, Fix, Frame, Gather, Machine, Rmap, VpnRange};

use super::script::{PAGE_0, TWO_CACHING_CPUS, TWO_CPUS, become_lazy, create};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static REAPER: Scenario = Scenario {
    name: "reaper",
    goal: "An address space is taken apart without a flush while a program still runs in it.",
    method: "CPU 1 touches the page and exits; CPU 0 unmaps it, without a flush if it had the last user by then.",
    machine: TWO_CPUS,
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create(m, 1);
        } else {
            m.user_space().switch_to(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            reap(m, Tables::Stay);
        } else {
            m.access(PAGE_0);
            become_lazy(m);
        }
    },
    proves: &[Proof::of(Fix::AskForUsers, "stale-at-free")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::FlushSpared), Reach::Counted(Counter::RemoteRequest)],
    ..Scenario::BLANK
};

pub(super) static EXIT: Scenario = Scenario {
    name: "exit",
    goal: "The tables of an address space without users are freed while a lazy CPU's walker still reads them.",
    method: "CPU 1 exits; CPU 0 unmaps the page and its table, without a flush for pages if it had the last user by then.",
    machine: TWO_CACHING_CPUS,
    main: |m| {
        if m.cpu() == CpuId(0) {
            reap(m, Tables::Go);
        } else {
            become_lazy(m);
        }
    },
    proves: &[
        Proof::of(Fix::TellLazyOfTables, "walker-in-freed-table"),
        Proof::of(Fix::DropWalkCaches, "walker-in-freed-table"),
    ],
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    ..REAPER
};

pub(super) static LEAVER: Scenario = Scenario {
    name: "leaver",
    goal: "An address space that nobody uses counts as used while a lazy CPU goes to another one.",
    method: "CPU 1, lazy in the address space, switches to another one; CPU 0 retires it.",
    machine: TWO_CPUS,
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create(m, 1);
            m.other_space().create(m).expect("the machine has a frame for the root");
        } else {
            m.user_space().switch_to(m);
            become_lazy(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            let retired = m.user_space().retire(m);
            assert!(retired.is_ok(), "nobody uses it");
        } else {
            m.other_space().switch_to(m);
        }
    },
    proves: &[Proof::of(Fix::MeetLeavers, "panic")],
    reaches: &[Reach::Counted(Counter::RemoteRequest)],
    ..Scenario::BLANK
};

enum Tables {
    Stay,
    Go,
}

fn reap(m: &Sim, and_tables: Tables) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let retired = space.retire(m);
    let mut gather = match &retired {
        Ok(retired) => Gather::exiting(m, retired, &sink),
        Err(_) => Gather::new(m, space, &sink),
    };
    let pages = VpnRange::from_len(PAGE_0, 2);
    let mut tables = space.lock(m);
    gather.unhook_range(&tables, pages, |_| Rmap::Now);
    if let Tables::Go = and_tables {
        gather.unhook_tables(&mut tables, pages, pages);
    }
    drop(tables);
    gather.finish();
}
