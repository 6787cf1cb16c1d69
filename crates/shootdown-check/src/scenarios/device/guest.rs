//! A hypervisor's copy of page tables for its guest: a shadow, filled while others change what it is a copy of.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use shootdown::{
    Counter, CpuId, Fix, Frame, Gather, Machine, Modify, Rmap, VpnRange, call,
    notify::Registration,
    residency,
    walk::{Walkers, Walking},
};

use super::super::script::{PAGE_0, TWO_CPUS, create};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Heard, Proof, Scenario},
};

pub(in super::super) static SHADOW: Scenario = Scenario {
    name: "guest_shadow",
    goal: "A guest's copy of a page is filled with what was found before the page was unmapped, after all copies were dropped.",
    method: "CPU 0 unmaps a page; CPU 1 fills the copy for a guest, which uses it.",
    machine: TWO_CPUS,
    walkers: Walkers::Unannounced,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            create(m, 1);
            Registration::new(m, 0).attach(m, m.user_space()).expect("it has not ended");
        }
        m.user_space().switch_to(m);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m);
        } else {
            fill(m);
        }
    },
    listeners: &[Heard::Range { begin: drop_copy, end: |_, _| {} }],
    proves: &[Proof::of(Fix::LookAtTicket, "panic")],
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

pub(in super::super) static EXIT: Scenario = Scenario {
    name: "guest_exit",
    goal: "An exit, whose gather has no listeners any more, frees a page that a guest has a copy of.",
    method: "CPU 0 ends the address space and unmaps its page.",
    setup: |m| {
        if m.cpu() == CpuId(0) {
            (SHADOW.setup)(m);
            fill(m);
            m.stop_user();
            residency::leave(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            let Ok(retired) = m.user_space().retire(m) else {
                panic!("no CPU uses it");
            };
            let mut gather = Gather::exiting(m, &retired, &FREE);
            gather.unhook_range(&m.user_space().lock(m), VpnRange::from_len(PAGE_0, 1), |_| Rmap::Now);
            gather.finish();
        }
    },
    proves: &[],
    reaches: &[Reach::Counted(Counter::FlushSpared)],
    ..SHADOW
};

/// The copy of the page: its frame's number plus one, or 0; and the lock over it.
const COPY: usize = 0;
const LOCK: usize = 1;

fn locked<R>(m: &Sim, body: impl FnOnce() -> R) -> R {
    m.spin(|m| (m.scratch(LOCK).modify(m, Modify::Swap(1), Acquire) == 0).then_some(()));
    let result = body();
    m.scratch(LOCK).store(m, 0, Release);
    result
}

fn drop_copy(m: &Sim, _: VpnRange) {
    locked(m, || m.scratch(COPY).store(m, 0, Relaxed));
}

fn fill(m: &Sim) {
    let Some(ticket) = m.user_space().ticket(m) else { return };
    let Some(found) = Walking::begin(m).find(m.user_space(), PAGE_0) else { return };
    locked(m, || {
        if ticket.is_good(m, m.user_space()) {
            m.scratch(COPY).store(m, found.frame.0 + 1, Relaxed);
        }
    });
}

/// Nobody has a copy of a page when its frame is freed.
static FREE: fn(&Sim, Frame) = |m, frame| {
    let copy = locked(m, || m.scratch(COPY).load(m, Relaxed));
    assert_ne!(copy, frame.pfn().0 + 1, "a guest can use a frame that is freed");
    m.free_frame(frame);
};

fn unmap(m: &Sim) {
    let pages = VpnRange::from_len(PAGE_0, 1);
    let mut gather = Gather::within(m, m.user_space(), pages, &FREE);
    gather.unmap(pages, |_| Rmap::Now);
    gather.finish();
}
