//! What CPUs are told in a flush, devices are told, too; and what CPUs are not told (R-IOSVA, M37).

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{
    Attributes, Counter, CpuId, Fix, Frame, Gather, Machine, Rmap, VpnRange, call, notify::Registration, residency,
};
use shootdown_sim::smp::Access;

use super::{
    super::{
        kernel_space::large,
        script::{PAGE_0, TWO_CPUS, create, unmap, unmap_with_tables},
    },
    script::{CPU_AND_DEVICE, IOMMU, attach, root, run_device, stop_device, walk},
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static PAGE: Scenario = Scenario {
    name: "device_unmap",
    goal: "A device goes on to read a page that was unmapped and freed.",
    method: "CPU 0 unmaps a page that the device reads.",
    machine: TWO_CPUS,
    setup,
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
            stop_device(m);
        } else {
            run_device(m, |m| m.access(PAGE_0));
        }
    },
    listeners: IOMMU,
    proves: &[Proof::of(Fix::TellDevices, "stale-at-free")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::SecondaryTold)],
    ..Scenario::BLANK
};

pub(in super::super) static TABLE: Scenario = Scenario {
    name: "device_unmap_table",
    goal: "A device goes on to walk through a page table that was freed.",
    method: "CPU 0 unmaps a page and its table, which the device may have a pointer to.",
    machine: CPU_AND_DEVICE,
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
            stop_device(m);
        } else {
            run_device(m, |_| {});
        }
    },
    proves: &[Proof::of(Fix::TellDevices, "stale-at-free")],
    ..PAGE
};

pub(in super::super) static UPGRADE: Scenario = Scenario {
    name: "device_upgrade",
    goal: "A device remembers that it may not write to a page, which it may by now, and faults again and again.",
    method: "CPU 0 makes a page writable that the device reads, and says so; then the device writes.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            let tables = m.user_space().lock(m);
            let mut leaf = tables.find(PAGE_0).expect("the page is mapped");
            leaf.set_access_flags(Attributes { writable: true, ..leaf.attributes() });
            drop(tables);
            m.scratch(WRITABLE).store(m, 1, Release);
            stop_device(m);
        } else {
            run_device(m, |m| m.access(PAGE_0));
            if m.scratch(WRITABLE).load(m, Acquire) != 0 {
                // What it does now it would do for ever.
                assert!(m.tries(PAGE_0, Access::Write), "the device faults at a page that it may write to");
            }
        }
    },
    proves: &[Proof::of(Fix::TellOfPermissions, "panic")],
    reaches: &[Reach::Counted(Counter::SecondaryTold)],
    ..PAGE
};

/// A word that says that the device may write to the page.
const WRITABLE: usize = 3;

pub(in super::super) static KERNEL_TABLE: Scenario = Scenario {
    name: "device_kernel_table",
    goal: "A device that shares a process's tables, the kernel's part among them, walks through a kernel table that was freed.",
    method: "CPU 0 maps a large kernel page in the place of a table, which the device may have a pointer to.",
    machine: CPU_AND_DEVICE,
    setup: |m| {
        if m.cpu() == CpuId(0) {
            call::arrive(m);
            large::start_with_empty_table(m);
            attach_to_kernel(m);
        } else {
            walk(m, large::sealed(m).root());
            m.stop_user();
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            large::map_large(m);
            stop_device(m);
        } else {
            run_device(m, |_| {});
        }
    },
    proves: &[Proof::of(Fix::TellDevicesOfKernel, "walker-in-freed-table")],
    reaches: &[Reach::Counted(Counter::SecondaryTold)],
    ..PAGE
};

pub(in super::super) static EXIT: Scenario = Scenario {
    name: "device_exit",
    goal: "An exit, which flushes no TLB for pages, frees them under a device.",
    method: "CPU 0 ends the address space and unmaps its page, which the device reads.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            m.stop_user();
            residency::leave(m);
            exit(m);
            stop_device(m);
        } else {
            run_device(m, |m| m.access(PAGE_0));
        }
    },
    proves: &[Proof::of(Fix::EndDevices, "stale-at-free")],
    reaches: &[Reach::Counted(Counter::SecondaryTold), Reach::Counted(Counter::FlushSpared)],
    ..PAGE
};

fn setup(m: &Sim) {
    if m.cpu() == CpuId(0) {
        create(m, 1);
        m.user_space().switch_to(m);
        attach(m);
    } else {
        walk(m, root(m));
    }
}

fn attach_to_kernel(m: &Sim) {
    _ = Registration::new(m, 0);
}

fn exit(m: &Sim) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let Ok(retired) = m.user_space().retire(m) else {
        panic!("no CPU uses it");
    };
    let mut gather = Gather::exiting(m, &retired, &sink);
    gather.unhook_range(&m.user_space().lock(m), VpnRange::from_len(PAGE_0, 1), |_| Rmap::Now);
    gather.finish();
}
