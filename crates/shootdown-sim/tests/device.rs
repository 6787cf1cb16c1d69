//! A device on the sequential machine: what each thing it is told of makes it forget, and what comes of not telling it.

use shootdown::{
    Attributes, CpuId, EntryFormat, Fix, Gather, Level, Machine, Reclaim, Rmap, Space, SpaceId, Vpn, VpnRange,
    arch::x86_64::X86_64,
    kspace::{KernelArea, KernelSpace},
    notify::{Ended, Registration},
    page::{self, DropReference},
};
use shootdown_sim::sequential::{Dma, Holder, IOMMU, StaleKind, Told, Writer};

type Sequential = shootdown_sim::sequential::Sequential<X86_64>;

const PAGE: Vpn = Vpn(0x1234);
const ALL: VpnRange = VpnRange::new(Vpn(0), Vpn(u64::MAX));

/// A machine of one CPU, and an address space that no CPU uses: only the device does.
struct World {
    machine: Sequential,
    id: SpaceId,
    iommu: Registration,
}

impl World {
    fn new(left_out: &[Fix]) -> Self {
        World::on(Sequential::new(1, left_out))
    }

    fn on(machine: Sequential) -> Self {
        let machine = machine.with_iommu();
        machine.arrive();
        let iommu = Registration::new(&machine, IOMMU);
        let id = machine.new_space();
        let world = World { machine, id, iommu };
        world.space().create(&world.machine).expect("there is memory");
        world.machine.attach_device(&world.iommu, id).expect("it is alive");
        world
    }

    fn space(&self) -> &Space<Sequential> {
        self.machine.space(self.id).expect("the machine has a place for it")
    }

    fn map(&self, page: Vpn, attributes: Attributes) {
        let frame = page::allocate(&self.machine, Level::LEAF).expect("there is memory");
        self.space().lock(&self.machine).map(page, frame, attributes).expect("nothing is there");
    }

    /// Maps a page, and lets the device store to it.
    fn map_and_touch(&self, page: Vpn) {
        self.map(page, Attributes::USER_WRITE);
        self.machine.touch(self.id, page, Dma::Write);
    }

    fn gather(&self) -> Gather<'_, Sequential, DropReference> {
        Gather::new(&self.machine, self.space(), &DropReference)
    }

    fn unmap(&self, range: VpnRange) {
        let mut gather = self.gather();
        gather.unmap(range, |_| Rmap::Now);
        gather.finish();
    }

    fn unmap_with_tables(&self, mut gather: Gather<'_, Sequential, DropReference>) {
        gather.unmap(ALL, |_| Rmap::Now);
        gather.unhook_tables(&mut self.space().lock(&self.machine), ALL, ALL);
        gather.finish();
    }

    fn change(&self, attributes: Attributes) {
        let mut gather = self.gather();
        let tables = self.space().lock(&self.machine);
        gather.change(tables.find(PAGE).expect("mapped"), attributes);
        drop(tables);
        gather.finish();
    }

    fn permit(&self, attributes: Attributes) {
        let tables = self.space().lock(&self.machine);
        tables.find(PAGE).expect("mapped").set_access_flags(attributes);
    }

    /// What the device could do that it must not, or the other way round, now that an operation has returned.
    fn found(&self) -> Vec<StaleKind> {
        self.machine.operation_returned(self.id);
        let found = self.machine.take_stale_accesses();
        assert!(found.iter().all(|stale| stale.holder == Holder::Device), "{found:?}");
        found.into_iter().map(|stale| stale.kind).collect()
    }
}

fn one(page: Vpn) -> VpnRange {
    VpnRange::from_len(page, 1)
}

#[test]
fn an_unmap_reaches_the_device_before_its_frame_is_freed() {
    for machine in [Sequential::new(1, &[]), Sequential::new(1, &[]).with_broadcasts()] {
        let world = World::on(machine);
        world.map_and_touch(PAGE);
        world.unmap(one(PAGE));
        assert_eq!(world.found(), []);
        assert_eq!(world.machine.told(), Told { stricter: 1, ..Told::default() });
        assert_eq!((world.machine.n_frames_freed(), world.machine.n_touches()), (1, 1));
    }
}

#[test]
fn a_device_that_is_not_told_is_caught_when_the_frame_is_freed() {
    for left_out in [Fix::TellDevices, Fix::FlushBeforeFree] {
        let world = World::new(&[left_out]);
        world.map_and_touch(PAGE);
        world.unmap(one(PAGE));
        assert_eq!(world.found(), [StaleKind::FrameFreed]);
    }
}

#[test]
fn what_the_device_has_not_touched_it_does_not_remember() {
    let world = World::new(&[Fix::TellDevices]);
    world.map_and_touch(PAGE);
    world.map(Vpn(PAGE.0 + 1), Attributes::USER_WRITE);
    world.unmap(one(Vpn(PAGE.0 + 1)));
    assert_eq!(world.found(), []);
}

#[test]
fn a_device_forgets_what_it_is_told_and_nothing_else() {
    let world = World::new(&[]);
    let pages = (0..64).map(|index| Vpn(PAGE.0 + index));
    pages.clone().for_each(|page| world.map_and_touch(page));
    world.unmap(VpnRange::from_len(Vpn(PAGE.0 + 8), 4));
    assert_eq!(world.found(), []);
    // Now behind the library's back: only what the device still remembers differs from the tables.
    let tables = world.space().lock(&world.machine);
    let entries: Vec<_> = pages.filter_map(|page| Some(tables.find(page)?.at())).collect();
    drop(tables);
    assert_eq!(entries.len(), 60);
    for at in entries {
        world.machine.store(shootdown::At::Entry(at), 0, std::sync::atomic::Ordering::Relaxed);
    }
    assert_eq!(world.found(), [StaleKind::OperationReturned; 60]);
    assert_eq!(world.found(), [], "each is told once");
}

#[test]
fn tables_are_freed_when_the_device_has_no_pointer_to_them() {
    let world = World::new(&[]);
    world.map_and_touch(PAGE);
    world.unmap_with_tables(world.gather());
    assert_eq!(world.found(), []);
    assert_eq!(world.machine.n_tables_freed(), 3);

    let world = World::new(&[Fix::TellDevices]);
    world.map_and_touch(PAGE);
    world.unmap_with_tables(world.gather());
    let mut found = world.found();
    found.sort_by_key(|kind| *kind == StaleKind::TableFreed);
    assert_eq!(found, [StaleKind::FrameFreed, StaleKind::TableFreed, StaleKind::TableFreed, StaleKind::TableFreed]);
}

/// It has come through the tables and found nothing: the pointers it remembers all the same.
#[test]
fn a_walk_that_finds_nothing_leaves_pointers() {
    let world = World::new(&[Fix::TellDevices]);
    world.map(PAGE, Attributes::USER_WRITE);
    world.machine.touch(world.id, Vpn(PAGE.0 + 1), Dma::Read);
    world.unmap_with_tables(world.gather());
    assert_eq!(world.found(), [StaleKind::TableFreed; 3]);
}

#[test]
fn a_right_that_is_taken_away_reaches_the_device_before_the_operation_returns() {
    let world = World::new(&[]);
    world.map_and_touch(PAGE);
    world.change(Attributes::USER_READ);
    assert_eq!(world.found(), []);

    let world = World::new(&[Fix::TellDevices]);
    world.map_and_touch(PAGE);
    world.change(Attributes::USER_READ);
    let frame = world.space().lock(&world.machine).find(PAGE).expect("mapped").frame();
    assert_eq!(world.machine.writer_of(frame), Some(Writer::Device(world.id, PAGE)));
    assert_eq!(world.found(), [StaleKind::OperationReturned]);
    assert_eq!(world.machine.writer_of(frame), None);
}

#[test]
fn a_right_that_is_given_reaches_the_device_which_does_not_look_again() {
    for (left_out, n_told, expected) in
        [(&[][..], 1, &[][..]), (&[Fix::TellOfPermissions], 0, &[StaleKind::RemembersLess])]
    {
        let world = World::new(left_out);
        world.map(PAGE, Attributes::USER_READ);
        world.machine.touch(world.id, PAGE, Dma::Read);
        world.permit(Attributes::USER_WRITE);
        assert_eq!(world.found(), [], "less is never stale");
        world.machine.touch(world.id, PAGE, Dma::Read);
        assert_eq!(world.found(), [], "what it remembers is enough to read");
        world.machine.touch(world.id, PAGE, Dma::Write);
        assert_eq!(world.found(), expected);
        assert_eq!(world.machine.told(), Told { looser: n_told, ..Told::default() });
    }
}

#[test]
fn a_device_that_may_not_is_not_stuck() {
    let world = World::new(&[]);
    world.map(PAGE, Attributes::USER_READ);
    for _ in 0..2 {
        world.machine.touch(world.id, PAGE, Dma::Write);
        assert_eq!(world.found(), [], "nor do the tables permit it");
    }
}

#[test]
fn an_exit_ends_the_devices_use_before_anything_is_freed() {
    for left_out in [&[][..], &[Fix::EndDevices]] {
        let world = World::new(left_out);
        world.map_and_touch(PAGE);
        let retired = world.space().retire(&world.machine).expect("nobody uses it");
        // As an exit does that flushes for tables only, and keeps these.
        let mut gather = Gather::exiting(&world.machine, &retired, &DropReference);
        gather.unmap(ALL, |_| Rmap::Now);
        gather.finish();
        world.unmap_with_tables(world.gather());
        world.space().destroy(&world.machine);
        let (n_told, expected) = match left_out {
            [] => (1, &[][..]),
            _ => (0, &[StaleKind::FrameFreed, StaleKind::TableFreed][..]),
        };
        assert_eq!(world.found(), expected, "the page, and the root");
        assert_eq!(world.machine.told().ended, n_told);
    }
}

#[test]
fn an_address_space_that_was_not_retired_ends_for_the_device_before_its_root_is_freed() {
    for (left_out, n_told, expected) in [(&[][..], 1, &[][..]), (&[Fix::EndDevices], 0, &[StaleKind::TableFreed])] {
        let world = World::new(left_out);
        world.map_and_touch(PAGE);
        world.unmap_with_tables(world.gather());
        world.space().destroy(&world.machine);
        assert_eq!(world.found(), expected);
        assert_eq!(world.machine.told(), Told { stricter: 1, ended: n_told, ..Told::default() });
        assert_eq!(world.machine.attach_device(&world.iommu, world.id), Err(Ended));
    }
}

#[test]
fn the_next_address_space_with_the_id_is_not_the_devices() {
    let world = World::new(&[]);
    world.space().destroy(&world.machine);
    world.space().create(&world.machine).expect("there is memory");
    world.map_and_touch(PAGE);
    world.unmap(one(PAGE));
    assert_eq!(world.machine.told(), Told { ended: 1, ..Told::default() });
    assert_eq!((world.found(), world.machine.n_touches()), (vec![], 0));
}

#[test]
fn reclaim_reaches_the_device_before_it_frees() {
    for (left_out, expected) in [(&[][..], &[][..]), (&[Fix::TellDevices], &[StaleKind::FrameFreed])] {
        let world = World::new(left_out);
        world.map_and_touch(PAGE);
        let mut reclaim = Reclaim::new(&world.machine, &DropReference);
        let tables = world.space().lock(&world.machine);
        assert!(reclaim.unhook(world.space(), tables.find(PAGE).expect("mapped")).is_some());
        drop(tables);
        reclaim.finish();
        assert_eq!(world.found(), expected);
    }
}

/// A large page takes the place of tables that the device has come through.
#[test]
fn tables_of_the_kernel_are_freed_when_no_device_has_a_pointer_to_them() {
    const KERNEL: Attributes =
        Attributes { writable: true, executable: false, user: false, accessed: true, dirty: true };
    const SLOT_BYTES: u64 = X86_64::ROOT.pages::<X86_64>() << X86_64::PAGE_SHIFT;
    let large = Level(2).pages::<X86_64>();
    for (left_out, expected) in [(&[][..], &[][..]), (&[Fix::TellDevicesOfKernel], &[StaleKind::TableFreed])] {
        // A machine is for ever, and so is its kernel space.
        let m: &Sequential = Box::leak(Box::new(Sequential::new(1, left_out).with_iommu()));
        let area = KernelArea::of_size::<X86_64>(SLOT_BYTES).expect("a slot");
        let (kernel, addresses) =
            Box::leak(Box::new(KernelSpace::new(area))).build(m).expect("there is memory").seal(m);
        let id = m.new_space();
        m.space(id).expect("there is a place for it").create_in(m, &kernel).expect("there is memory");
        m.act_on(CpuId(0));
        m.arrive();
        let iommu = Registration::new(m, IOMMU);
        m.attach_device(&iommu, id).expect("it is alive");
        let (range, _rest) = addresses.split(large).expect("there are more");
        let page = range.pages().start;
        let frames = (0..large).map(|_| page::allocate(m, Level::LEAF).expect("there is memory"));
        let mapped = kernel.map(m, range, frames, KERNEL).expect("nothing is there");
        m.touch(id, page, Dma::Read);
        let lazy = kernel.unmap(m, mapped, &DropReference);
        let flushed = kernel.flush(m, lazy.pages());
        let range = lazy.free(m, &flushed).expect("it is newer");
        let before = m.told();
        m.touch(id, page, Dma::Read);
        let frame = page::allocate(m, Level(2)).expect("there is memory");
        _ = kernel.map(m, range, [frame], KERNEL).expect("nothing is in the tables");
        m.operation_returned(id);
        let found: Vec<_> = m.take_stale_accesses().into_iter().map(|stale| stale.kind).collect();
        assert_eq!(found, expected);
        assert_eq!(m.told().kernel - before.kernel, u64::from(left_out.is_empty()));
    }
}
