//! Kernel space: mappings that every root reaches, and addresses that are used again (R-VM1, R-VM4, M34, M35).
//!
//! No CPU runs user code here: what it remembers of an address that nobody uses does no harm until somebody does.

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{
    Attributes, Counter, CpuId, Fix, Level, Machine, Vpn, VpnRange, call,
    kspace::{FreeRange, MappedRange, Sealed},
    page::{self, DropReference},
};
use shootdown_sim::smp::Access;

use super::script::TWO_CPUS;
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// The first page of kernel space, and one that it may grow to.
const PAGE: Vpn = Vpn(2);
const GROWN: Vpn = Vpn(0);

/// A word that says that CPU 1 may use the page.
const TOLD: usize = 0;

pub(super) static MAP: Scenario = Scenario {
    name: "kernel_map",
    goal: "What was mapped for the kernel is not found, and in the kernel nobody handles that.",
    method: "CPU 0 maps a page, uses it, and tells CPU 1, which uses it, too; each runs on the root of another address space.",
    machine: TWO_CPUS,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            build(m);
        }
        run_in_kernel(m);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            map(m, free(PAGE));
            assert_works(m, PAGE);
            m.scratch(TOLD).store(m, 1, Release);
        } else if m.scratch(TOLD).load(m, Acquire) != 0 {
            assert_works(m, PAGE);
        }
    },
    proves: &[Proof::of(Fix::FenceAfterKernelMap, "panic")],
    reaches: &[Reach::Counted(Counter::KernelMapped)],
    ..Scenario::BLANK
};

pub(super) static REUSE: Scenario = Scenario {
    name: "kernel_reuse",
    goal: "A kernel address is mapped again, and a CPU goes on to where it led before.",
    method: "CPU 0 unmaps a page, flushes, maps another one at the same address, and tells CPU 1, which uses it.",
    setup: |m| {
        (MAP.setup)(m);
        if m.cpu() == CpuId(0) {
            map(m, free(PAGE));
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            let lazy = sealed(m).unmap(m, mapped(PAGE), &DropReference);
            let flushed = sealed(m).flush(m, lazy.pages());
            map(m, lazy.free(m, &flushed).expect("the flush is newer"));
            m.scratch(TOLD).store(m, 1, Release);
        } else if m.scratch(TOLD).load(m, Acquire) != 0 {
            assert_works(m, PAGE);
        }
    },
    proves: &[Proof::narrow(Fix::WaitForAcks, "stale-in-use")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::Flush)],
    ..MAP
};

pub(super) static OLDER_FLUSH: Scenario = Scenario {
    name: "kernel_reuse_older",
    goal: "A kernel address is mapped again after a flush that was begun before it was unmapped.",
    method: "CPU 0 flushes, and unmaps a page; it maps another one at the address if the flush will do, and tells CPU 1, which \
             uses it.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            let older = sealed(m).flush(m, VpnRange::from_len(PAGE, 1));
            let lazy = sealed(m).unmap(m, mapped(PAGE), &DropReference);
            let Ok(range) = lazy.free(m, &older) else {
                return;
            };
            map(m, range);
            m.scratch(TOLD).store(m, 1, Release);
        } else if m.scratch(TOLD).load(m, Acquire) != 0 {
            assert_works(m, PAGE);
        }
    },
    proves: &[Proof::of(Fix::FlushBeforeReuse, "stale-in-use")],
    reaches: &[Reach::Stale],
    ..REUSE
};

pub(super) static GROW: Scenario = Scenario {
    name: "kernel_grow",
    goal: "A CPU uses an address of a new slot on a root that lacks it.",
    method: "CPU 0 makes kernel space larger, maps a page there and tells CPU 1, which uses it on another root.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            let new = sealed(m).grow(m, 1).expect("there is a slot, and memory for a table");
            map(m, new);
            m.scratch(TOLD).store(m, 1, Release);
        } else if m.scratch(TOLD).load(m, Acquire) != 0 {
            assert_works(m, GROWN);
        }
    },
    proves: &[Proof::of(Fix::FillRootsBeforeUse, "panic")],
    reaches: &[Reach::Counted(Counter::KernelMapped)],
    ..MAP
};

pub(super) static GROW_BESIDE_CREATION: Scenario = Scenario {
    name: "kernel_grow_creation",
    goal: "A root is made while a slot is filled, and lacks it.",
    method: "CPU 0 makes kernel space larger, maps a page there and tells CPU 1; meanwhile that makes a root and goes to it.",
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            seal(m);
            m.address_space(0).create_in(m, &sealed(m)).expect("the machine has a frame for the root");
            m.address_space(0).switch_to(m);
        }
        m.stop_user();
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            let new = sealed(m).grow(m, 1).expect("there is a slot, and memory for a table");
            map(m, new);
            m.scratch(TOLD).store(m, 1, Release);
        } else {
            m.address_space(1).create_in(m, &sealed(m)).expect("the machine has a frame for the root");
            m.address_space(1).switch_to(m);
            if m.scratch(TOLD).load(m, Acquire) != 0 {
                assert_works(m, GROWN);
            }
        }
    },
    proves: &[Proof::narrow(Fix::FillRootsBeforeUse, "panic")],
    ..GROW
};

/// Of its addresses everybody knows by their numbers.
fn seal(m: &Sim) {
    let (_, _addresses) = m.kernel().build(m).expect("the machine has frames for the slots").seal(m);
}

fn build(m: &Sim) {
    seal(m);
    for id in [0, 1] {
        m.address_space(id).create_in(m, &sealed(m)).expect("the machine has a frame for the root");
    }
}

/// Each CPU on the root of an address space of its own.
fn run_in_kernel(m: &Sim) {
    m.address_space(usize::from(m.cpu().0)).switch_to(m);
    m.stop_user();
}

fn sealed(m: &Sim) -> Sealed<'_, Sim> {
    m.kernel().sealed(m).expect("it was sealed before anything else")
}

/// The addresses that the setup knows of by their numbers.
fn free(page: Vpn) -> FreeRange {
    // SAFETY: what `seal` returned is dropped, and one CPU takes each address once.
    #[expect(unsafe_code, reason = "a scenario keeps nothing between its setup and its end")]
    unsafe {
        FreeRange::claim(VpnRange::from_len(page, 1))
    }
}

fn mapped(page: Vpn) -> MappedRange {
    // SAFETY: the setup has mapped it and dropped what it was given for it.
    #[expect(unsafe_code, reason = "a scenario keeps nothing between its setup and its end")]
    unsafe {
        MappedRange::claim(VpnRange::from_len(page, 1))
    }
}

fn map(m: &Sim, range: FreeRange) {
    let frame = page::allocate(m, Level::LEAF).expect("the machine has a frame");
    let mapped = sealed(m).map(m, range, [frame], Attributes::USER_WRITE);
    assert!(mapped.is_ok(), "nothing is there");
}

/// Kernel code uses a page, and does not expect a fault.
fn assert_works(m: &Sim, page: Vpn) {
    assert!(m.tries(page, Access::Read), "a fault at a kernel address");
}
