//! A CPU that lets go of an address space while it is being flushed.
//!
//! The mirror image of arriving: its bit leaves the residency mask, and after that nobody tells it of flushes, so its
//! TLB and walk cache must be empty by then.

use shootdown::{Counter, CpuId, Machine, VpnRange, residency};

use super::script::{FLUSHING_WALKERS, PAGE_0, TWO_CACHING_CPUS, unmap_with_tables, use_everywhere};
use crate::{reach::Reach, scenario::Scenario};

pub(super) static LEAVE: Scenario = Scenario {
    name: "leave_2cpu",
    goal: "A CPU leaves the residency mask while its walker still points at tables, which are then freed.",
    method: "CPU 1 lets go of the address space while CPU 0 unmaps a page and its table.",
    machine: TWO_CACHING_CPUS,
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
        } else {
            m.stop_user();
            residency::leave(m);
        }
    },
    proves: &FLUSHING_WALKERS,
    reaches: &[Reach::Stale, Reach::Counted(Counter::RemoteRequest)],
    ..Scenario::BLANK
};

pub(super) static SWITCH_AWAY: Scenario = Scenario {
    name: "switch_away_2cpu",
    method: "CPU 1 switches to another address space while CPU 0 unmaps a page and its table.",
    setup: |m| {
        use_everywhere(m, 1);
        if m.cpu() == CpuId(0) {
            m.other_space().create(m).expect("the machine has a frame for the root");
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
        } else {
            m.stop_user();
            m.other_space().switch_to(m);
            m.resume_user();
        }
    },
    ..LEAVE
};
