//! A CPU comes back after it was away, with the TLB that it left with (R-HOTPLUG, R-ASIDBOOT, M28).

use shootdown::{Counter, CpuId, Fix, Machine, Tagging, VpnRange, call};

use super::{
    super::script::{PAGE_0, return_to_user, unmap, use_one_of_two},
    script::TWO_TAGGED_CPUS,
};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static ARRIVING: Scenario = Scenario {
    name: "arriving",
    goal: "A CPU arrives with the TLB it departed with, and gives its tags anew.",
    method: "CPU 1 departs, arrives, and loads another address space and then the first one, while CPU 0 unmaps its page.",
    machine: TWO_TAGGED_CPUS,
    setup: |m| {
        call::arrive(m);
        use_one_of_two(m);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            return unmap(m, VpnRange::from_len(PAGE_0, 1));
        }
        m.stop_user();
        m.mask();
        call::depart(m);
        call::arrive(m);
        m.restore(0);
        m.other_space().switch_to(m);
        return_to_user(m);
        m.access(PAGE_0);
    },
    cpus_come_and_go: true,
    tagging: Tagging::Numbered,
    reaches: &[Reach::Stale, Reach::Counted(Counter::RemoteRequest)],
    proves: &[Proof::of(Fix::WipeOnArrival, "foreign-tag")],
    ..Scenario::BLANK
};
