//! The end of an address space on CPUs that no broadcast makes let go of it, or that have left it with all they remember.

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{Counter, CpuId, Fix, Frame, Gather, Machine, Rmap, VpnRange, call};

use super::{
    super::script::{PAGE_0, PAGE_1, become_lazy, create},
    script::TWO_BROADCASTING_CPUS,
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static LAZY: Scenario = Scenario {
    name: "broadcast_exit_lazy",
    goal: "The root table of an address space is freed while a lazy CPU has it loaded.",
    method: "CPU 0 takes apart and destroys the address space in which CPU 1 is lazy.",
    machine: TWO_BROADCASTING_CPUS,
    broadcasts: true,
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create(m, 2);
        } else {
            m.user_space().switch_to(m);
            become_lazy(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            exit(m);
        }
    },
    proves: &[
        Proof::of(Fix::FlushRemote, "walker-in-freed-table"),
        Proof::of(Fix::WaitForAcks, "walker-in-freed-table"),
        Proof::of(Fix::TellLazyOfTables, "walker-in-freed-table"),
    ],
    reaches: &[Reach::Stale, Reach::Counted(Counter::Kick)],
    ..Scenario::BLANK
};

pub(in super::super) static NEXT: Scenario = Scenario {
    name: "broadcast_exit_next",
    goal: "An address space inherits what a CPU remembers of the one that had its tag before.",
    method: "CPU 1 has left the address space, with two pages in its TLB; CPU 0 destroys it, without a flush for pages, and makes \
             another one of the same id, which CPU 1 uses.",
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create(m, 2);
            m.other_space().create(m).expect("the machine has a frame for the root");
        } else {
            m.user_space().switch_to(m);
            m.access(PAGE_0);
            m.access(PAGE_1);
            m.other_space().switch_to(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            exit(m);
            create(m, 1);
            m.scratch(0).store(m, 1, Release);
        } else {
            call::wait(m, |m| (m.scratch(0).load(m, Acquire) == 1).then_some(()));
            m.user_space().switch_to(m);
            m.access(PAGE_0);
        }
    },
    proves: &[Proof::of(Fix::FlushRemote, "stale-in-use"), Proof::of(Fix::WaitForAcks, "stale-in-use")],
    reaches: &[Reach::Counted(Counter::FlushSpared), Reach::Counted(Counter::Broadcast)],
    ..LAZY
};

/// Takes the address space, which nobody uses, apart and away.
fn exit(m: &Sim) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let pages = VpnRange::from_len(PAGE_0, 2);
    let Ok(retired) = space.retire(m) else {
        unreachable!("nobody uses it");
    };
    let mut gather = Gather::exiting(m, &retired, &sink);
    gather.unhook_range(&space.lock(m), pages, |_| Rmap::Now);
    gather.finish();
    // By itself, so that the flush for the table is not about the pages as well.
    let mut gather = Gather::exiting(m, &retired, &sink);
    gather.unhook_tables(&mut space.lock(m), pages, pages);
    gather.finish();
    space.destroy(m);
}
