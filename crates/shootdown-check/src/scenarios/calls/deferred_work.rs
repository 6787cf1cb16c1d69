//! Deferred work that calls other CPUs, at the end of an interrupt, on a CPU that owes an answer itself.

use shootdown::{Counter, CpuId, Fix, Machine, Masked, call};
use shootdown_sim::smp::{Config, MemoryModel};

use super::script::call;
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static DEFERRED_WORK: Scenario = Scenario {
    name: "deferred_work",
    goal: "Deferred work waits for a CPU that waits for this one.",
    method: "The timer of CPU 1 does deferred work, which calls CPU 0, while CPU 0 calls CPU 1 with interrupts masked.",
    machine: Config { memory: MemoryModel::Sc, loses_masked_kicks: true, ticks: true, ..Config::with_cpus(2) },
    main: |m| {
        if m.cpu() == CpuId(0) {
            let _masked = Masked::new(m);
            call(m, 1);
        }
    },
    tick: |m| {
        call::on_interrupt_exit(m);
        if m.cpu() == CpuId(1) {
            // Deferred work runs with interrupts open, on top of what was interrupted.
            m.restore(0);
            call(m, 0);
            m.mask();
        }
    },
    reaches: &[Reach::Counted(Counter::RescuedCall)],
    proves: &[Proof::of(Fix::ServeWhileWaiting, "deadlock")],
    ..Scenario::BLANK
};
