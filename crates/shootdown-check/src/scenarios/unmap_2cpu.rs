//! The base bug of the field: a page is reused while another CPU still reaches it.

use shootdown::{CpuId, Machine, VpnRange};

use super::script::{FLUSHING, PAGE_0, unmap, use_everywhere};
use crate::{machine::Sim, reach::Reach, scenario::Scenario};

pub(super) static UNMAP_2CPU: Scenario = Scenario {
    name: "unmap_2cpu",
    goal: "A frame is freed while some TLB still translates to it.",
    method: "CPU 0 unmaps the page that CPU 1 touches twice, while both walkers may cache it at any time.",
    setup: |m| use_everywhere(m, 1),
    main,
    proves: &FLUSHING,
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

fn main(m: &Sim) {
    if m.cpu() == CpuId(0) {
        unmap(m, VpnRange::from_len(PAGE_0, 1));
    } else {
        m.access(PAGE_0);
        m.access(PAGE_0);
    }
}
