//! A CPU that drops everything and records how far it has come by that.

use shootdown::{Counter, CpuId, Machine, Stale, VpnRange};

use super::script::{FLUSHING, PAGE_0, unmap, use_everywhere};
use crate::{machine::Sim, reach::Reach, scenario::Scenario};

pub(super) static FULL_FLUSH: Scenario = Scenario {
    name: "full_flush",
    goal: "A CPU records a generation whose edit came after its invalidation, and then skips the request for it.",
    method: "CPU 1 flushes the whole address space while CPU 0 unmaps a page that either may cache at any time.",
    setup: |m| use_everywhere(m, 1),
    main,
    proves: &FLUSHING,
    reaches: &[Reach::Stale, Reach::Counted(Counter::FlushEverything)],
    ..Scenario::BLANK
};

fn main(m: &Sim) {
    if m.cpu() == CpuId(0) {
        unmap(m, VpnRange::from_len(PAGE_0, 1));
    } else {
        m.user_space().flush(m, Stale::EVERYTHING);
    }
}
