//! A device with a domain of its own, which no CPU runs in, and one that asks for pages.

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{Attributes, Counter, CpuId, Fix, Gather, Level, Machine, Rmap, VpnRange, page};
use shootdown_sim::smp::Access;

use super::{
    super::script::{PAGE_0, create, unmap},
    script::{attach, root, run_device, stop_device, walk},
    unmap::PAGE,
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// A domain is an address space: to unmap in it interrupts nobody, since no CPU has it loaded, and tells the device.
pub(in super::super) static DOMAIN: Scenario = Scenario {
    name: "device_domain",
    goal: "A buffer is taken out of a device's domain and freed while the device still reads it.",
    method: "CPU 0, in another address space, unmaps a page in the device's domain.",
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create(m, 1);
            attach(m);
            m.other_space().create(m).expect("the machine has a frame for the root");
            m.other_space().switch_to(m);
        } else {
            walk(m, root(m));
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            let sink = |m: &Sim, frame| m.free_frame(frame);
            let pages = VpnRange::from_len(PAGE_0, 1);
            let mut gather = Gather::within(m, m.user_space(), pages, &sink);
            gather.unmap(pages, |_| Rmap::Now);
            gather.finish();
            stop_device(m);
        } else {
            run_device(m, |m| m.access(PAGE_0));
        }
    },
    proves: &[Proof::of(Fix::TellDevices, "stale-at-free")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::SecondaryTold)],
    ..PAGE
};

/// Whoever maps the page answers when it is there, so the device finds it.
pub(in super::super) static PAGE_REQUEST: Scenario = Scenario {
    name: "device_page_request",
    goal: "A device that has asked for a page, and was answered, does not find it, or finds what was there before.",
    method: "CPU 0 unmaps a page that the device reads, and maps another one when the device asks for it.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
            // It may have had no fault so far, and never asks.
            m.spin(|m| (m.scratch(REQUEST).load(m, Acquire) != NO_REQUEST).then_some(()));
            map(m);
            m.scratch(REQUEST).store(m, ANSWERED, Release);
            m.spin(|m| (m.scratch(REQUEST).load(m, Acquire) == FOUND).then_some(()));
            stop_device(m);
        } else {
            run_device(m, use_page);
        }
    },
    proves: &[Proof::of(Fix::TellDevices, "stale-at-free")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::SecondaryTold)],
    ..PAGE
};

/// What has become of the device's request.
const REQUEST: usize = 3;
const NO_REQUEST: u64 = 0;
const ASKED: u64 = 1;
const ANSWERED: u64 = 2;
const FOUND: u64 = 3;

fn use_page(m: &Sim) {
    let has_faulted = !m.tries(PAGE_0, Access::Read);
    match m.scratch(REQUEST).load(m, Acquire) {
        NO_REQUEST if has_faulted => m.scratch(REQUEST).store(m, ASKED, Release),
        ANSWERED => {
            assert!(m.tries(PAGE_0, Access::Read), "a page that the device was told is there");
            m.scratch(REQUEST).store(m, FOUND, Release);
        }
        _ => {}
    }
}

fn map(m: &Sim) {
    let frame = page::allocate(m, Level::LEAF).expect("the machine has a frame");
    let mapped = m.user_space().lock(m).map(PAGE_0, frame, Attributes::USER_READ);
    assert!(mapped.is_ok(), "nothing is there");
}
