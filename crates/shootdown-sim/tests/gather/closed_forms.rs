//! How often a gather flushes, in formulas.

use shootdown::{Attributes, Counter, Gather, Rmap, Vpn};
use shootdown_sim::sequential::Architecture;

use crate::{
    Account, World, pages,
    variants::{BatchesOf, Sized},
};

/// Unmaps so many pages at once; returns in how many rounds they were released.
fn rounds<A: Architecture>(world: &World<A>, n_pages: u64) -> u64 {
    world.map(pages(0, n_pages), Attributes::USER_WRITE);
    let before = world.machine.counter(Counter::Flush);
    let account = Account::default();
    let mut gather = Gather::new(&world.machine, world.space(), &account);
    gather.unmap(pages(0, n_pages), |_| Rmap::Now);
    gather.finish();
    world.check();
    assert_eq!(account.released.borrow().len() as u64, n_pages, "frames that may not be joined are not");
    world.machine.counter(Counter::Flush) - before
}

fn rounds_are_as_many_as_slots_allow<A: Architecture>(usable: u64) {
    let world = World::<A>::new();
    for n_pages in [1, usable - 1, usable, usable + 1, 2 * usable, 2 * usable + 1] {
        assert_eq!(rounds(&world, n_pages), n_pages.div_ceil(usable), "{n_pages} pages, {usable} slots");
    }
    world.machine.limit_batches(Some(0));
    for n_pages in [1, 6, 7, 8, 14, 15, 1000] {
        assert_eq!(rounds(&world, n_pages), n_pages.div_ceil(7), "{n_pages} pages without memory");
    }
}

#[test]
fn pages_of_4_kib() {
    rounds_are_as_many_as_slots_allow::<Sized<12, BatchesOf<510>>>(9_678);
}

#[test]
fn pages_of_8_kib() {
    rounds_are_as_many_as_slots_allow::<Sized<13, BatchesOf<1_022>>>(9_196);
}

#[test]
fn pages_of_16_kib() {
    rounds_are_as_many_as_slots_allow::<Sized<14, BatchesOf<2_046>>>(8_187);
}

#[test]
fn pages_of_64_kib() {
    rounds_are_as_many_as_slots_allow::<Sized<16, BatchesOf<8_190>>>(8_196);
}

/// Of eight slots and of each of 19 batches of 510, all are used where things take two.
#[test]
fn fragments_take_two_slots() {
    const FRAGMENTS: u64 = 4 + 19 * 255;
    for n_fragments in [1, FRAGMENTS, FRAGMENTS + 1, 2 * FRAGMENTS + 1] {
        let world = World::<Sized<12, BatchesOf<510>>>::new();
        world.machine.join_frames(true);
        // Two pages of four, never across the end of a table.
        for first in (0..n_fragments).map(|index| index * 4) {
            world.map(pages(first, 2), Attributes::USER_WRITE);
        }
        let account = Account::default();
        let mut gather = Gather::new(&world.machine, world.space(), &account);
        gather.unmap(pages(0, 4 * n_fragments), |_| Rmap::Now);
        gather.finish();
        world.check();
        let n_rounds = world.machine.counter(Counter::Flush);
        assert_eq!(n_rounds, n_fragments.div_ceil(FRAGMENTS), "{n_fragments} fragments");
        assert!(account.released.borrow().iter().all(|(_, count)| *count == 2));
    }
}

/// Tables have a form of their own: as many as the batch has words go at once, and one by one without memory.
#[test]
fn tables_are_released_batch_by_batch() {
    const PER_BATCH: u64 = 510;
    for (refuse, per_round) in [(false, PER_BATCH), (true, 1)] {
        for n_tables in [1, PER_BATCH - 1, PER_BATCH, PER_BATCH + 1, PER_BATCH + 2] {
            let world = World::<Sized<12, BatchesOf<510>>>::new();
            let space = world.space();
            // Tables without pages: what was in them has gone before.
            for table in 0..n_tables {
                world.map(pages(table * 512, 1), Attributes::USER_WRITE);
            }
            let account = Account::default();
            let mut gather = Gather::new(&world.machine, space, &account);
            gather.unmap(pages(0, n_tables * 512), |_| Rmap::Now);
            gather.finish();
            world.machine.limit_batches(refuse.then_some(0));
            let before = world.machine.counter(Counter::Flush);
            let mut gather = Gather::new(&world.machine, space, &account);
            let everything = pages(0, n_tables * 512);
            gather.unhook_tables(&mut space.lock(&world.machine), everything, everything);
            gather.finish();
            world.check();
            let n_rounds = world.machine.counter(Counter::Flush) - before;
            assert_eq!(n_rounds, n_tables.div_ceil(per_round), "{n_tables} tables, {per_round} a round");
            assert_eq!(world.machine.n_tables_freed(), n_tables);
            assert!(space.lock(&world.machine).find(Vpn(0)).is_none());
        }
    }
}

/// Whole tables move by one entry each, with one flush for each, and nothing is freed but what they were in.
#[test]
fn tables_move_as_they_are() {
    const TABLE: u64 = 512;
    for n_tables in [1, 3] {
        let world = World::<Sized<12, BatchesOf<510>>>::new();
        world.map(pages(0, n_tables * TABLE), Attributes::USER_WRITE);
        let n_frames = world.machine.n_frames_held();
        let before = world.machine.counter(Counter::Flush);
        // No frame could be had for a table.
        world.machine.limit_frames(Some(0));
        let (account, to) = (Account::default(), Vpn(64 * TABLE));
        let mut gather = Gather::new(&world.machine, world.space(), &account);
        gather.relocate(pages(0, n_tables * TABLE), to, || (), |_| {}).expect("nothing is in the way");
        gather.finish();
        world.check();
        assert_eq!(world.machine.counter(Counter::Flush) - before, n_tables);
        assert_eq!(world.machine.n_frames_held(), n_frames);
        let tables = world.space().lock(&world.machine);
        assert!(tables.leaves(pages(0, 64 * TABLE)).next().is_none());
        assert_eq!(tables.leaves(pages(to.0, n_tables * TABLE)).count() as u64, n_tables * TABLE);
    }
}
