//! A hypervisor's copy of page tables for its guest: a shadow, filled while others change what it is a copy of.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use shootdown::{
    CpuId, Fix, Frame, Gather, Machine, Modify, Rmap, VpnRange, call,
    notify::Registration,
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

/// Unmaps the page; nobody has a copy of it when its frame is freed.
fn unmap(m: &Sim) {
    let sink = |m: &Sim, frame: Frame| {
        let copy = locked(m, || m.scratch(COPY).load(m, Relaxed));
        assert_ne!(copy, frame.pfn().0 + 1, "a guest can use a frame that is freed");
        m.free_frame(frame);
    };
    let pages = VpnRange::from_len(PAGE_0, 1);
    let mut gather = Gather::within(m, m.user_space(), pages, &sink);
    gather.unmap(pages, |_| Rmap::Now);
    gather.finish();
}
