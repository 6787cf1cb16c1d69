//! What was mapped for the kernel works on every CPU that is told of it: nobody expects a fault there.
//!
//! What that takes depends on the machine: nothing, a fence, or, where CPUs remember that nothing was there, to tell them all or
//! to look again at a fault.

use shootdown::{Counter, CpuId, Fix, Machine, call, kspace::Absence, walk::Walkers};
use shootdown_sim::smp::{Config, TlbModel};

use super::{
    super::script::TWO_CPUS,
    script::{PAGE, TWO_ALPHA_CPUS, TWO_X86_CPUS, assert_works, build, free, is_told, map, run_in_kernel, tell},
};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static MAP: Scenario = Scenario {
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
            tell(m);
        } else if is_told(m) {
            assert_works(m, PAGE);
        }
    },
    proves: &[Proof::of(Fix::FenceAfterKernelMap, "panic")],
    reaches: &[Reach::Counted(Counter::KernelMapped)],
    ..Scenario::BLANK
};

/// A store to an entry is found by the next walk of its CPU.
pub(in super::super) static X86: Scenario =
    Scenario { name: "kernel_map_x86", machine: TWO_X86_CPUS, proves: &[], ..MAP };

pub(in super::super) static ALPHA: Scenario = Scenario { name: "kernel_map_alpha", machine: TWO_ALPHA_CPUS, ..MAP };

/// Two CPUs that remember that nothing is mapped somewhere.
const TWO_REMEMBERING_CPUS: Config = Config { remembers_absent: true, tlb: TlbModel::MaySets, ..TWO_CPUS };

pub(in super::super) static TOLD: Scenario = Scenario {
    name: "kernel_map_told",
    goal: "A CPU goes on to remember that nothing is mapped at a kernel address, and in the kernel nobody tries again.",
    machine: TWO_REMEMBERING_CPUS,
    absence: Absence::Told,
    proves: &[Proof::of(Fix::TellOfKernelMap, "panic")],
    reaches: &[Reach::Counted(Counter::KernelMapped), Reach::Counted(Counter::Flush)],
    ..MAP
};

pub(in super::super) static LOOKED_AT_AGAIN: Scenario = Scenario {
    name: "kernel_map_look_again",
    method: "As kernel_map_told; nobody is told, but who has a fault looks again.",
    absence: Absence::LookedAtAgain,
    walkers: Walkers::Unannounced,
    proves: &[Proof::of(Fix::LookAgainAtFault, "panic")],
    reaches: &[Reach::Counted(Counter::KernelMapped)],
    ..TOLD
};
