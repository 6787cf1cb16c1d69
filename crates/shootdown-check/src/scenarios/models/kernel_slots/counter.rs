//! Models of kernels that count new slots, and have each CPU that switches to a root look whether the root has them all, as
//! 32-bit Arm does.
//!
//! It is enough for a CPU that switches after it was given the address, if a slot is in the init root before it is counted,
//! and that order is kept; and if a copy that comes late takes nothing away. It fails for CPUs that do not switch: they need
//! a fault as well. To copy until the count is stable makes failures there fewer, and is not what it holds by.

use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release};

use shootdown::{CpuId, Machine, Modify, Shared, SpaceId, Vpn};
use shootdown_sim::smp::{Config, MemoryModel};

use super::{
    super::script::cpus,
    script::{INIT, PAGE, create_roots, fill_init_slot, hand_out, load, map, root, set_slot, slot, use_page, wait_for},
};
use crate::{machine::Sim, scenario::Scenario};

/// The shortest trace: CPU 1 shows number 2 and notes it for the root; then CPU 0 fills the slot with number 1 (R-VM2).
pub(in super::super) static TWO_NUMBERS: Scenario = Scenario {
    name: "model_slot_count_two_2cpu",
    goal: "Two slots are filled in parallel, and the newer number says that the older slot is there.",
    method: "Each CPU takes a number, fills a slot and shows the number; CPU 1 switches before and after it is given CPU 0's \
             address, and uses it.",
    machine: cpus(2),
    setup,
    main: |m| {
        if m.cpu() == CpuId(0) {
            return allocate(m, PAGE, take_and_show);
        }
        take_and_show(m, LOW_PAGE);
        switch(m, copy_present);
        use_when_handed_out(m, PAGE, copy_present);
    },
    ..Scenario::BLANK
};

/// The shortest trace: the count reaches CPU 1 before the slot does, so it notes for the root a slot that it did not copy.
pub(in super::super) static RELAXED: Scenario = Scenario {
    name: "model_slot_count_relaxed_2cpu",
    goal: "A slot is counted by a change that overtakes the store to the slot.",
    method: "CPU 0 fills a slot and counts it without a release; CPU 1 switches before and after it is given the address, and uses it.",
    machine: WEAK,
    main: |m| {
        if m.cpu() == CpuId(0) {
            return allocate(m, PAGE, |m, page| fill_and_count(m, page, Relaxed));
        }
        switch(m, copy_present);
        use_when_handed_out(m, PAGE, copy_present);
    },
    ..TWO_NUMBERS
};

/// The shortest trace: CPU 0 reads the slot while it is empty; CPU 1 fills and copies it, CPU 0 stores what it has read, and
/// CPU 1 uses the address. The count would have CPU 0 copy once more, after that.
pub(in super::super) static TAKEN_AWAY: Scenario = Scenario {
    name: "model_slot_count_same_root_2cpu",
    goal: "Two CPUs copy slots to one root, and the one that read them earlier stores them later.",
    method: "Both CPUs switch to a process whose root lacks a slot, CPU 1 after it has filled another, whose address it uses.",
    setup: |m| {
        setup(m);
        if m.cpu() == CpuId(0) {
            count_with_release(m, LOW_PAGE);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            return switch(m, copy_all);
        }
        allocate(m, PAGE, count_with_release);
        switch(m, copy_all);
        use_page(m, PAGE);
    },
    ..TWO_NUMBERS
};

/// The shortest trace: CPU 1, on the process's root all the time, is given the address.
pub(in super::super) static NO_SWITCH: Scenario = Scenario {
    name: "model_slot_count_no_switch_2cpu",
    goal: "A CPU that does not switch uses a slot that has come meanwhile.",
    method: "CPU 0 allocates an address, which CPU 1 uses, in the process that it is in.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            return allocate(m, PAGE, count_with_release);
        }
        switch(m, copy_present);
        wait_for(m, PAGE);
        use_page(m, PAGE);
    },
    ..TWO_NUMBERS
};

pub(in super::super) static RELEASED: Scenario = Scenario {
    name: "model_slot_count_2cpu",
    goal: "A root is noted to have all slots while it lacks one.",
    method: "Each CPU fills a slot and counts it with a release; both switch to one process, CPU 1 twice, and use what they were \
             given.",
    machine: WEAK,
    main: |m| {
        if m.cpu() == CpuId(0) {
            allocate(m, PAGE, count_with_release);
            switch(m, copy_present);
            return use_page(m, PAGE);
        }
        count_with_release(m, LOW_PAGE);
        switch(m, copy_present);
        use_when_handed_out(m, PAGE, copy_present);
    },
    ..TWO_NUMBERS
};

/// Walkers see what is in memory.
const WEAK: Config = Config { memory: MemoryModel::Pso, walker_forwards: false, ..cpus(2) };

/// The kernel has both slots here; this is a page under the other one.
const LOW_PAGE: Vpn = Vpn(0);

const PROCESS: u32 = 0;

/// Everybody begins in the init root, as an idle task does.
fn setup(m: &Sim) {
    if m.cpu() == CpuId(0) {
        create_roots(m, 1);
    }
    m.load_root(Some((INIT, SpaceId(PROCESS + 1))));
}

fn allocate(m: &Sim, page: Vpn, fill: fn(&Sim, Vpn)) {
    fill(m, page);
    map(m, page);
    hand_out(m, page);
}

fn count_with_release(m: &Sim, page: Vpn) {
    fill_and_count(m, page, AcqRel);
}

fn fill_and_count(m: &Sim, page: Vpn, order: Ordering) {
    fill_init_slot(m, page);
    count(m).update(m, Modify::Add(1), order);
}

fn take_and_show(m: &Sim, page: Vpn) {
    let number = m.scratch(0).modify(m, Modify::Add(1), AcqRel) + 1;
    fill_init_slot(m, page);
    count(m).store(m, number, Release);
}

fn use_when_handed_out(m: &Sim, page: Vpn, copy: fn(&Sim)) {
    wait_for(m, page);
    switch(m, copy);
    use_page(m, page);
}

fn switch(m: &Sim, copy: fn(&Sim)) {
    if noted(m).load(m, Acquire) < count(m).load(m, Acquire) {
        m.spin(|m| {
            let counted = count(m).load(m, Acquire);
            copy(m);
            noted(m).store(m, counted, Release);
            (count(m).load(m, Acquire) == counted).then_some(())
        });
        // Our walker reads memory.
        m.complete();
    }
    load(m, PROCESS);
}

/// Copies as `memcpy` does.
fn copy_all(m: &Sim) {
    for page in [LOW_PAGE, PAGE] {
        set_slot(m, root(PROCESS), page, slot(m, INIT, page));
    }
}

fn copy_present(m: &Sim) {
    for page in [LOW_PAGE, PAGE] {
        let filled = slot(m, INIT, page);
        if filled != 0 {
            set_slot(m, root(PROCESS), page, filled);
        }
    }
}

/// How many slots are filled, or the number of the last one.
fn count(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(2)
}

/// What the count was when the process's root was completed.
fn noted(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(3)
}
