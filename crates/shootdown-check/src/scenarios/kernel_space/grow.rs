//! Kernel space becomes larger while other CPUs run on roots, or make some.

use shootdown::{Counter, CpuId, Fix, Machine, Vpn, call, kspace::Absence};
use shootdown_sim::smp::{Config, TlbModel};

use super::{
    map::MAP,
    script::{assert_works, is_told, map, seal, sealed, tell},
};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// A page that it may grow to.
const GROWN: Vpn = Vpn(0);

pub(in super::super) static GROW: Scenario = Scenario {
    name: "kernel_grow",
    goal: "A CPU uses an address of a new slot on a root that lacks it.",
    method: "CPU 0 makes kernel space larger, maps a page there and tells CPU 1, which uses it on another root.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            let new = sealed(m).grow(m, 1).expect("there is a slot, and memory for a table");
            map(m, new);
            tell(m);
        } else if is_told(m) {
            assert_works(m, GROWN);
        }
    },
    proves: &[Proof::of(Fix::FillRootsBeforeUse, "panic")],
    reaches: &[Reach::Counted(Counter::KernelMapped)],
    ..MAP
};

pub(in super::super) static BESIDE_CREATION: Scenario = Scenario {
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
            tell(m);
        } else {
            m.address_space(1).create_in(m, &sealed(m)).expect("the machine has a frame for the root");
            m.address_space(1).switch_to(m);
            if is_told(m) {
                assert_works(m, GROWN);
            }
        }
    },
    proves: &[Proof::narrow(Fix::FillRootsBeforeUse, "panic")],
    ..GROW
};

pub(in super::super) static TOLD: Scenario = Scenario {
    name: "kernel_grow_told",
    goal: "A CPU goes on to remember that there is nothing in a slot that was filled.",
    method: "As kernel_grow, on a machine whose CPUs remember that.",
    machine: Config { remembers_absent: true, tlb: TlbModel::MaySets, ..GROW.machine },
    absence: Absence::Told,
    proves: &[Proof::of(Fix::TellOfKernelMap, "panic")],
    ..GROW
};
