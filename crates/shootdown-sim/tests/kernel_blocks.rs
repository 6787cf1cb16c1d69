//! Small mappings of the kernel's: which addresses they have, what is refused, and that nothing is lost or used too early.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shootdown::{
    Attributes, CpuId, EntryFormat, Fix, Frame, Level, Machine, MapErrorKind, SpaceId, Vpn, VpnRange,
    arch::x86_64::X86_64,
    kspace::{
        Block, BlockMapError, Blocks, BlocksError, Current, FreeRange, KernelArea, KernelSpace, NotInBlocks, Sealed,
    },
    page::{self, DropReference},
};
use shootdown_sim::sequential::Sequential;

type Machine64 = Sequential<X86_64>;

const KERNEL: Attributes = Attributes { writable: true, executable: false, user: false, accessed: true, dirty: true };

/// A machine of two CPUs with a slot of kernel space.
fn machine(left_out: &[Fix]) -> (&'static Machine64, Sealed<'static, Machine64>, FreeRange) {
    let m: &Machine64 = Box::leak(Box::new(Sequential::new(2, left_out)));
    let area = KernelArea::of_size::<X86_64>(X86_64::ROOT.pages::<X86_64>() << X86_64::PAGE_SHIFT).expect("a slot");
    let kernel = Box::leak(Box::new(KernelSpace::new(area)));
    let (sealed, addresses) = kernel.build(m).expect("there is memory").seal(m);
    for cpu in [0, 1].map(CpuId) {
        let id = m.new_space();
        m.space(id).expect("there is a place for it").create_in(m, &sealed).expect("there is memory");
        m.act_on(cpu);
        m.arrive();
        m.switch_to(id);
    }
    (m, sealed, addresses)
}

/// So many blocks of so many pages, and where they begin.
fn blocks(
    sealed: Sealed<'static, Machine64>,
    addresses: FreeRange,
    n_blocks: usize,
    pages_of_block: u64,
) -> (Blocks<'static, Machine64>, Vpn) {
    let (range, _rest) = addresses.split(n_blocks as u64 * pages_of_block).expect("there are more");
    let (start, words) = (range.pages().start, Vec::leak(std::iter::repeat_with(Block::new).take(n_blocks).collect()));
    let current = Vec::leak(vec![Current::new()]);
    (Blocks::new(sealed, range, words, current).expect("they are even"), start)
}

fn frames(m: &Machine64, n: u64) -> impl Iterator<Item = Frame> {
    (0..n).map_while(|_| page::allocate(m, Level::LEAF).ok())
}

#[test]
fn blocks_are_equal_and_of_whole_units() {
    let (_, sealed, addresses) = machine(&[]);
    let words = Vec::leak(std::iter::repeat_with(Block::new).take(3).collect::<Vec<_>>());
    let current = Vec::leak(vec![Current::new()]);
    let (range, rest) = addresses.split(100).expect("there are more");
    let (error, range) = Blocks::new(sealed, range, words, current).err().expect("3 x 33 pages are not 100");
    assert_eq!(error, BlocksError::Uneven { n_pages: 100, n_blocks: 3 });
    let (error, range) = Blocks::new(sealed, range, &[], current).err().expect("no blocks");
    assert_eq!(error, BlocksError::None);
    let range = range.join(rest).expect("they follow each other");
    let (range, _) = range.split(3 * 65).expect("there are more");
    let (error, _) = Blocks::new(sealed, range, words, current).err().expect("65 pages are not 64 equal units");
    assert_eq!(error, BlocksError::Uneven { n_pages: 195, n_blocks: 3 });
}

#[test]
fn what_cannot_be_done_is_refused_with_what_was_asked_for() {
    let (m, sealed, addresses) = machine(&[]);
    // Units of two pages.
    let (blocks, start) = blocks(sealed, addresses, 2, 128);
    let no_room = |n_pages| Err(BlockMapError::NoRoom { n_pages });
    for n_pages in [0, 129, u64::MAX] {
        assert_eq!(blocks.map(m, n_pages, [], KERNEL), no_room(n_pages));
    }
    let whole = blocks.map(m, 128, frames(m, 128), KERNEL).expect("a block is free");
    assert_eq!(whole, VpnRange::from_len(start, 128));
    let three = blocks.map(m, 3, frames(m, 3), KERNEL).expect("a block is free");
    assert_eq!((three.start.0 - start.0, three.n_pages()), (128, 3), "of two units");
    assert_eq!(blocks.map(m, 128, [], KERNEL), no_room(128));
    // Before the first, within a unit, within a mapping, behind the last.
    for page in [start.0 - 1, three.start.0 + 1, three.start.0 + 2, start.0 + 256].map(Vpn) {
        assert_eq!(blocks.unmap(m, page, &DropReference), Err(NotInBlocks(page)));
    }
    assert_eq!(blocks.unmap(m, three.start, &DropReference), Ok(VpnRange::from_len(three.start, 4)));
    assert_eq!(blocks.unmap(m, three.start, &DropReference), Err(NotInBlocks(three.start)), "twice");
}

#[test]
fn a_mapping_without_memory_for_its_table_comes_back() {
    let (m, sealed, addresses) = machine(&[]);
    let held = m.n_frames_held();
    let (blocks, start) = blocks(sealed, addresses, 1, 64);
    m.limit_frames(Some(2));
    let mut two = frames(m, 2);
    let first = two.next().expect("there are two");
    let Err(BlockMapError::NotMapped { kind, frame, start: at }) = blocks.map(m, 2, [first], KERNEL) else {
        panic!("there is one frame for two tables");
    };
    assert!(matches!(kind, MapErrorKind::NoTable(_)), "{kind}");
    assert_eq!(at, start);
    page::drop_reference(m, frame);
    assert!(blocks.unmap(m, at, &DropReference).is_ok(), "the addresses are still its own");
    m.limit_frames(None);
    assert!(m.n_frames_held() - held <= 1, "a table at most");
    assert!(blocks.map(m, 64, [], KERNEL).is_err(), "before the flush");
    blocks.drain(m);
    assert!(blocks.map(m, 64, [], KERNEL).is_ok(), "after it");
}

/// What is done next, on which CPU.
#[derive(Clone, Copy, Debug)]
enum Step {
    Map(u64, Option<u64>),
    Unmap(usize),
    Drain,
}

fn step() -> impl Strategy<Value = (u16, Step)> {
    let memory = prop_oneof![3 => Just(None), 1 => (0..4_u64).prop_map(Some)];
    let step = prop_oneof![
        4 => (1..9_u64, memory).prop_map(|(n, left)| Step::Map(n, left)),
        3 => any::<usize>().prop_map(Step::Unmap),
        1 => Just(Step::Drain),
    ];
    (0..2_u16, step)
}

/// Returns how many stale accesses there were.
fn play(steps: Vec<(u16, Step)>, left_out: &[Fix]) -> Result<usize, TestCaseError> {
    let (m, sealed, addresses) = machine(left_out);
    let held = m.n_frames_held();
    let (blocks, _) = blocks(sealed, addresses, 2, 32);
    let (mut mapped, mut n_stale): (BTreeMap<Vpn, VpnRange>, _) = (BTreeMap::new(), 0);
    for (cpu, step) in steps {
        m.act_on(CpuId(cpu));
        match step {
            Step::Map(n_pages, left) => {
                let mut frames = frames(m, n_pages).collect::<Vec<_>>().into_iter();
                m.limit_frames(left);
                match blocks.map(m, n_pages, frames.by_ref(), KERNEL) {
                    Ok(pages) => {
                        let other = mapped.values().find(|other| !other.intersection(pages).is_empty());
                        prop_assert_eq!((pages.n_pages(), other), (n_pages, None));
                        mapped.insert(pages.start, pages);
                    }
                    Err(BlockMapError::NotMapped { frame, start, .. }) => {
                        page::drop_reference(m, frame);
                        prop_assert!(blocks.unmap(m, start, &DropReference).is_ok());
                    }
                    Err(error) => prop_assert_eq!(error, BlockMapError::NoRoom { n_pages }),
                }
                frames.for_each(|frame| page::drop_reference(m, frame));
                m.limit_frames(None);
            }
            Step::Unmap(which) if !mapped.is_empty() => {
                let start = *mapped.keys().nth(which % mapped.len()).expect("there are so many");
                mapped.remove(&start);
                prop_assert!(blocks.unmap(m, start, &DropReference).is_ok());
                prop_assert_eq!(blocks.unmap(m, start, &DropReference), Err(NotInBlocks(start)));
            }
            Step::Unmap(_) => {}
            Step::Drain => {
                blocks.drain(m);
                prop_assert_eq!(blocks.stale(m), None);
            }
        }
        (0..2).map(SpaceId).for_each(|id| m.operation_returned(id));
        n_stale += m.take_stale_accesses().len();
    }
    for start in mapped.into_keys() {
        prop_assert!(blocks.unmap(m, start, &DropReference).is_ok());
    }
    blocks.drain(m);
    // Both blocks are free again, and one table is left on each level.
    for _ in 0..2 {
        prop_assert!(blocks.map(m, 32, [], KERNEL).is_ok());
    }
    prop_assert!(m.n_frames_held() - held <= 2, "{} frames are left", m.n_frames_held() - held);
    Ok(n_stale)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]
    #[test]
    fn nothing_is_given_twice_lost_or_used_too_early(steps in prop::collection::vec(step(), 1..80)) {
        prop_assert_eq!(play(steps, &[])?, 0);
    }
}

#[test]
fn an_address_that_is_used_before_the_flush_is_found() {
    // Frames come back last in, first out: the second mapping has them in another order.
    let map_and_unmap = [(0, Step::Map(2, None)), (1, Step::Unmap(0)), (1, Step::Map(2, None))];
    assert_eq!(play(map_and_unmap.to_vec(), &[]).expect("nothing is lost"), 0);
    assert!(play(map_and_unmap.to_vec(), &[Fix::FlushBeforeReuse]).expect("nothing is lost") > 0);
}
