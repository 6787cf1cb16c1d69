//! Models of the cure for deadlocks of calls on Alpha, after the public description of a patch series for Linux of 2026.
//!
//! One lock around the calls of six places, taken by running what others ask of this CPU until it is free, so of two CPUs
//! that call each other with interrupts masked one answers (R-AL2). Whoever has the lock waits and runs nothing. The
//! interrupt for a call may be dropped all the same (R-AL1), which a look at the end of every other interrupt makes up for:
//! as its author says, the lock alone is not enough and both together are, for who takes the lock. But a seventh caller
//! does not, and a handler on the CPU that has it waits for itself (R-IPI9).
//!
//! Ours has no such lock, since every wait runs what others ask for: `lost_edge`, `mutual_calls`, `calling_handler`.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use shootdown::{Counter, CpuId, Invalidate, Machine, Masked, Modify, Shared};
use shootdown_sim::smp::Config;

use super::{
    super::script::PAGE_0,
    script::{cpus, free, kick, setup, unhook_locally},
};
use crate::{machine::Sim, reach::Reach, scenario::Scenario};

/// The kicks of this machine are lost while their target has interrupts masked, as those of its Marvel are.
const MARVEL: Config = Config { loses_masked_kicks: true, ticks: true, ..cpus(2) };

pub(super) static LOCK: Scenario = Scenario {
    name: "model_alpha_lock_2cpu",
    goal: "The interrupt for a call is dropped, and whoever has the lock waits forever.",
    method: "CPU 0 unmaps a page, CPU 1 uses it and calls CPU 0, both masked and under the lock; ticks look nowhere.",
    machine: MARVEL,
    setup,
    main: |m| unmap_and_call(m, call_masked_and_locked),
    handler: answer,
    tick: |_| {},
    ..Scenario::BLANK
};

pub(super) static LOCK_AND_POLL: Scenario = Scenario {
    name: "model_alpha_lock_polled_2cpu",
    goal: "The interrupt for a call is dropped, and a look at the end of other interrupts does not make up for it.",
    method: "CPU 0 unmaps a page, CPU 1 uses it and calls CPU 0, both masked and under the lock; ticks look for calls.",
    tick: poll,
    reaches: &[Reach::Stale, Reach::Counted(Counter::RescuedCall)],
    ..LOCK
};

pub(super) static SEVENTH_CALLER: Scenario = Scenario {
    name: "model_alpha_seventh_caller_2cpu",
    goal: "Two CPUs call each other and one does without the lock, so neither answers.",
    method: "CPU 0 unmaps a page under the lock, CPU 1 uses it and calls CPU 0 without; both masked, ticks look for calls.",
    main: |m| {
        let call = if m.cpu() == CpuId(0) { call_masked_and_locked } else { call_masked };
        unmap_and_call(m, call);
    },
    tick: poll,
    ..LOCK
};

pub(super) static HANDLER_FLUSHES: Scenario = Scenario {
    name: "model_alpha_handler_flushes_2cpu",
    goal: "A handler waits for the lock that the code below it has.",
    method: "Both CPUs call under the lock with interrupts open; so does the handler of CPU 0's ticks, which look for calls.",
    main: |m| unmap_and_call(m, call_locked),
    tick: |m| {
        poll(m);
        if m.cpu() == CpuId(0) {
            call_locked(m);
        }
    },
    ..LOCK
};

/// Not 0 while somebody calls.
fn lock(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(0)
}

/// Not 0 while a CPU is asked to forget everything. Whoever asks waits until it is 0 again.
fn asked(m: &Sim, cpu: CpuId) -> &'static Shared<Sim> {
    m.scratch(1 + usize::from(cpu.0))
}

fn unmap_and_call(m: &Sim, call: fn(&Sim)) {
    if m.cpu() == CpuId(0) {
        unhook_locally(m);
        call(m);
        free(m);
    } else {
        m.access(PAGE_0);
        call(m);
    }
}

fn call_masked_and_locked(m: &Sim) {
    let _masked = Masked::new(m);
    call_locked(m);
}

fn call_locked(m: &Sim) {
    m.spin(|m| {
        let was = lock(m).modify(m, Modify::CompareExchange { old: 0, new: 1 }, Acquire);
        (was == 0).then_some(()).or_else(|| {
            drain(m);
            None
        })
    });
    call(m);
    lock(m).store(m, 0, Release);
}

fn call_masked(m: &Sim) {
    let _masked = Masked::new(m);
    call(m);
}

/// Asks the other CPU, interrupts it, and waits for nothing but its answer.
fn call(m: &Sim) {
    let other = CpuId(1 - m.cpu().0);
    asked(m, other).store(m, 1, Release);
    kick(m, other);
    m.spin(|m| (asked(m, other).load(m, Acquire) == 0).then_some(()));
}

/// Runs what is asked of this CPU, outside of interrupts.
fn drain(m: &Sim) {
    if asked(m, m.cpu()).load(m, Relaxed) != 0 {
        let _masked = Masked::new(m);
        answer(m);
    }
}

/// Does the same at the end of an interrupt that is for something else.
fn poll(m: &Sim) {
    if asked(m, m.cpu()).load(m, Relaxed) != 0 {
        m.count(Counter::RescuedCall, 1);
        answer(m);
    }
}

fn answer(m: &Sim) {
    if asked(m, m.cpu()).load(m, Acquire) != 0 {
        m.invalidate(Invalidate::All);
        asked(m, m.cpu()).store(m, 0, Release);
    }
}
