//! A driver maps frames of its own, counts no mappings, and learns that there are none when the area is gone (R-PFN,
//! R-PFN2).

use shootdown::{CpuId, Fix, Frame, Gather, Machine, Rmap, Vpn, VpnRange, gather::Area};

use super::script::{PAGE_0, PAGE_1, TWO_CPUS, use_everywhere};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static AREA: Scenario = Scenario {
    name: "uncounted_area",
    goal: "A driver finds no area left that maps its frame and reuses it, while a CPU still reaches it.",
    method: "CPU 0 unmaps the area, and the driver frees its frame as soon as the area is gone; CPU 1 touches the page.",
    machine: TWO_CPUS,
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_area(m, 1);
        } else {
            m.access(PAGE_0);
        }
    },
    proves: &[Proof::of(Fix::FlushAtAreaEnd, "stale-at-free")],
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

pub(super) static MIDWAY: Scenario = Scenario {
    name: "uncounted_area_midway",
    goal: "A flush in the middle of a driver's area makes the gather forget that the rest is urgent, too.",
    method: "As uncounted_area, with two pages and a flush between.",
    setup: |m| use_everywhere(m, 2),
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_area(m, 2);
        } else {
            m.access(PAGE_1);
        }
    },
    ..AREA
};

fn unmap_area(m: &Sim, n_pages: u64) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let mut gather = Gather::new(m, space, &sink);
    let mut frames = [None; 2];
    gather.in_area(Area::Uncounted, |gather| {
        let tables = space.lock(m);
        for page in 0..n_pages {
            if page > 0 {
                gather.flush();
            }
            gather.unhook_range(&tables, VpnRange::from_len(Vpn(page), 1), |unhooked| {
                frames[page as usize] = Some(unhooked.frame);
                Rmap::Now
            });
        }
    });
    for frame in frames.into_iter().flatten() {
        m.free_frame_of_owner(frame);
    }
    gather.finish();
}
