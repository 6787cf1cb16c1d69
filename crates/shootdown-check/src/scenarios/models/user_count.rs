//! A model of the shortcut that asks how many tasks use an address space, and not which CPUs (R-AL6).
//!
//! A kernel thread that borrows an address space is no user of it, and has it loaded all the same. Ours asks the residency
//! mask; in the same script, `lazy`, the CPU is told or looks for itself.

use shootdown::{CpuId, Machine};

use super::{
    super::script::PAGE_0,
    script::{cpus, free, setup, unhook_locally},
};
use crate::scenario::Scenario;

pub(super) static USER_COUNT: Scenario = Scenario {
    name: "model_user_count_2cpu",
    goal: "A page is freed without a word to the CPU of a kernel thread that works on behalf of its owner.",
    method: "CPU 0, whose task is the only user of the address space, unmaps the page that a kernel thread on CPU 1 reads.",
    machine: cpus(2),
    setup,
    main: |m| {
        if m.cpu() == CpuId(0) {
            // One user, which is here: nobody else can have it loaded.
            unhook_locally(m);
            free(m);
        } else {
            m.access(PAGE_0);
        }
    },
    ..Scenario::BLANK
};
