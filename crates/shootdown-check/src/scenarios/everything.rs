//! Machines on which everything that can happen does.

use shootdown::{Attributes, Counter, CpuId, Machine, VpnRange};
use shootdown_sim::smp::{Config, TlbModel};

use super::{
    script::{FLUSHING, PAGE_0, unmap_with_tables, use_everywhere_with},
    unmap_2cpu::UNMAP_2CPU,
};
use crate::{reach::Reach, scenario::Scenario};

/// Ticks alone, to see that endless ones neither hide a state without a way out nor make one up.
pub(super) static TICKS: Scenario = Scenario {
    name: "ticks",
    method: "As unmap_2cpu, and timers interrupt both CPUs whenever they can.",
    machine: Config { ticks: true, ..UNMAP_2CPU.machine },
    ..UNMAP_2CPU
};

/// Two CPUs, and all that the machine can do.
pub(super) const MACHINE: Config = Config {
    caches_walks: true,
    evicts: true,
    sets_accessed: true,
    ticks: true,
    late_changes: true,
    loses_masked_kicks: true,
    has_clock: true,
    may_refuse_batches: true,
    may_refuse_tables: true,
    ..Config::with_cpus(2)
};

pub(super) static TWO_CPUS: Scenario = Scenario {
    name: "everything_2cpu",
    goal: "Two things that the machine can do go wrong only together.",
    method: "CPU 0 unmaps a page and its table while CPU 1 writes to the page, with all that hardware may do by itself.",
    machine: MACHINE,
    setup: |m| use_everywhere_with(m, 1, Attributes { accessed: false, ..Attributes::USER_WRITE }),
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
        } else {
            m.write(PAGE_0);
        }
    },
    proves: &FLUSHING,
    reaches: &[Reach::Stale, Reach::Counted(Counter::BatchRefused)],
    ..Scenario::BLANK
};

pub(super) static THREE_CPUS: Scenario = Scenario {
    name: "unmap_tables_3cpu",
    goal: "A page table is freed when one of two targets has answered.",
    method: "CPU 0 unmaps a page and its table while the walkers of all CPUs may cache the way to it.",
    machine: Config { caches_walks: true, ..Config::with_cpus(3) },
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    ..TWO_CPUS
};

/// All at once on three CPUs, which is too much for explicit fills.
pub(super) static THREE_CPUS_WITH_MAY_SETS: Scenario = Scenario {
    name: "everything_3cpu",
    goal: "Two things that the machine can do go wrong only together, and only between three CPUs.",
    machine: Config { cpus: 3, tlb: TlbModel::MaySets, ticks: false, ..MACHINE },
    ..TWO_CPUS
};
