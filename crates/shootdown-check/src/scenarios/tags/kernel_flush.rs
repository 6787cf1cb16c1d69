//! A flush of what all address spaces share, while a CPU remembers it under several tags (R-PCID).

use std::sync::atomic::Ordering::Release;

use shootdown::{
    At, Attributes, Counter, CpuId, EntryFormat, Fix, Level, Machine, Stale, Tagging, VpnRange, arch::tiny::Tiny, call,
    flush_kernel,
};

use super::{
    super::script::{PAGE_0, TWO_LATE_CPUS, create_with, return_to_user},
    script::TWO_TAGGED_CPUS,
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static KERNEL_FLUSH: Scenario = Scenario {
    name: "kernel_flush",
    goal: "A kernel mapping is flushed from the loaded tag and stays under the others.",
    method: "CPU 0 makes a kernel page read-only while CPU 1, which has it under the tag of one address space, comes back to \
             that from another one and writes to the page.",
    machine: TWO_TAGGED_CPUS,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            // Kernel pages are not the library's: this one is any page, and nobody bumps a generation for it.
            create_with(m, 1, Attributes { dirty: true, ..Attributes::USER_WRITE });
            m.other_space().create(m).expect("the machine has a frame for the root");
        }
        m.user_space().switch_to(m);
        if m.cpu() == CpuId(1) {
            m.access(PAGE_0);
            m.stop_user();
            m.other_space().switch_to(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            protect_kernel_page(m);
        } else {
            return_to_user(m);
            m.write(PAGE_0);
        }
    },
    tagging: Tagging::Slots,
    reaches: &[Reach::Stale],
    proves: &[Proof::of(Fix::ForgetOtherTags, "revoked-in-use"), Proof::of(Fix::WaitForAcks, "revoked-in-use")],
    ..Scenario::BLANK
};

pub(in super::super) static ARRIVAL: Scenario = Scenario {
    name: "kernel_flush_arrival",
    goal: "A CPU that arrives is not told of a flush of kernel mappings, and remembers what was flushed.",
    method: "CPU 0 makes a kernel page read-only while CPU 1 arrives, comes to the address space and writes to the page.",
    machine: TWO_LATE_CPUS,
    setup: |m| {
        if m.cpu() == CpuId(0) {
            call::arrive(m);
            create_with(m, 1, Attributes { dirty: true, ..Attributes::USER_WRITE });
            m.user_space().switch_to(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            protect_kernel_page(m);
        } else {
            call::arrive(m);
            m.user_space().switch_to(m);
            m.write(PAGE_0);
        }
    },
    cpus_come_and_go: true,
    tagging: Tagging::Untagged,
    reaches: &[Reach::Stale, Reach::Counted(Counter::Kick)],
    proves: &[Proof::of(Fix::WaitForAcks, "stale-after-return")],
    ..KERNEL_FLUSH
};

pub(in super::super) fn protect_kernel_page(m: &Sim) {
    let tables = m.user_space().lock(m);
    let leaf = tables.find(PAGE_0).expect("the page is mapped");
    let (at, frame) = (leaf.at(), leaf.frame());
    // Dirty for good: kernel pages are not written back.
    let attributes = Attributes { dirty: true, ..Attributes::USER_READ };
    m.store(At::Entry(at), Tiny::leaf(frame, Level::LEAF, attributes), Release);
    drop(tables);
    let page = VpnRange::from_len(PAGE_0, 1);
    flush_kernel(m, Stale::leaves(page, Level::LEAF));
    m.promises(page);
}
