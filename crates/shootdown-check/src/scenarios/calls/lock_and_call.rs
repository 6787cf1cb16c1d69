//! A lock's holder waits for a CPU that spins for the lock (R-IPI2): who waits for a lock must answer meanwhile.

use shootdown::{Counter, CpuId, Fix, Machine, Masked};

use super::script::call;
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static LOCK_AND_CALL: Scenario = Scenario {
    name: "lock_and_call",
    goal: "A CPU that spins for a lock with interrupts masked never answers the lock's holder.",
    method: "CPU 0 calls CPU 1 under a lock that CPU 1 takes with interrupts masked.",
    main: |m| {
        let _masked = (m.cpu() == CpuId(1)).then(|| Masked::new(m));
        let _locked = m.user_space().lock(m);
        if m.cpu() == CpuId(0) {
            call(m, 1);
        }
    },
    reaches: &[Reach::Counted(Counter::WaitRound)],
    proves: &[Proof::of(Fix::ServeWhileWaiting, "deadlock")],
    ..Scenario::BLANK
};
