//! Mappings of the kernel's own: as many CPUs as there can be map, unmap and use them on roots of two address spaces.

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{
    Attributes, CpuId, Level, Machine, Modify, Shared, Stale, Vpn, call, flush_kernel,
    kspace::{Absence, BlockMapError},
    page::{self, DropReference},
    walk::{Walkers, Walking},
};
use shootdown_sim::smp::{Config, MAX_CPUS};

use super::{
    super::kernel_space::{
        block::{BLOCK, blocks},
        script::{assert_works, build, run_in_kernel, sealed},
    },
    EVERYTHING, OPERATIONS_PER_CPU,
};
use crate::{machine::Sim, scenario::Scenario};

pub(super) static KERNEL: Scenario = Scenario {
    name: "soak_kernel",
    goal: "A kernel address that is valid leads nowhere, or to what was there before.",
    method: "Eight CPUs map pages in a block, use what any of them has mapped, unmap, drain, and change roots, all at random.",
    machine: Config { cpus: MAX_CPUS, ..EVERYTHING },
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            build(m);
        }
        run_in_kernel(m);
    },
    main,
    walkers: Walkers::Unannounced,
    ..Scenario::BLANK
};

pub(super) static ABSENT: Scenario = Scenario {
    name: "soak_kernel_absent",
    machine: Config { remembers_absent: true, ..KERNEL.machine },
    absence: Absence::LookedAtAgain,
    ..KERNEL
};

pub(super) static BROADCAST: Scenario = Scenario {
    name: "soak_kernel_broadcast",
    machine: Config { has_tags: true, ..KERNEL.machine },
    broadcasts: true,
    walkers: Walkers::Announced,
    ..KERNEL
};

/// Nothing is mapped at the page, or whoever is about to map or unmap it has it; otherwise how many CPUs use it, and this.
const VALID: u64 = 1;

fn main(m: &Sim) {
    for _ in 0..OPERATIONS_PER_CPU {
        match m.choose(8) {
            0 | 1 => map(m),
            2 | 3 => unmap(m),
            4 => match m.choose(4) {
                0 => blocks(m).drain(m),
                1 => _ = flush_kernel(m, Stale::EVERYTHING),
                2 => _ = Walking::begin(m).find_in_kernel(&sealed(m), page(m)),
                _ => m.address_space(m.choose(2) as usize).switch_to(m),
            },
            _ => touch(m),
        }
    }
}

fn page(m: &Sim) -> Vpn {
    Vpn(BLOCK.start.0 + m.choose(BLOCK.n_pages() as u8))
}

/// Whether a page is mapped, and who uses it.
fn state(m: &Sim, page: Vpn) -> &'static Shared<Sim> {
    m.scratch((page.0 - BLOCK.start.0) as usize)
}

fn map(m: &Sim) {
    let Ok(frame) = page::allocate(m, Level::LEAF) else { return };
    let mut frame = Some(frame);
    match blocks(m).map(m, 1, std::iter::from_fn(|| frame.take()), Attributes::USER_WRITE) {
        Ok(pages) => state(m, pages.start).store(m, VALID, Release),
        Err(BlockMapError::NoRoom { .. }) => frame.into_iter().for_each(|frame| page::drop_reference(m, frame)),
        Err(error) => panic!("there is a table, and nothing in the place: {error}"),
    }
}

/// Where nobody uses it.
fn unmap(m: &Sim) {
    let page = page(m);
    if state(m, page).modify(m, Modify::CompareExchange { old: VALID, new: 0 }, Acquire) == VALID {
        assert!(blocks(m).unmap(m, page, &DropReference).is_ok(), "it was mapped");
    }
}

/// Uses a page that is valid for as long as that takes.
fn touch(m: &Sim) {
    let page = page(m);
    let was = state(m, page).load(m, Acquire);
    let claim = Modify::CompareExchange { old: was, new: was + 1 };
    if was >= VALID && state(m, page).modify(m, claim, Acquire) == was {
        assert_works(m, page);
        state(m, page).update(m, Modify::Add(1_u64.wrapping_neg()), Release);
    }
}
