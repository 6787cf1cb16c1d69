//! The kernel's own mappings: where they are, what is refused, how often all CPUs are interrupted for them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shootdown::{
    Attributes, Counter, CpuId, EntryFormat, Frame, Level, Machine, Vpn, VpnRange,
    arch::{alpha::Alpha, x86_64::X86_64},
    kspace::{KernelArea, KernelSpace},
    page,
};
use shootdown_mm::{KernelMappingError, KernelMappings};
use shootdown_sim::sequential::{Architecture, Sequential};

const KERNEL: Attributes = Attributes { writable: true, executable: false, user: false, accessed: true, dirty: true };

type Mappings<A> = KernelMappings<'static, Sequential<A>>;

/// A machine of so many CPUs, each on a root of its own, and kernel space of one slot.
fn world<A: Architecture>(n_cpus: usize) -> (&'static Sequential<A>, Mappings<A>) {
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
    (m, KernelMappings::new(sealed, addresses, n_cpus))
}

fn frames<A: Architecture>(m: &Sequential<A>, n_pages: u64) -> Vec<Frame> {
    (0..n_pages).map_while(|_| page::allocate(m, Level::LEAF).ok()).collect()
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

/// So many pages are lazy at the most that one flush is for 32 MiB times the bits of the number of CPUs.
#[test]
fn one_flush_frees_as_much_as_may_be_lazy() {
    println!("CPUs  pages freed  flushes  pages a flush  most lazy");
    for n_cpus in [2, 4, 64, 256] {
        let (m, mappings) = world::<X86_64>(n_cpus);
        let n_bits = u64::from(usize::BITS - n_cpus.leading_zeros());
        assert_eq!(mappings.most_lazy() << X86_64::PAGE_SHIFT, n_bits * (32 << 20));
        let before = m.counter(Counter::Flush);
        let (n_rounds, n_pages) = (3 * mappings.most_lazy() / 256 + 8, 255);
        for _ in 0..n_rounds {
            let range = map(m, &mappings, n_pages, 1).expect("there is room");
            mappings.unmap(m, range.start).expect("it is mapped");
        }
        let (n_freed, n_flushes) = (n_rounds * (n_pages + 1), m.counter(Counter::Flush) - before);
        println!("{n_cpus:>4} {n_freed:>12} {n_flushes:>8} {:>14} {:>10}", n_freed / n_flushes, mappings.most_lazy());
        assert!(n_flushes.abs_diff(n_freed / mappings.most_lazy()) <= 1);
        assert_eq!(m.take_stale_accesses(), []);
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
    fn no_address_is_given_twice_and_no_frame_is_lost(steps in prop::collection::vec(step(), 1..80)) {
        let (m, mappings) = world::<X86_64>(2);
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
                            let with_guard = VpnRange::from_len(range.start, n_pages + 1);
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
        // All addresses are one range again: the largest mapping that there is room for can be made.
        let most = 80 * (40 + 512_u64).div_ceil(512) + 2;
        prop_assert!(n_tables <= most, "{n_tables} frames are left");
    }
}
