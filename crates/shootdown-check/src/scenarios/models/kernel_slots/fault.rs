//! Models of kernels that copy a slot when somebody has a fault for want of it: x86-32, and Alpha with more than one slot.
//!
//! It is enough where a slot is filled once and never changes, and where the handler comes to the copy in every context, and
//! looks at the init root only. It fails where the handler asks anything else first. And nothing that the handler itself needs
//! may lie there, which no script shows.

use shootdown::{CpuId, Machine, Vpn};
use shootdown_sim::smp::Access;

use super::{
    super::script::{cpus, kick},
    script::{
        INIT, PAGE, copy_slot, create_roots, fill_init_slot, hand_out, load, map, root, set_slot, slot, wait_for,
    },
};
use crate::{machine::Sim, scenario::Scenario};

pub(in super::super) static COPIED: Scenario = Scenario {
    name: "model_slot_fault_2cpu",
    goal: "A process's root lacks the kernel's slot when kernel code uses an address there.",
    method: "CPU 0 allocates an address, hands it to CPU 1, in the same process, and has CPU 1's interrupt use it, too; a \
             fault copies the slot.",
    machine: cpus(2),
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create_roots(m, 1);
        }
        load(m, PROCESS);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            allocate(m);
            kick(m, CpuId(1));
        } else {
            wait_for(m, PAGE);
        }
        use_page(m, Code::Task, copy);
    },
    handler: |m| use_page(m, Code::Interrupt, copy),
    ..Scenario::BLANK
};

/// The shortest trace: both CPUs have the fault, one copies, and the other finds nothing amiss and so panics (R-VM3).
pub(in super::super) static THERE_ALREADY: Scenario = Scenario {
    name: "model_slot_fault_late_2cpu",
    goal: "A slot arrives between a fault and its handler's test, which takes the fault for a real one.",
    method: "Both CPUs, in one process, use an address; a handler copies the slot if it is missing and panics otherwise.",
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create_roots(m, 1);
            allocate(m);
        }
        load(m, PROCESS);
    },
    main: |m| use_page(m, Code::Task, copy_if_missing),
    ..COPIED
};

/// The shortest trace: the interrupt uses the address before any task has had the fault (R-VM3).
pub(in super::super) static INTERRUPT: Scenario = Scenario {
    name: "model_slot_fault_irq_2cpu",
    goal: "An interrupt has a fault, and the handler looks first whether it was a task with an address space.",
    method: "CPU 0 interrupts CPU 1, whose interrupt uses an address as CPU 1's task does; only a task's fault copies the slot.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            kick(m, CpuId(1));
        } else {
            use_page(m, Code::Task, copy_for_tasks);
        }
    },
    handler: |m| use_page(m, Code::Interrupt, copy_for_tasks),
    ..THERE_ALREADY
};

/// The shortest trace: the kernel thread is the first to use the address (R-VM3).
pub(in super::super) static KERNEL_THREAD: Scenario = Scenario {
    name: "model_slot_fault_kthread_2cpu",
    goal: "A kernel thread has a fault, and the handler looks first whether it was a task with an address space.",
    method: "CPU 1's kernel thread, on a root that it borrows from CPU 0's task, uses an address as the task does; only a \
             task's fault copies the slot.",
    main: |m| {
        let code = if m.cpu() == CpuId(0) { Code::Task } else { Code::KernelThread };
        use_page(m, code, copy_for_tasks);
    },
    ..THERE_ALREADY
};

/// The only process.
const PROCESS: u32 = 0;

/// What has had a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    Task,
    KernelThread,
    Interrupt,
}

fn allocate(m: &Sim) {
    fill_init_slot(m, PAGE);
    map(m, PAGE);
    hand_out(m, PAGE);
}

/// Lets kernel code use the page. What handles its faults tells whether to try again.
fn use_page(m: &Sim, code: Code, handles: fn(&Sim, Code, Vpn) -> bool) {
    m.spin(|m| {
        let is_done = m.tries(PAGE, Access::Read);
        assert!(is_done || handles(m, code, PAGE), "a fault on a kernel address in use");
        is_done.then_some(())
    });
}

/// Whether the slot was missing is not asked: it may have come meanwhile.
fn copy(m: &Sim, _: Code, page: Vpn) -> bool {
    let filled = slot(m, INIT, page);
    if filled != 0 {
        set_slot(m, root(PROCESS), page, filled);
    }
    filled != 0
}

fn copy_if_missing(m: &Sim, _: Code, page: Vpn) -> bool {
    let is_missing = slot(m, root(PROCESS), page) == 0 && slot(m, INIT, page) != 0;
    if is_missing {
        copy_slot(m, root(PROCESS), page);
    }
    is_missing
}

fn copy_for_tasks(m: &Sim, code: Code, page: Vpn) -> bool {
    code == Code::Task && copy(m, code, page)
}
