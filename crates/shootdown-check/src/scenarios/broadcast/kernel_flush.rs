//! A flush of what all address spaces share, where it is broadcast.

use shootdown::{Counter, Fix, Tagging};

use super::{super::tags, script::TWO_BROADCASTING_CPUS};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static KERNEL_FLUSH: Scenario = Scenario {
    name: "broadcast_kernel_flush",
    goal: "A kernel mapping is flushed under one tag and stays under the others.",
    method: "CPU 0 makes a kernel page read-only while CPU 1 comes back from another address space to the one under \
             whose tag it has the page, and writes to it.",
    machine: TWO_BROADCASTING_CPUS,
    broadcasts: true,
    tagging: Tagging::Untagged,
    proves: &[Proof::of(Fix::WaitForAcks, "stale-after-return"), Proof::of(Fix::FlushRemote, "revoked-in-use")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::Broadcast)],
    ..tags::kernel_flush::KERNEL_FLUSH
};
