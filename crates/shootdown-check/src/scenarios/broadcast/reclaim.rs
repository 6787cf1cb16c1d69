//! Reclaim begins a broadcast when it takes a page away, and waits for it much later, on its own CPU (R-RECLAIM-DSB).

use shootdown::{Counter, CpuId, Fix, Machine, VpnRange};

use super::{
    super::{
        reclaim::take_away,
        script::{FLUSHING, PAGE_0, unmap, use_everywhere_with},
    },
    script::{TWO_BROADCASTING_CPUS, USED},
};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static OWED: Scenario = Scenario {
    name: "broadcast_reclaim",
    goal: "An unmap finds that reclaim has the page, waits for its own CPU's broadcasts and returns, while that of the page \
           is still under way from the other one.",
    method: "CPU 0 takes the page away and completes when the lock is long released; CPU 1 unmaps it.",
    machine: TWO_BROADCASTING_CPUS,
    broadcasts: true,
    setup: |m| use_everywhere_with(m, 1, USED),
    main: |m| {
        if m.cpu() == CpuId(0) {
            take_away(m, PAGE_0, |_| {});
        } else {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        }
    },
    proves: &PROOFS,
    reaches: &[Reach::Stale, Reach::Counted(Counter::FlushForced)],
    ..Scenario::BLANK
};

const PROOFS: [Proof; 5] = {
    let [first, second, third] = FLUSHING;
    let debt = "stale-after-return";
    [first, second, third, Proof::of(Fix::PayForReclaim, debt), Proof::of(Fix::BroadcastForReclaim, debt)]
};

pub(in super::super) static WRITTEN_OUT: Scenario = Scenario {
    name: "broadcast_reclaim_dirty",
    goal: "A page is written out, or freed, while the broadcast about it is under way to a CPU that stores to it.",
    method: "CPU 0 takes the page away, writes it out if it is dirty, and frees it; CPU 1 stores to it.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            take_away(m, PAGE_0, |frame| m.write_back(frame));
        } else {
            m.write(PAGE_0);
            m.write(PAGE_0);
        }
    },
    proves: &[
        Proof::of(Fix::WaitForAcks, "stale-at-free"),
        Proof::of(Fix::FlushRemote, "stale-at-free"),
        Proof::of(Fix::FlushBeforeWrite, "lost-store"),
    ],
    reaches: &[Reach::Stale, Reach::Counted(Counter::Broadcast)],
    ..OWED
};
