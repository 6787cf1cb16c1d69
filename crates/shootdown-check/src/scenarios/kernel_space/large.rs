//! Large pages in the place of tables, and back, while others read kernel tables (R-PTDUMP).
//!
//! On one root: with slots a root entry always leads to a table, and there are but two levels here.

use shootdown::{
    Attributes, Counter, CpuId, Fix, Level, Machine, SpaceId, VpnRange, call,
    kspace::{FreeRange, MappedRange, Sealed},
    page::{self, DropReference},
    walk::{Walkers, Walking},
};
use shootdown_sim::smp::Config;

use super::{
    super::script::{TWO_CACHING_CPUS, TWO_CPUS},
    script::PAGE,
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static WALKED: Scenario = Scenario {
    name: "kernel_large",
    goal: "A table of kernel space is freed while another CPU's walker, or code that asks how a page is mapped, reads it.",
    method: "CPU 0 maps a large page where there was a small one; CPU 1 looks for that in the tables.",
    machine: TWO_CACHING_CPUS,
    walkers: Walkers::Unannounced,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            start_with_empty_table(m);
        } else {
            run_in_kernel(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            map_large(m);
        } else {
            let walking = Walking::begin(m);
            _ = walking.find_in_kernel(&sealed(m), PAGE);
        }
    },
    proves: &[
        Proof::of(Fix::DropWalkCaches, "walker-in-freed-table"),
        Proof::of(Fix::WaitForAcks, "walker-in-freed-table"),
        Proof::of(Fix::MaskWhileWalking, "entry-of-no-table"),
    ],
    reaches: &[Reach::Counted(Counter::KernelMapped)],
    ..Scenario::BLANK
};

pub(in super::super) static BROADCAST: Scenario = Scenario {
    name: "kernel_large_broadcast",
    method: "As kernel_large, on a machine whose flushes interrupt nobody.",
    machine: Config { has_tags: true, ..TWO_CACHING_CPUS },
    broadcasts: true,
    proves: &[
        Proof::of(Fix::QuiesceBeforeFree, "entry-of-no-table"),
        Proof::of(Fix::ProveByInterrupt, "entry-of-no-table"),
        Proof::of(Fix::DropWalkCaches, "walker-in-freed-table"),
    ],
    reaches: &[Reach::Counted(Counter::Quiescence)],
    ..WALKED
};

pub(in super::super) static AND_BACK: Scenario = Scenario {
    name: "kernel_small_again",
    goal: "A TLB has a large page of kernel space and a small one at the same address.",
    method: "CPU 0 unmaps a large page, and maps a small one there after a flush, if an older one will not do.",
    machine: Config { forbids_two_sizes: true, ..TWO_CPUS },
    walkers: Walkers::None,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            start(m);
            map_large(m);
        } else {
            run_in_kernel(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            let older = sealed(m).flush(m, VpnRange::from_len(PAGE, 2));
            let lazy = sealed(m).unmap(m, mapped(2), &DropReference);
            let range = lazy.free(m, &older).or_else(|lazy| {
                let flushed = sealed(m).flush(m, lazy.pages());
                lazy.free(m, &flushed)
            });
            let (page, _rest) = range.expect("the second flush is newer").split(1).expect("there are two");
            map(m, page, Level::LEAF);
        }
    },
    proves: &[Proof::of(Fix::FlushBeforeReuse, "two-sizes"), Proof::of(Fix::WaitForAcks, "two-sizes")],
    reaches: &[Reach::Counted(Counter::KernelMapped)],
    ..WALKED
};

const LARGE: Level = Level(2);

/// Kernel space with one root, and this CPU on it.
fn start(m: &Sim) {
    let (_, _addresses) = m.lone_kernel().build(m).expect("the machine has a frame for the root").seal(m);
    run_in_kernel(m);
}

fn run_in_kernel(m: &Sim) {
    m.load_root(Some((sealed(m).root(), SpaceId(0))));
    m.stop_user();
}

/// The same, with a table in which a page was mapped.
pub(in super::super) fn start_with_empty_table(m: &Sim) {
    start(m);
    map(m, free(1), Level::LEAF);
    let lazy = sealed(m).unmap(m, mapped(1), &DropReference);
    let flushed = sealed(m).flush(m, lazy.pages());
    assert!(lazy.free(m, &flushed).is_ok(), "the flush is newer");
}

/// Maps a large page over all of it.
pub(in super::super) fn map_large(m: &Sim) {
    map(m, free(2), LARGE);
}

pub(in super::super) fn sealed(m: &Sim) -> Sealed<'_, Sim> {
    m.lone_kernel().sealed(m).expect("it was sealed before anything else")
}

/// So many addresses, which the setup knows of by their numbers.
fn free(n_pages: u64) -> FreeRange {
    // SAFETY: what `seal` returned is dropped, and one CPU takes each address once at a time.
    #[expect(unsafe_code, reason = "a scenario keeps nothing between its setup and its end")]
    unsafe {
        FreeRange::claim(VpnRange::from_len(PAGE, n_pages))
    }
}

fn mapped(n_pages: u64) -> MappedRange {
    // SAFETY: the setup has mapped it and dropped what it was given for it.
    #[expect(unsafe_code, reason = "a scenario keeps nothing between its setup and its end")]
    unsafe {
        MappedRange::claim(VpnRange::from_len(PAGE, n_pages))
    }
}

fn map(m: &Sim, range: FreeRange, level: Level) {
    let frame = page::allocate(m, level).expect("the machine has a frame");
    let mapped = sealed(m).map(m, range, [frame], Attributes::USER_WRITE);
    assert!(mapped.is_ok(), "nothing is there");
}
