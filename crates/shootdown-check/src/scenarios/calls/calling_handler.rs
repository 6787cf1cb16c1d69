//! A handler that makes a call itself, on top of code that was making one.

use shootdown::{Counter, CpuId, Fix, Machine, call};

use super::script::call;
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static CALLING_HANDLER: Scenario = Scenario {
    name: "calling_handler",
    goal: "A handler waits for a request of the code below it, which is posted but has not interrupted its target yet.",
    method: "Both CPUs call each other, and the handler of CPU 0 calls CPU 1 once more.",
    main: call_other,
    handler: |m| {
        call::handle_kick(m);
        if m.cpu() == CpuId(0) {
            call_other(m);
        }
    },
    reaches: &[Reach::Counted(Counter::RemoteRequest)],
    proves: &[Proof::of(Fix::MaskWhilePosting, "lost-kick")],
    ..Scenario::BLANK
};

fn call_other(m: &Sim) {
    call(m, 1 - m.cpu().0);
}
