//! Gathers on machines of every kind, from one source.

mod closed_forms;
mod hooks;
mod random;
mod resize;
mod variants;

use std::cell::{Cell, RefCell};

use shootdown::{
    Attributes, CpuId, Frame, FrameRun, FrameSink, Level, Machine, Pfn, Space, SpaceId, Vpn, VpnRange, page,
};
use shootdown_sim::sequential::{Architecture, Sequential};

/// A machine with one address space that two CPUs have loaded.
struct World<A: Architecture> {
    machine: Sequential<A>,
    id: SpaceId,
}

impl<A: Architecture> World<A> {
    fn new() -> Self {
        Self::on(Sequential::new(2, &[]))
    }

    fn on(machine: Sequential<A>) -> Self {
        let id = machine.new_space();
        let world = World { machine, id };
        world.space().create(&world.machine).expect("there is memory");
        for cpu in [1, 0] {
            world.machine.act_on(CpuId(cpu));
            world.machine.switch_to(id);
        }
        world
    }

    fn space(&self) -> &Space<Sequential<A>> {
        self.machine.space(self.id).expect("the machine has a place for it")
    }

    /// Maps new frames, one to a page, which follow each other as long as none came back.
    fn map(&self, range: VpnRange, attributes: Attributes) {
        let frames = (0..range.n_pages()).map(|_| self.frame(Level::LEAF));
        self.space().lock(&self.machine).map_each(range.start, frames, attributes).expect("nothing is there");
    }

    fn frame(&self, level: Level) -> Frame {
        page::allocate(&self.machine, level).expect("there is memory")
    }

    /// Lets the machine look what could still be used.
    fn check(&self) {
        self.machine.operation_returned(self.id);
        assert_eq!(self.machine.take_stale_accesses(), []);
    }
}

fn pages(start: u64, n: u64) -> VpnRange {
    VpnRange::from_len(Vpn(start), n)
}

/// A sink that keeps account of what it is told, and frees.
#[derive(Default)]
struct Account {
    released: RefCell<Vec<(Pfn, u64)>>,
    // What left the reverse map late.
    removed: RefCell<Vec<(Pfn, u64)>>,
    // Slots and pages since the last resched point, and the most there were.
    since_resched: Cell<(u64, u64, u64)>,
    most_slots: Cell<u64>,
    most_pages: Cell<u64>,
}

impl<A: Architecture> FrameSink<Sequential<A>> for Account {
    fn release(&self, m: &Sequential<A>, run: FrameRun) {
        let (point, slots, pages) = self.since_resched.get();
        let now = m.heard().resched_points;
        let (slots, pages) = if now == point { (slots, pages) } else { (0, 0) };
        let slots = slots + 1 + u64::from(run.count() > 1);
        let pages = pages + run.count() * run.level().pages::<A>();
        self.since_resched.set((now, slots, pages));
        self.most_slots.set(self.most_slots.get().max(slots));
        self.most_pages.set(self.most_pages.get().max(pages));
        self.released.borrow_mut().push((run.first(), run.count()));
        run.into_frames().for_each(|frame| page::drop_reference(m, frame));
    }

    fn remove_rmap(&self, _: &Sequential<A>, run: &FrameRun) {
        self.removed.borrow_mut().push((run.first(), run.count()));
    }
}
