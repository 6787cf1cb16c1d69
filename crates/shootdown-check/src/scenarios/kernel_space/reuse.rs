//! A kernel address is used again when no CPU remembers what was there before.

use shootdown::{Counter, CpuId, Fix, Machine, Tagging, VpnRange, page::DropReference};

use super::{
    map::MAP,
    script::{PAGE, TWO_ALPHA_CPUS, TWO_X86_CPUS, assert_works, free, is_told, map, mapped, sealed, tell},
};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static REUSE: Scenario = Scenario {
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
            tell(m);
        } else if is_told(m) {
            assert_works(m, PAGE);
        }
    },
    proves: &[Proof::narrow(Fix::WaitForAcks, "stale-in-use")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::Flush)],
    ..MAP
};

pub(in super::super) static OLDER_FLUSH: Scenario = Scenario {
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
            tell(m);
        } else if is_told(m) {
            assert_works(m, PAGE);
        }
    },
    proves: &[Proof::of(Fix::FlushBeforeReuse, "stale-in-use")],
    reaches: &[Reach::Stale],
    ..REUSE
};

pub(in super::super) static X86: Scenario = Scenario { name: "kernel_reuse_x86", machine: TWO_X86_CPUS, ..OLDER_FLUSH };

pub(in super::super) static ALPHA: Scenario =
    Scenario { name: "kernel_reuse_alpha", machine: TWO_ALPHA_CPUS, tagging: Tagging::Numbered, ..OLDER_FLUSH };
