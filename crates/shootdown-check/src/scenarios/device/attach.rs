//! Listeners that come and go while others flush.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use shootdown::{
    Counter, CpuId, Fix, Machine, Pfn, TableFrame, VpnRange, call,
    notify::{Event, Registration},
};

use super::{
    super::script::{PAGE_0, TWO_LATE_CPUS, create, unmap},
    script::{IOMMU, root, run_device, stop_device, walk},
    unmap::PAGE,
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Heard, Proof, Scenario},
};

/// The CPU that attaches the device is the device.
pub(in super::super) static COMING: Scenario = Scenario {
    name: "device_coming",
    goal: "A device that begins to use an address space misses a flush that is under way, and reads a page that was freed.",
    method: "CPU 0 unmaps a page; the device is attached meanwhile, walks, and reads it.",
    machine: TWO_LATE_CPUS,
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create(m, 1);
            m.user_space().switch_to(m);
            m.scratch(ROOT).store(m, root(m).0.0, Relaxed);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
            stop_device(m);
        } else {
            Registration::new(m, 0).attach(m, m.user_space()).expect("it has not ended");
            // Without a lock: a device takes none.
            walk(m, TableFrame(Pfn(m.scratch(ROOT).load(m, Relaxed))));
            run_device(m, |m| m.access(PAGE_0));
        }
    },
    listeners: IOMMU,
    proves: &[],
    reaches: &[Reach::Stale],
    ..PAGE
};

/// What it is told does not matter here.
pub(in super::super) static GOING: Scenario = Scenario {
    name: "device_going",
    goal: "A listener is told something after it was taken out, when it is no longer there.",
    method: "CPU 1 detaches and unregisters a listener and lets go of it, while CPU 0 unmaps a page.",
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            create(m, 1);
            m.user_space().switch_to(m);
            Registration::new(m, 0).attach(m, m.user_space()).expect("it has not ended");
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        } else {
            // Registered once more, it is the same listener.
            let registration = Registration::new(m, 0);
            registration.detach(m, m.user_space());
            registration.unregister(m);
            m.scratch(GONE).store(m, 1, Release);
        }
    },
    listeners: &[Heard::Secondary(assert_there)],
    proves: &[Proof::of(Fix::WaitForTellers, "panic")],
    reaches: &[Reach::Counted(Counter::SecondaryTold)],
    ..COMING
};

/// A word that says where the root is.
const ROOT: usize = 3;

/// A word that says that the listener is not there any more.
const GONE: usize = 0;

fn assert_there(m: &Sim, _: Event) {
    assert_eq!(m.scratch(GONE).load(m, Acquire), 0, "a listener that is gone is told something");
}
