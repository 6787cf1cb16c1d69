//! The kernel's own mappings: where they are, what is refused, how often all CPUs are interrupted for them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shootdown::{
    Attributes, Counter, CpuId, EntryFormat, Frame, Level, Machine, Vpn, VpnRange,
    arch::{alpha::Alpha, x86_64::X86_64},
    kspace::{Block, Blocks, Current, FreeRange, KernelArea, KernelSpace, Sealed},
    page,
};
use shootdown_mm::{KernelMappingError, KernelMappings};
use shootdown_sim::sequential::{Architecture, Sequential};

const KERNEL: Attributes = Attributes { writable: true, executable: false, user: false, accessed: true, dirty: true };

type Mappings<A> = KernelMappings<'static, Sequential<A>>;

/// A machine of so many CPUs, each on a root of its own, and kernel space of one slot.
fn world<A: Architecture>(n_cpus: usize) -> (&'static Sequential<A>, Mappings<A>) {
    let (m, sealed, addresses) = machine(n_cpus);
    (m, KernelMappings::new(sealed, addresses, n_cpus))
}

/// The same, with so many blocks of 64 pages.
fn world_with_blocks<A: Architecture>(n_cpus: usize, n_blocks: usize) -> (&'static Sequential<A>, Mappings<A>) {
    let (m, sealed, addresses) = machine(n_cpus);
    let (in_blocks, rest) = addresses.split(n_blocks as u64 * 64).expect("a slot has more");
    let blocks = Vec::leak(std::iter::repeat_with(Block::new).take(n_blocks).collect());
    let current = Vec::leak(std::iter::repeat_with(Current::new).take(n_cpus).collect());
    let blocks = Blocks::new(sealed, in_blocks, blocks, current).expect("they are even");
    (m, KernelMappings::new(sealed, rest, n_cpus).with_blocks(blocks))
}

type Kernel<A> = Sealed<'static, Sequential<A>>;

fn machine<A: Architecture>(n_cpus: usize) -> (&'static Sequential<A>, Kernel<A>, FreeRange) {
    let m: &Sequential<A> = Box::leak(Box::new(Sequential::new(n_cpus, &[])));
    let area = KernelArea::of_size::<A>(A::ROOT.pages::<A>() << A::PAGE_SHIFT).expect("it is one slot");
    let kernel = Box::leak(Box::new(KernelSpace::new(area)));
    let (sealed, addresses) = kernel.build(m).expect("there is memory").seal(m);
    for cpu in (0..n_cpus as u16).map(CpuId) {
        let id = m.new_space();
        m.space(id).expect("there is a place for it").create_in(m, &sealed).expect("there is memory");
        m.act_on(cpu);
        m.arrive();
        m.switch_to(id);
    }
    (m, sealed, addresses)
}

fn frames<A: Architecture>(m: &Sequential<A>, n_pages: u64) -> Vec<Frame> {
    (0..n_pages).map_while(|_| page::allocate(m, Level::LEAF).ok()).collect()
}

/// One frame of a level.
fn frames_of<A: Architecture>(m: &Sequential<A>, level: u8) -> Vec<Frame> {
    page::allocate(m, Level(level)).into_iter().collect()
}

fn drop_all<A: Architecture>(m: &Sequential<A>, frames: Vec<Frame>) {
    frames.into_iter().for_each(|frame| page::drop_reference(m, frame));
}

/// Maps so many frames; returns where, or what was refused, with nothing lost.
fn map<A: Architecture>(
    m: &'static Sequential<A>,
    mappings: &Mappings<A>,
    n_pages: u64,
    alignment: u64,
) -> Result<VpnRange, KernelMappingError> {
    mappings.map(m, frames(m, n_pages), alignment, KERNEL).map_err(|(error, frames)| {
        drop_all(m, frames);
        error
    })
}

#[test]
fn what_cannot_be_done_is_refused_with_what_was_asked_for() {
    let (m, mappings) = world::<X86_64>(2);
    let held = m.n_frames_held();
    assert_eq!(map(m, &mappings, 0, 1), Err(KernelMappingError::Empty));
    assert_eq!(map(m, &mappings, 1, 3), Err(KernelMappingError::Misaligned(3)));
    assert_eq!(map(m, &mappings, 1, 0), Err(KernelMappingError::Misaligned(0)));
    let alignment = 1 << 63;
    assert_eq!(map(m, &mappings, 1, alignment), Err(KernelMappingError::NoAddresses { n_pages: 1, alignment }));
    assert_eq!(mappings.unmap(m, Vpn(7)), Err(KernelMappingError::NotMapped(Vpn(7))), "not the kernel's");
    let range = map(m, &mappings, 3, 1).expect("there is room");
    let inside = Vpn(range.start.0 + 1);
    assert_eq!(mappings.unmap(m, inside), Err(KernelMappingError::NotMapped(inside)));
    assert_eq!(mappings.unmap(m, range.start), Ok(()));
    assert_eq!(mappings.unmap(m, range.start), Err(KernelMappingError::NotMapped(range.start)), "twice");
    // The tables stay, two of them.
    assert_eq!(m.n_frames_held() - held, 2);
    m.limit_frames(Some(2));
    let (error, left) = mappings.map(m, frames(m, 2), 1 << 18, KERNEL).expect_err("there is no frame for a table");
    assert_eq!((error, left.len()), (KernelMappingError::NoMemory, 2));
    drop_all(m, left);
}

#[test]
fn a_guard_page_follows_and_alignment_is_kept() {
    let (m, mappings) = world::<Alpha>(2);
    let first = map(m, &mappings, 3, 1).expect("there is room");
    let second = map(m, &mappings, 2, 1).expect("there is room");
    assert_eq!(second.start.0, first.end.0 + 1);
    let aligned = map(m, &mappings, 5, 64).expect("there is room");
    assert!(aligned.start.0.is_multiple_of(64));
    // The gap before it is used for what fits.
    let small = map(m, &mappings, 4, 1).expect("there is room");
    assert_eq!(small.start.0, second.end.0 + 1);
}

#[test]
fn small_mappings_come_from_the_blocks_of_each_cpu() {
    let (m, mappings) = world_with_blocks::<X86_64>(2, 4);
    let map_on = |cpu, n_pages| {
        m.act_on(CpuId(cpu));
        map(m, &mappings, n_pages, 1).expect("there is room")
    };
    let (first, other, second) = (map_on(0, 1), map_on(1, 2), map_on(0, 3));
    assert_eq!(second.start, first.end, "one after the other, without guard pages");
    assert_eq!(other.start.0 - first.start.0, 128, "the other half of the blocks");
    // Not in a block: too large, or aligned.
    let base = first.start;
    let in_blocks = VpnRange::from_len(base, 256);
    assert!(
        !in_blocks.contains(map_on(0, 17).start) && !in_blocks.contains(map(m, &mappings, 1, 2).expect("room").start)
    );
    // A unit is not used again before a flush.
    assert_eq!(mappings.unmap(m, first.start), Ok(()));
    assert_eq!(mappings.unmap(m, first.start), Err(KernelMappingError::NotMapped(first.start)), "twice");
    assert_eq!(mappings.unmap(m, Vpn(second.start.0 + 1)), Err(KernelMappingError::NotMapped(Vpn(second.start.0 + 1))));
    assert_ne!(map_on(0, 1).start, first.start);
    assert!(mappings.try_drain(m), "nobody else flushes");
    assert_eq!(map_on(0, 1).start, first.start);
    assert_eq!(m.take_stale_accesses(), []);
}

#[test]
fn large_frames_take_the_place_of_tables_and_make_room_for_them_again() {
    let (m, mappings) = world::<X86_64>(2);
    let large = Level(2).pages::<X86_64>();
    let before = m.n_frames_held();
    let small = map(m, &mappings, 4 * large, large).expect("there is room");
    mappings.unmap(m, small.start).expect("it is mapped");
    mappings.drain(m);
    let flushes = m.counter(Counter::Flush);
    let frames = (0..3).map(|_| page::allocate(m, Level(2)).expect("there is memory")).chain(frames(m, 2)).collect();
    let mapped = mappings.map(m, frames, 1, KERNEL).expect("there is room");
    assert_eq!((mapped.start, mapped.n_pages()), (small.start, 3 * large + 2), "aligned to the first frame");
    assert_eq!(m.counter(Counter::Flush) - flushes, 1, "one for all tables");
    mappings.unmap(m, mapped.start).expect("it is mapped");
    mappings.drain(m);
    assert_eq!(map(m, &mappings, 3, large).expect("there is room").start, small.start, "small ones again");
    assert_eq!(m.take_stale_accesses(), []);
    assert!(m.n_frames_held() - before <= 3 + 3, "what is not used is free");
    let wrong = [1, 2].into_iter().flat_map(|level| frames_of(m, level)).collect();
    let (error, wrong) = mappings.map(m, wrong, 1, KERNEL).expect_err("the larger one comes second");
    assert!(matches!(error, KernelMappingError::DoesNotFit(_)), "{error}");
    assert_eq!(wrong.len(), 2);
    drop_all(m, wrong);
}

/// So many pages are lazy at the most that one flush is for 32 MiB times the bits of the number of CPUs.
#[test]
fn one_flush_frees_as_much_as_may_be_lazy() {
    println!("CPUs  pages at a time  pages freed  flushes  pages a flush  most lazy");
    for n_cpus in [2, 4, 64, 256] {
        // With guard pages, and from blocks without them.
        for (n_pages, takes) in [(255, 256), (16, 16)] {
            let (m, mappings) = world_with_blocks::<X86_64>(n_cpus, 2048);
            let n_bits = u64::from(usize::BITS - n_cpus.leading_zeros());
            assert_eq!(mappings.most_lazy() << X86_64::PAGE_SHIFT, n_bits * (32 << 20));
            let before = m.counter(Counter::Flush);
            let n_rounds = 3 * mappings.most_lazy() / takes + 8;
            for round in 0..n_rounds {
                m.act_on(CpuId((round % n_cpus as u64) as u16));
                let range = map(m, &mappings, n_pages, 1).expect("there is room");
                mappings.unmap(m, range.start).expect("it is mapped");
            }
            let (n_freed, n_flushes) = (n_rounds * takes, m.counter(Counter::Flush) - before);
            let (of_flush, most) = (n_freed / n_flushes, mappings.most_lazy());
            println!("{n_cpus:>4} {n_pages:>16} {n_freed:>12} {n_flushes:>8} {of_flush:>14} {most:>10}");
            assert!(n_flushes.abs_diff(n_freed / most) <= 1);
            assert_eq!(m.take_stale_accesses(), []);
        }
    }
}

/// What is done next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Maps so many pages, aligned to a power of two, with memory for so many frames beyond them.
    Map(u64, u32, Option<u64>),
    Unmap(usize),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let memory = prop_oneof![3 => Just(None), 1 => (0..4_u64).prop_map(Some)];
    prop_oneof![
        4 => (1..40_u64, 0..10_u32, memory).prop_map(|(n, shift, left)| Step::Map(n, shift, left)),
        3 => any::<usize>().prop_map(Step::Unmap),
        1 => Just(Step::Drain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
    #[test]
    fn no_address_is_given_twice_and_no_frame_is_lost(
        steps in prop::collection::vec(step(), 1..80),
        n_blocks in 0..3_usize,
    ) {
        let (m, mappings) =
            if n_blocks == 0 { world::<X86_64>(2) } else { world_with_blocks::<X86_64>(2, n_blocks) };
        let held = m.n_frames_held();
        let mut mapped: BTreeMap<Vpn, VpnRange> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Map(n_pages, shift, left) => {
                    let frames = frames(m, n_pages);
                    m.limit_frames(left);
                    match mappings.map(m, frames, 1 << shift, KERNEL) {
                        Ok(range) => {
                            prop_assert!(range.start.0.is_multiple_of(1 << shift));
                            prop_assert_eq!(range.n_pages(), n_pages);
                            let is_small = n_blocks > 0 && n_pages <= 16 && shift == 0;
                            let with_guard = VpnRange::from_len(range.start, n_pages + u64::from(!is_small));
                            let other = mapped.values().find(|other| !other.intersection(with_guard).is_empty());
                            prop_assert_eq!(other, None);
                            mapped.insert(range.start, range);
                        }
                        Err((error, frames)) => {
                            prop_assert_eq!((error, frames.len() as u64), (KernelMappingError::NoMemory, n_pages));
                            drop_all(m, frames);
                        }
                    }
                    m.limit_frames(None);
                }
                Step::Unmap(which) if !mapped.is_empty() => {
                    let start = *mapped.keys().nth(which % mapped.len()).expect("there are so many");
                    mapped.remove(&start);
                    prop_assert_eq!(mappings.unmap(m, start), Ok(()));
                }
                Step::Unmap(_) => {}
                Step::Drain => mappings.drain(m),
            }
            prop_assert_eq!(m.take_stale_accesses(), vec![]);
        }
        for start in mapped.into_keys() {
            prop_assert_eq!(mappings.unmap(m, start), Ok(()));
        }
        mappings.drain(m);
        let n_tables = m.n_frames_held() - held;
        // Tables stay, and nothing else.
        let most = 80 * (40 + 512_u64).div_ceil(512) + 2;
        prop_assert!(n_tables <= most, "{n_tables} frames are left");
    }
}
