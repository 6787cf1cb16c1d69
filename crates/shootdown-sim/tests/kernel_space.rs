//! Kernel space on the real geometries: what it takes, what every root has of it, and what becomes of its addresses.

use proptest::prelude::*;
use shootdown::{
    At, Attributes, Counter, CpuId, EntryAt, Fix, Frame, Level, Machine, Space, SpaceId, TableFrame, Vpn, VpnRange,
    arch::{alpha::Alpha, x86_64::X86_64},
    kspace::{FreeRange, GrowError, KernelArea, KernelSpace, LazyRange, MappedRange, NoSlots, Sealed},
    page::{self, DropReference},
};
use shootdown_sim::sequential::{Architecture, Sequential};

const KERNEL: Attributes = Attributes { writable: true, executable: false, user: false, accessed: true, dirty: true };

/// So many slots at the end of what the kernel may map.
fn area<A: Architecture>(n_slots: u64) -> KernelArea {
    KernelArea::of_size::<A>((n_slots * A::ROOT.pages::<A>()) << A::PAGE_SHIFT).expect("there are so many")
}

fn space<A: Architecture>(m: &Sequential<A>, id: SpaceId) -> &Space<Sequential<A>> {
    m.space(id).expect("the machine has a place for it")
}

/// A machine of two CPUs, each on the root of an address space with so many slots.
struct World<A: Architecture> {
    m: &'static Sequential<A>,
    kernel: &'static KernelSpace<Sequential<A>>,
    spaces: [SpaceId; 2],
}

impl<A: Architecture> World<A> {
    fn new(n_slots: u64, left_out: &[Fix]) -> (Self, FreeRange) {
        // A machine is for ever, and so is its kernel space.
        let m: &Sequential<A> = Box::leak(Box::new(Sequential::new(2, left_out)));
        let kernel = Box::leak(Box::new(KernelSpace::growable(area::<A>(n_slots))));
        let (sealed, addresses) = kernel.build(m).expect("there is memory").seal(m);
        let spaces = [m.new_space(), m.new_space()];
        for (cpu, id) in (0..).zip(spaces) {
            space(m, id).create_in(m, &sealed).expect("there is memory");
            m.act_on(CpuId(cpu));
            m.arrive();
            m.switch_to(id);
        }
        (World { m, kernel, spaces }, addresses)
    }

    fn sealed(&self) -> Sealed<'static, Sequential<A>> {
        self.kernel.sealed(self.m).expect("it was sealed")
    }

    fn frame(&self) -> Frame {
        page::allocate(self.m, Level::LEAF).expect("there is memory")
    }

    fn map(&self, range: FreeRange, n_frames: usize) -> MappedRange {
        let frames = std::iter::repeat_with(|| self.frame()).take(n_frames);
        self.sealed().map(self.m, range, frames, KERNEL).expect("nothing is there")
    }

    fn unmap(&self, range: MappedRange) -> LazyRange {
        self.sealed().unmap(self.m, range, &DropReference)
    }

    fn root_of(&self, id: SpaceId) -> TableFrame {
        space(self.m, id).lock(self.m).root().expect("it was created")
    }

    fn entries(&self, root: TableFrame) -> Vec<u64> {
        let load = |index| self.m.load(At::Entry(EntryAt { table: root, index }), std::sync::atomic::Ordering::Relaxed);
        (0..A::ENTRIES).map(load).collect()
    }

    /// Everybody's slots are those of the kernel's own root.
    fn check(&self, n_slots: usize) {
        let end = Vpn(A::KERNEL.end.0 - 1).index::<A>(A::ROOT) + 1;
        let own = self.entries(self.sealed().root());
        assert!(own[end - n_slots..end].iter().all(|raw| *raw != 0), "every slot is filled");
        for id in self.spaces {
            assert_eq!(self.entries(self.root_of(id))[end - n_slots..end], own[end - n_slots..end]);
            self.m.operation_returned(id);
        }
        assert_eq!(self.m.take_stale_accesses(), []);
    }
}

fn it_takes_a_table_a_slot<A: Architecture>(n_slots: u64) {
    let m: &Sequential<A> = Box::leak(Box::new(Sequential::new(1, &[])));
    let kernel = Box::leak(Box::new(KernelSpace::new(area::<A>(n_slots))));
    let before = m.n_frames_held();
    for n_left in 0..=n_slots {
        m.limit_frames(Some(n_left));
        let refused = kernel.build(m).err();
        assert_eq!(refused, Some(NoSlots { n_made: n_left, n_wanted: n_slots + 1 }));
        assert_eq!(m.n_frames_held(), before, "nothing was kept");
    }
    m.limit_frames(None);
    let (sealed, addresses) = kernel.build(m).expect("there is memory").seal(m);
    assert_eq!(m.n_frames_held() - before, n_slots + 1);
    assert_eq!(addresses.pages(), area::<A>(n_slots).pages());
    let (before, id) = (m.n_frames_held(), m.new_space());
    space(m, id).create_in(m, &sealed).expect("there is memory");
    assert_eq!(m.n_frames_held() - before, 1, "a root is a copy of the slots, and nothing else");
    space(m, id).destroy_in(m, &sealed);
    assert_eq!(m.n_frames_held(), before);
}

#[test]
fn slots_cost_one_table_each() {
    it_takes_a_table_a_slot::<X86_64>(64);
    for n_slots in [1, 2, 255] {
        it_takes_a_table_a_slot::<Alpha>(n_slots);
    }
}

fn addresses_are_used_again<A: Architecture>() {
    let (world, addresses) = World::<A>::new(2, &[]);
    world.check(2);
    let (range, rest) = addresses.split(20).expect("there are more");
    let pages = range.pages();
    let lazy = world.unmap(world.map(range, 19));
    world.check(2);
    let older = world.sealed().flush(world.m, VpnRange::from_len(pages.start, 19));
    let lazy = lazy.free(world.m, &older).expect_err("the flush was not for all of it");
    let newer = world.sealed().flush(world.m, pages);
    let range = lazy.free(world.m, &newer).expect("the flush was for all of it");
    let lazy = world.unmap(world.map(range, 20));
    let lazy = lazy.free(world.m, &newer).expect_err("the flush was begun before");
    let newest = world.sealed().flush(world.m, rest.pages().hull(pages));
    let range = lazy.free(world.m, &newest).expect("the flush is newer");
    world.check(2);
    assert_eq!(range.join(rest).expect("they follow each other").pages(), area::<A>(2).pages());
}

#[test]
fn addresses_are_free_after_a_flush_that_is_newer() {
    addresses_are_used_again::<X86_64>();
    addresses_are_used_again::<Alpha>();
}

#[test]
fn an_address_that_is_used_too_early_is_found() {
    let (world, addresses) = World::<X86_64>::new(1, &[Fix::FlushBeforeReuse]);
    // Far from the beginning of a slot and of a table.
    let (_before, rest) = addresses.split(0x12_3456).expect("there are more");
    let (range, _rest) = rest.split(1).expect("there are more");
    let nothing = world.sealed().flush(world.m, VpnRange::from_len(range.pages().start, 0));
    let lazy = world.unmap(world.map(range, 1));
    let range = lazy.free(world.m, &nothing).expect("the step is left out");
    // So that it is not the same frame.
    let _other = world.frame();
    _ = world.map(range, 1);
    world.m.operation_returned(world.spaces[0]);
    world.m.operation_returned(world.spaces[1]);
    assert!(!world.m.take_stale_accesses().is_empty());
}

fn kernel_space_grows<A: Architecture>(n_more: u64) {
    let (world, _addresses) = World::<A>::new(1, &[]);
    let before = world.m.n_frames_held();
    let most = A::KERNEL.n_pages() / A::ROOT.pages::<A>() - 1;
    for n_wanted in [0, most + 1] {
        let refused = world.sealed().grow(world.m, n_wanted);
        assert_eq!(refused.expect_err("there are not so many"), GrowError::NoRoom { n_wanted, n_left: most });
    }
    world.m.limit_frames(Some(n_more - 1));
    let refused = world.sealed().grow(world.m, n_more).expect_err("there is no memory");
    assert_eq!(refused, GrowError::NoTable { n_made: n_more - 1, n_wanted: n_more });
    world.m.limit_frames(None);
    assert_eq!(world.m.n_frames_held(), before, "nothing was kept");
    world.check(1);
    let new = world.sealed().grow(world.m, n_more).expect("there is memory");
    assert_eq!(new.pages().n_pages(), n_more * A::ROOT.pages::<A>());
    world.check(1 + n_more as usize);
    _ = world.unmap(world.map(new, 3));
    world.check(1 + n_more as usize);
}

#[test]
fn every_root_has_the_slots_that_kernel_space_grew_by() {
    kernel_space_grows::<X86_64>(2);
    kernel_space_grows::<Alpha>(254);
}

#[test]
fn kernel_space_that_was_not_made_to_grow_does_not() {
    let m: &Sequential<Alpha> = Box::leak(Box::new(Sequential::new(1, &[])));
    let kernel = Box::leak(Box::new(KernelSpace::new(area::<Alpha>(1))));
    let (sealed, _addresses) = kernel.build(m).expect("there is memory").seal(m);
    assert_eq!(sealed.grow(m, 1), Err(GrowError::Fixed));
}

#[test]
fn one_root_needs_no_slots() {
    let m: &Sequential<X86_64> = Box::leak(Box::new(Sequential::new(1, &[])));
    let kernel = Box::leak(Box::new(KernelSpace::with_one_root(area::<X86_64>(256))));
    let before = m.n_frames_held();
    let (sealed, addresses) = kernel.build(m).expect("there is memory").seal(m);
    assert_eq!(m.n_frames_held() - before, 1);
    let (range, _) = addresses.split(1).expect("there are more");
    let frame = page::allocate(m, Level::LEAF).expect("there is memory");
    let mapped = sealed.map(m, range, [frame], KERNEL).expect("tables come when they are needed");
    _ = sealed.unmap(m, mapped, &DropReference);
    assert_eq!(m.n_frames_held() - before, 4, "one of each level");
}

/// Those that reach beyond its pages stay.
#[test]
fn large_pages_take_the_places_of_tables() {
    let (world, addresses) = World::<X86_64>::new(1, &[]);
    let large = Level(2).pages::<X86_64>();
    let held = world.m.n_frames_held();
    let (range, _rest) = addresses.split(20 * large + 1).expect("there are more");
    let lazy = world.unmap(world.map(range, 20 * large as usize + 1));
    assert_eq!(world.m.n_frames_held() - held, 1 + 21, "one with pointers, 21 with pages");
    let flushed = world.sealed().flush(world.m, lazy.pages());
    let range = lazy.free(world.m, &flushed).expect("it is newer");
    let flushes = world.m.counter(Counter::Flush);
    let frames = (0..20).map(|_| page::allocate(world.m, Level(2)).expect("there is memory"));
    let mapped = world.sealed().map(world.m, range, frames, KERNEL).expect("nothing is in the tables");
    assert_eq!(world.m.counter(Counter::Flush) - flushes, 1, "one for all");
    world.check(1);
    _ = world.unmap(mapped);
    assert_eq!(world.m.n_frames_held() - held, 1 + 1, "one table is not all in the range");
}

/// What is done next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Maps so many pages of the first range that is large enough, with memory for so many frames.
    Map(u64, Option<u64>),
    Unmap(usize),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..40_u64, prop_oneof![3 => Just(None), 1 => (0..40_u64).prop_map(Some)]).prop_map(|(n, left)| Step::Map(n, left)),
        2 => any::<usize>().prop_map(Step::Unmap),
        1 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
    #[test]
    fn nothing_is_lost_and_nothing_stale_is_used(steps in prop::collection::vec(step(), 1..60)) {
        let (world, addresses) = World::<X86_64>::new(1, &[]);
        let held = world.m.n_frames_held();
        let (mut free, mut mapped, mut lazy) = (vec![addresses], Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Map(n_pages, n_left) => {
                    let Some(place) = free.iter().position(|range| range.pages().n_pages() > n_pages) else { continue };
                    let (range, rest) = free.swap_remove(place).split(n_pages).expect("it is larger");
                    free.push(rest);
                    world.m.limit_frames(n_left);
                    let frames: Vec<Frame> =
                        (0..n_pages).map_while(|_| page::allocate(world.m, Level::LEAF).ok()).collect();
                    let mut frames = frames.into_iter();
                    match world.sealed().map(world.m, range, &mut frames, KERNEL) {
                        Ok(range) => mapped.push(range),
                        Err(error) => {
                            page::drop_reference(world.m, error.frame);
                            frames.for_each(|frame| page::drop_reference(world.m, frame));
                            lazy.push(world.unmap(error.pages));
                        }
                    }
                    world.m.limit_frames(None);
                }
                Step::Unmap(which) if !mapped.is_empty() => {
                    let which = which % mapped.len();
                    lazy.push(world.unmap(mapped.swap_remove(which)));
                }
                Step::Unmap(_) => {}
                Step::Flush => {
                    let Some(hull) = lazy.iter().map(LazyRange::pages).reduce(VpnRange::hull) else { continue };
                    let flushed = world.sealed().flush(world.m, hull);
                    free.extend(lazy.drain(..).map(|range| range.free(world.m, &flushed).expect("it is newer")));
                }
            }
            world.check(1);
        }
        for range in mapped.drain(..) {
            lazy.push(world.unmap(range));
        }
        // Tables stay for the next who maps there: one above, and one for 512 pages of those that were ever used.
        let (left, most) = (world.m.n_frames_held() - held, 2 + (60 * 40_u64).div_ceil(512));
        prop_assert!(left <= most, "{left} frames are left");
        let n_pages = |ranges: &[FreeRange]| ranges.iter().map(|range| range.pages().n_pages()).sum::<u64>();
        let n_lazy: u64 = lazy.iter().map(|range| range.pages().n_pages()).sum();
        prop_assert_eq!(n_pages(&free) + n_lazy, area::<X86_64>(1).pages().n_pages());
    }
}
