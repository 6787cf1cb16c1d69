//! What a gather tells the machine on the way, and when it flushes.

use shootdown::{
    Attributes, Counter, CpuId, Gather, Level, Rmap, Vpn,
    arch::x86_64::X86_64,
    gather::Area,
    walk::{Walkers, Walking},
};
use shootdown_sim::sequential::{Architecture, HUGE_LEVEL, Sequential};

use crate::{
    Account, World, pages,
    variants::{AreaByArea, ClearingFlushes, DeferredTables, Like, OneCpu, OnePageSize},
};

const RANGE: u64 = 0x8000;

#[test]
fn each_unhooked_page_is_told() {
    let world = World::<X86_64>::new();
    world.machine.join_frames(true);
    world.map(pages(RANGE, 700), Attributes::USER_WRITE);
    let account = Account::default();
    let mut gather = Gather::new(&world.machine, world.space(), &account);
    gather.unmap(pages(RANGE, 700), |_| Rmap::Now);
    gather.finish();
    world.check();
    assert_eq!(world.machine.heard().unhooked, 700);
    // 512 pages of the first table, which begins there, and the rest.
    let counts: Vec<u64> = account.released.borrow().iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [512, 188]);
}

/// Maps a huge page beside small ones, unmaps them all, and returns how many flushes that took.
fn flushes_of_two_sizes<A: Architecture>(world: &World<A>) -> u64 {
    let huge = world.frame(HUGE_LEVEL);
    world.space().lock(&world.machine).map(Vpn(RANGE), huge, Attributes::USER_WRITE).expect("nothing is there");
    world.map(pages(RANGE + 512, 3), Attributes::USER_WRITE);
    let account = Account::default();
    let mut gather = Gather::new(&world.machine, world.space(), &account);
    gather.unmap(pages(RANGE, 515), |_| Rmap::Now);
    gather.finish();
    world.check();
    world.machine.counter(Counter::Flush)
}

#[test]
fn pages_of_two_sizes_are_one_flush_or_two() {
    let world = World::<X86_64>::new();
    assert_eq!(flushes_of_two_sizes(&world), 1);
    let world = World::<Like<OnePageSize>>::new();
    assert_eq!(flushes_of_two_sizes(&world), 2);
    assert_eq!(world.machine.heard().of_mixed_levels, 0);
}

#[test]
fn changes_of_two_sizes_are_two_flushes_where_they_must_be() {
    let world = World::<Like<OnePageSize>>::new();
    let huge = world.frame(HUGE_LEVEL);
    world.space().lock(&world.machine).map(Vpn(RANGE), huge, Attributes::USER_WRITE).expect("nothing is there");
    world.map(pages(RANGE + 512, 3), Attributes::USER_WRITE);
    let account = Account::default();
    let mut gather = Gather::new(&world.machine, world.space(), &account);
    let tables = world.space().lock(&world.machine);
    for leaf in tables.leaves(pages(RANGE, 515)) {
        gather.change(leaf, Attributes::USER_READ);
    }
    drop(tables);
    gather.finish();
    world.check();
    assert_eq!(world.machine.counter(Counter::Flush), 2);
}

#[test]
fn a_hint_names_every_level() {
    let world = World::<X86_64>::new();
    world.map(pages(RANGE, 3), Attributes::USER_WRITE);
    let account = Account::default();
    let mut gather = Gather::new(&world.machine, world.space(), &account);
    let mut tables = world.space().lock(&world.machine);
    gather.unhook_range(&tables, pages(RANGE, 3), |_| Rmap::Now);
    gather.unhook_tables(&mut tables, pages(RANGE, 3), pages(RANGE, 512));
    drop(tables);
    gather.finish();
    world.check();
    // Three pages on each of two CPUs, for leaves and for the table that they were in.
    assert_eq!(world.machine.heard().of_mixed_levels, 6);
}

fn flushes_of_two_areas<A: Architecture>(area: Area) -> (World<A>, u64) {
    let world = World::<A>::new();
    let account = Account::default();
    let mut gather = Gather::new(&world.machine, world.space(), &account);
    for start in [RANGE, 2 * RANGE] {
        world.map(pages(start, 2), Attributes::USER_WRITE);
        gather.in_area(area, |gather| gather.unmap(pages(start, 2), |_| Rmap::Now));
    }
    gather.finish();
    world.check();
    let n_flushes = world.machine.counter(Counter::Flush);
    (world, n_flushes)
}

#[test]
fn areas_are_one_flush_or_one_each() {
    assert_eq!(flushes_of_two_areas::<X86_64>(Area::Counted).1, 1);
    assert_eq!(flushes_of_two_areas::<Like<AreaByArea>>(Area::Counted).1, 2);
}

#[test]
fn frames_that_are_not_counted_are_flushed_area_by_area_and_never_released() {
    let (world, n_flushes) = flushes_of_two_areas::<X86_64>(Area::Uncounted);
    assert_eq!((n_flushes, world.machine.n_frames_freed()), (2, 0));
}

#[test]
fn where_clearing_flushes_frames_go_at_once() {
    let world = World::<Like<ClearingFlushes>>::new();
    world.machine.join_frames(true);
    world.map(pages(RANGE, 600), Attributes::USER_WRITE);
    let account = Account::default();
    let mut gather = Gather::new(&world.machine, world.space(), &account);
    gather.unmap(pages(RANGE, 600), |_| Rmap::Delayed);
    assert_eq!(*account.released.borrow(), *account.removed.borrow());
    assert_eq!(account.released.borrow().iter().map(|(_, count)| count).sum::<u64>(), 600);
    gather.finish();
    world.check();
    assert_eq!(world.machine.counter(Counter::Flush), 0);
}

#[test]
fn deferred_tables_are_freed_when_the_machine_lets_them_go() {
    let world = World::<Like<DeferredTables>>::new();
    world.map(pages(RANGE, 1), Attributes::USER_WRITE);
    let account = Account::default();
    let mut gather = Gather::new(&world.machine, world.space(), &account);
    let everything = pages(0, RANGE * 2);
    gather.unmap(everything, |_| Rmap::Now);
    gather.unhook_tables(&mut world.space().lock(&world.machine), everything, pages(0, 1 << 36));
    gather.finish();
    world.check();
    assert_eq!(world.machine.n_tables_freed(), 0);
    assert_eq!(world.machine.free_deferred(), 1);
    assert_eq!(world.machine.n_tables_freed(), 3);
}

#[test]
fn deferred_tables_wait_for_walks_that_had_begun() {
    // Where a flush is an interrupt it ends walks by itself.
    let machine = Sequential::new(2, &[]).with_broadcasts().with_walkers(Walkers::Announced);
    let world = World::<Like<DeferredTables>>::on(machine);
    let m = &world.machine;
    for cpu in [0, 1].map(CpuId) {
        m.act_on(cpu);
        m.arrive();
        m.switch_to(world.id);
    }
    world.map(pages(RANGE, 1), Attributes::USER_WRITE);
    let account = Account::default();
    let everything = pages(0, RANGE * 2);
    m.act_on(CpuId(1));
    let walking = Walking::begin(m);
    m.act_on(CpuId(0));
    let mut gather = Gather::new(m, world.space(), &account);
    gather.unmap(everything, |_| Rmap::Now);
    gather.unhook_tables(&mut world.space().lock(m), everything, pages(0, 1 << 36));
    gather.finish();
    let [tables] = m.take_deferred().try_into().unwrap_or_else(|_| panic!("they are one batch"));
    let waiting = tables.wait(m).try_free(m).expect_err("the other CPU walks");
    let waiting = waiting.try_free(m).expect_err("it still does");
    assert_eq!(m.n_tables_freed(), 0);
    m.act_on(CpuId(1));
    drop(walking);
    // One that begins now finds nothing of them.
    let later = Walking::begin(m);
    m.act_on(CpuId(0));
    assert!(waiting.try_free(m).is_ok());
    assert_eq!(m.n_tables_freed(), 3);
    m.act_on(CpuId(1));
    drop(later);
    assert_eq!(m.counter(Counter::Quiescence), 0, "nobody was interrupted for it");
}

#[test]
fn what_is_delayed_leaves_the_reverse_map_after_the_flush_and_before_the_lock_is_released() {
    let world = World::<X86_64>::new();
    world.map(pages(RANGE, 20), Attributes::USER_WRITE);
    let account = Account::default();
    let mut gather = Gather::new(&world.machine, world.space(), &account);
    let tables = world.space().lock(&world.machine);
    gather.unhook_range(
        &tables,
        pages(RANGE, 20),
        |unhooked| {
            if unhooked.page.0 % 2 == 0 { Rmap::Delayed } else { Rmap::Now }
        },
    );
    assert_eq!(account.removed.borrow().len(), 10, "the lock is still held");
    assert_eq!(world.machine.counter(Counter::Flush), 1);
    assert!(account.released.borrow().is_empty());
    drop(tables);
    gather.finish();
    world.check();
    assert_eq!(world.machine.counter(Counter::Flush), 1, "nothing more was to be flushed");
    assert_eq!(account.released.borrow().len(), 20);
    assert_eq!(account.removed.borrow().len(), 10);
}

/// Where one CPU runs nothing is delayed, and no table costs a flush of its own.
#[test]
fn one_cpu_delays_nothing() {
    let world = World::<Like<OneCpu>>::new();
    world.map(pages(RANGE, 2 * 512), Attributes::USER_WRITE);
    let account = Account::default();
    let mut gather = Gather::new(&world.machine, world.space(), &account);
    gather.unmap(pages(RANGE, 2 * 512), |_| Rmap::Delayed);
    assert_eq!(world.machine.counter(Counter::Flush), 0);
    assert_eq!(account.removed.borrow().iter().map(|(_, count)| count).sum::<u64>(), 2 * 512);
    gather.finish();
    world.check();
    assert_eq!(world.machine.counter(Counter::Flush), 1);
}

/// One hold of the lock and one flush for each table in which something is delayed; the others wait for the end.
#[test]
fn tables_with_something_delayed_are_flushed_one_by_one() {
    for (delayed_tables, n_flushes) in [(0, 1), (1, 2), (2, 3), (4, 4)] {
        let world = World::<X86_64>::new();
        world.map(pages(RANGE, 4 * 512), Attributes::USER_WRITE);
        let account = Account::default();
        let mut gather = Gather::new(&world.machine, world.space(), &account);
        gather.unmap(pages(RANGE, 4 * 512), |unhooked| {
            let is_delayed = unhooked.page.0 < RANGE + delayed_tables * 512;
            if is_delayed { Rmap::Delayed } else { Rmap::Now }
        });
        assert_eq!(world.machine.counter(Counter::Flush), delayed_tables, "each before its lock was released");
        assert_eq!(account.removed.borrow().len() as u64, delayed_tables * 512);
        assert_eq!(account.released.borrow().len() as u64, delayed_tables * 512, "so that there is room for the next");
        gather.finish();
        world.check();
        assert_eq!(world.machine.counter(Counter::Flush), n_flushes);
        assert_eq!(account.released.borrow().len(), 4 * 512);
        assert_eq!(account.removed.borrow().len() as u64, delayed_tables * 512);
    }
}

/// Nobody uses the address space, so nobody is told of pages; of tables, every CPU that may still walk them.
#[test]
fn an_exiting_gather_flushes_only_for_tables() {
    for and_tables in [false, true] {
        let world = World::<X86_64>::new();
        world.map(pages(RANGE, 9), Attributes::USER_WRITE);
        assert!(world.space().retire(&world.machine).is_err(), "both CPUs use it");
        for cpu in [1, 0] {
            world.machine.act_on(shootdown::CpuId(cpu));
            world.machine.go_lazy();
        }
        let retired = world.space().retire(&world.machine).expect("nobody uses it");
        let account = Account::default();
        let mut gather = Gather::exiting(&world.machine, &retired, &account);
        gather.unmap(pages(RANGE, 9), |_| Rmap::Now);
        if and_tables {
            gather.unhook_tables(&mut world.space().lock(&world.machine), pages(RANGE, 9), pages(0, 1 << 36));
        }
        gather.finish();
        assert_eq!(world.machine.take_stale_accesses(), []);
        assert_eq!(world.machine.counter(Counter::Flush), u64::from(and_tables));
        assert_eq!(world.machine.counter(Counter::FlushSpared), u64::from(!and_tables));
        assert_eq!(world.machine.n_frames_freed(), 9);
    }
}

#[test]
#[should_panic(expected = "was retired")]
fn nobody_comes_back_to_a_retired_address_space() {
    let world = World::<X86_64>::new();
    for cpu in [1, 0] {
        world.machine.act_on(shootdown::CpuId(cpu));
        world.machine.go_lazy();
    }
    world.space().retire(&world.machine).expect("nobody uses it");
    world.machine.switch_to(world.id);
}

/// Freeing is cut into chunks of 512 slots, or of 512 pages where it costs by size; a huge page alone is one.
#[test]
fn work_between_resched_points_is_bounded() {
    fn most<A: Architecture>(joined: bool) -> (u64, u64) {
        let world = World::<A>::new();
        world.machine.join_frames(joined);
        world.map(pages(RANGE, 6_000), Attributes::USER_WRITE);
        let account = Account::default();
        let mut gather = Gather::new(&world.machine, world.space(), &account);
        gather.unmap(pages(RANGE, 6_000), |_| Rmap::Now);
        gather.finish();
        world.check();
        (account.most_slots.get(), account.most_pages.get())
    }
    assert_eq!(most::<X86_64>(false), (512, 512));
    assert_eq!(most::<X86_64>(true), (2 * 6_000_u64.div_ceil(512), 6_000));
    assert_eq!(most::<Like<AreaByArea>>(true), (2, 512));
    assert_eq!(Level::LEAF.pages::<X86_64>(), 1);
}
