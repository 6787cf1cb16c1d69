//! CPUs that come and go, or are lazy, while a flush is broadcast: nobody looks for them, and they look at nothing.

use shootdown::{Counter, CpuId, Machine, VpnRange};

use super::{
    super::script::{
        FLUSHING, PAGE_0, become_lazy, go_and_return, return_to_user, unmap, use_everywhere, use_one_of_two,
    },
    script::TWO_BROADCASTING_CPUS,
};
use crate::{reach::Reach, scenario::Scenario};

pub(in super::super) static SWITCHING: Scenario = Scenario {
    name: "broadcast_switch",
    goal: "A CPU comes back to what it remembers under an address space's tag, and nobody has told it of a flush.",
    method: "CPU 1 switches to another address space and back and touches the page, while CPU 0 unmaps it.",
    machine: TWO_BROADCASTING_CPUS,
    broadcasts: true,
    setup: use_one_of_two,
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        } else {
            go_and_return(m);
            m.access(PAGE_0);
        }
    },
    proves: &FLUSHING,
    reaches: &[Reach::Stale, Reach::Counted(Counter::Broadcast)],
    ..Scenario::BLANK
};

pub(in super::super) static LAZY: Scenario = Scenario {
    name: "broadcast_lazy",
    goal: "A lazy CPU comes back with a stale translation, although it looks at no generation.",
    method: "CPU 1 becomes lazy, comes back and touches the page, while CPU 0 unmaps it.",
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        } else {
            become_lazy(m);
            return_to_user(m);
            m.access(PAGE_0);
        }
    },
    ..SWITCHING
};
