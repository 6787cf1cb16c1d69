//! A device that writes to a page which was pinned for it, while the page is written back.

use shootdown::{
    Attributes, CpuId, Fix, Gather, Level, Machine, Pfn,
    page::{DropReference, References},
    walk::{self, Pins, Purpose, Walkers},
};

use shootdown_sim::smp::{Config, MemoryModel};

use super::super::script::{PAGE_0, PAGE_1, TWO_CPUS, use_everywhere_with};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// The device has a domain of its own, so no entry of the process says what it writes.
pub(in super::super) static PINNED: Scenario = Scenario {
    name: "device_pinned_page",
    goal: "What a device writes to a pinned page after that was written back is never written back.",
    method: "CPU 0 writes a page back; CPU 1 pins it, has a device write to it, and unpins it.",
    // It is not about when stores are seen.
    machine: Config { memory: MemoryModel::Sc, ..TWO_CPUS },
    walkers: Walkers::Unannounced,
    setup: |m| {
        use_everywhere_with(m, 2, Attributes::USER_WRITE);
        if m.cpu() == CpuId(1) {
            // What the device is to write.
            m.write(PAGE_1);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            write_back(m);
        } else if let Ok(pinned) = walk::pin(m, m.user_space(), PAGE_0, Purpose::Write, &Noting) {
            let source = m.user_space().lock(m).find(PAGE_1).expect("the page is mapped").frame();
            m.copy(source, pinned.frame);
            pinned.unpin(m, &Noting);
        }
    },
    proves: &[Proof::of(Fix::MarkWhenUnpinned, "lost-store")],
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

/// References, and a mark that the machine sees.
struct Noting;

impl Pins<Sim> for Noting {
    fn try_pin(&self, m: &Sim, frame: Pfn, level: Level) -> bool {
        References.try_pin(m, frame, level)
    }

    fn unpin(&self, m: &Sim, frame: Pfn, level: Level) {
        References.unpin(m, frame, level);
    }

    fn mark_written(&self, m: &Sim, frame: Pfn, _: Level) {
        m.note_dirty(frame);
    }
}

fn write_back(m: &Sim) {
    let mut gather = Gather::new(m, m.user_space(), &DropReference);
    let tables = m.user_space().lock(m);
    let leaf = tables.find(PAGE_0).expect("the page is mapped");
    let (frame, now) = (leaf.frame(), leaf.attributes());
    gather.restrict(leaf, Attributes { writable: false, dirty: false, ..now });
    m.write_back(frame);
    drop(tables);
    gather.finish();
}
