//! A flush of what all address spaces share, where it is broadcast.

use shootdown::{Counter, CpuId, Fix, Machine};

use super::{
    super::{
        script::{PAGE_0, create_with, return_to_user},
        tags::kernel_flush::protect_kernel_page,
    },
    script::{TWO_BROADCASTING_CPUS, USED},
};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static KERNEL_FLUSH: Scenario = Scenario {
    name: "broadcast_kernel_flush",
    goal: "A kernel mapping is flushed under one tag and stays under the others.",
    method: "CPU 0, in another address space, makes a kernel page read-only while CPU 1 comes back to the address space under \
             whose tag it has the page, and writes to it.",
    machine: TWO_BROADCASTING_CPUS,
    broadcasts: true,
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create_with(m, 1, USED);
            m.other_space().create(m).expect("the machine has a frame for the root");
        }
        m.user_space().switch_to(m);
        if m.cpu() == CpuId(1) {
            m.access(PAGE_0);
            m.stop_user();
            m.other_space().switch_to(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            protect_kernel_page(m);
        } else {
            return_to_user(m);
            m.write(PAGE_0);
        }
    },
    proves: &[Proof::of(Fix::WaitForAcks, "stale-after-return"), Proof::of(Fix::FlushRemote, "revoked-in-use")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::Broadcast)],
    ..Scenario::BLANK
};
