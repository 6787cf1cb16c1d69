//! Small pages that become large ones, large pages that become small ones, and tables that go with all that is in them.

use std::cell::RefCell;

use shootdown::{
    Attributes, Counter, Fix, Gather, Level, Pfn, Rmap, Vpn, VpnRange,
    arch::x86_64::X86_64,
    gather::NotResized,
    page::{self, DropReference},
    table::QuiescentTable,
};
use shootdown_sim::sequential::{HUGE_LEVEL, Sequential};

use crate::{Account, World, pages};

const HUGE: VpnRange = pages_of(512);

const fn pages_of(start: u64) -> VpnRange {
    VpnRange::from_len(Vpn(start), HUGE_LEVEL.pages::<X86_64>())
}

/// Collapses what lies at `HUGE`; returns the spare table and what was copied where.
fn collapse(world: &World<X86_64>) -> Result<(QuiescentTable, Vec<(Pfn, Pfn)>), NotResized> {
    let (m, account) = (&world.machine, Account::default());
    let copied: RefCell<Vec<(Pfn, Pfn)>> = RefCell::default();
    let mut gather = Gather::new(m, world.space(), &account);
    let tables = world.space().lock(m);
    let frame = world.frame(HUGE_LEVEL);
    let first = frame.pfn();
    let copy = |from, to: Pfn| copied.borrow_mut().push((from, Pfn(to.0 - first.0)));
    let collapsed = gather.collapse(&tables, HUGE.start, frame, page::is_exclusive, |noted| noted, copy);
    drop(tables);
    gather.finish();
    world.check();
    match collapsed {
        Ok(table) => Ok((table, copied.take())),
        Err((error, frame)) => {
            page::drop_reference(m, frame);
            assert_eq!((copied.take(), account.released.take()), (vec![], vec![]));
            Err(error)
        }
    }
}

fn leaf(world: &World<X86_64>, page: Vpn) -> Option<(Level, Pfn, Attributes)> {
    let tables = world.space().lock(&world.machine);
    tables.find(page).map(|leaf| (leaf.level(), leaf.frame(), leaf.attributes()))
}

fn unmap_all(world: &World<X86_64>) {
    let m = &world.machine;
    let mut gather = Gather::new(m, world.space(), &DropReference);
    gather.unmap(pages(0, 4096), |_| Rmap::Now);
    gather.unhook_tables(&mut world.space().lock(m), pages(0, 4096), pages(0, u64::MAX));
    gather.finish();
    world.check();
}

#[test]
fn small_pages_become_a_large_one_and_small_ones_again() {
    let world = World::<X86_64>::new();
    let m = &world.machine;
    let held = m.n_frames_held();
    world.map(HUGE, Attributes::USER_WRITE);
    let (_, first, _) = leaf(&world, HUGE.start).expect("it is mapped");
    let flushes = m.counter(Counter::Flush);
    let (table, copied) = collapse(&world).expect("all of it is mapped, and nobody else has it");
    assert_eq!(m.counter(Counter::Flush) - flushes, 1);
    assert!(copied.iter().copied().eq((0..512).map(|n| (Pfn(first.0 + n), Pfn(n)))), "each to its own place");
    let (level, large, attributes) = leaf(&world, HUGE.start).expect("it is mapped");
    assert_eq!((level, attributes), (HUGE_LEVEL, Attributes::USER_WRITE));

    let mut gather = Gather::new(m, world.space(), &DropReference);
    let tables = world.space().lock(m);
    let share_out = |frame| page::split(m, frame, HUGE_LEVEL);
    let split = gather.split(&tables, HUGE.start, table, page::is_exclusive, share_out);
    assert!(split.is_ok());
    drop(tables);
    gather.finish();
    world.check();
    for n in [0, 1, 511] {
        let expected = (Level::LEAF, Pfn(large.0 + n), Attributes::USER_WRITE);
        assert_eq!(leaf(&world, Vpn(HUGE.start.0 + n)), Some(expected));
    }
    unmap_all(&world);
    assert_eq!(m.n_frames_held(), held, "nothing is lost");
}

#[test]
fn who_may_not_go_stays_where_he_is() {
    let world = World::<X86_64>::new();
    let m = &world.machine;
    let held = m.n_frames_held();
    assert_eq!(collapse(&world).map(|_| ()), Err(NotResized::NoTable));
    world.map(HUGE, Attributes::USER_WRITE);
    let other = {
        let tables = world.space().lock(m);
        let leaf = tables.find(Vpn(HUGE.start.0 + 7)).expect("it is mapped");
        page::share_mapped(&leaf)
    };
    assert_eq!(collapse(&world).map(|_| ()), Err(NotResized::Kept(Vpn(HUGE.start.0 + 7))));
    page::drop_reference(m, other);
    // Somebody comes when it has been looked at once.
    let looks = RefCell::new(0);
    let mut gather = Gather::new(m, world.space(), &DropReference);
    let tables = world.space().lock(m);
    let count = || {
        *looks.borrow_mut() += 1;
        *looks.borrow() != 512 + 100
    };
    let frame = world.frame(HUGE_LEVEL);
    let result = gather.collapse(&tables, HUGE.start, frame, |_| count(), |noted| noted, |_, _| {});
    let Err((error, frame)) = result else { panic!("one page was to stay") };
    assert_eq!(error, NotResized::Kept(Vpn(HUGE.start.0 + 99)));
    page::drop_reference(m, frame);
    drop(tables);
    gather.finish();
    world.check();
    assert_eq!(leaf(&world, HUGE.start).map(|(level, ..)| level), Some(Level::LEAF), "the table is back");
    let mut gather = Gather::new(m, world.space(), &DropReference);
    gather.unmap(pages(HUGE.start.0 + 3, 1), |_| Rmap::Now);
    gather.finish();
    assert_eq!(collapse(&world).map(|_| ()), Err(NotResized::Hole(Vpn(HUGE.start.0 + 3))));
    unmap_all(&world);
    assert_eq!(m.n_frames_held(), held, "nothing is lost");
}

#[test]
fn a_large_page_that_somebody_has_is_not_split() {
    let world = World::<X86_64>::new();
    let m = &world.machine;
    let frame = world.frame(HUGE_LEVEL);
    let other = page::share(m, &frame);
    world.space().lock(m).map(HUGE.start, frame, Attributes::USER_WRITE).expect("nothing is there");
    let before = leaf(&world, HUGE.start);
    let table = QuiescentTable::allocate(m, Level::LEAF).expect("there is memory");
    let mut gather = Gather::new(m, world.space(), &DropReference);
    let tables = world.space().lock(m);
    let share_out = |_| panic!("somebody else has it");
    let split = gather.split(&tables, HUGE.start, table, page::is_exclusive, share_out);
    let Err((error, table)) = split else { panic!("it was split") };
    assert_eq!(error, NotResized::Kept(HUGE.start));
    let split = gather.split(&tables, Vpn(0), table, page::is_exclusive, share_out);
    let Err((error, table)) = split else { panic!("nothing is there") };
    assert_eq!(error, NotResized::NotLarge);
    table.free(m);
    drop(tables);
    gather.finish();
    world.check();
    assert_eq!(leaf(&world, HUGE.start), before);
    page::drop_reference(m, other);
}

#[test]
fn a_table_goes_with_all_that_is_in_it() {
    let world = World::<X86_64>::new();
    let m = &world.machine;
    let held = m.n_frames_held();
    let dirty = Attributes { dirty: true, ..Attributes::USER_WRITE };
    world.map(pages(HUGE.start.0 + 10, 3), Attributes::USER_WRITE);
    world.map(pages(HUGE.start.0 + 20, 1), dirty);
    let (flushes, tables_freed) = (m.counter(Counter::Flush), m.n_tables_freed());
    let mut gather = Gather::new(m, world.space(), &DropReference);
    let mut heard = Vec::new();
    let retract = |gather: &mut Gather<'_, Sequential<X86_64>, DropReference>, heard: &mut Vec<(Vpn, bool)>| {
        let tables = world.space().lock(m);
        gather.retract(&tables, HUGE.start, HUGE_LEVEL, |was| heard.push((was.page, was.attributes.dirty)))
    };
    assert!(retract(&mut gather, &mut heard));
    assert!(!retract(&mut gather, &mut heard), "it is gone");
    gather.finish();
    world.check();
    assert_eq!(m.counter(Counter::Flush) - flushes, 1);
    assert_eq!(m.n_tables_freed() - tables_freed, 1);
    let expected = [(10, false), (11, false), (12, false), (20, true)];
    assert!(heard.into_iter().eq(expected.map(|(page, dirty)| (Vpn(HUGE.start.0 + page), dirty))));
    unmap_all(&world);
    assert_eq!(m.n_frames_held(), held, "nothing is lost");
}

#[test]
fn pages_that_are_smaller_still_stay() {
    let world = World::<X86_64>::new();
    let m = &world.machine;
    world.map(pages(HUGE.start.0, 1), Attributes::USER_WRITE);
    let mut gather = Gather::new(m, world.space(), &DropReference);
    let giant = Level(HUGE_LEVEL.0 + 1);
    assert!(!gather.retract(&world.space().lock(m), HUGE.start, giant, |_| panic!("it stays")));
    gather.finish();
    assert!(leaf(&world, HUGE.start).is_some());
    unmap_all(&world);
}

/// The oracle sees what is left out: the table is put to another use, or freed, while a CPU may be using it.
#[test]
fn without_walk_caches_in_mind_a_table_is_used_too_early() {
    let world = World::<X86_64>::on(Sequential::new(2, &[Fix::FlushRemote]));
    let m = &world.machine;
    world.map(HUGE, Attributes::USER_WRITE);
    let mut gather = Gather::new(m, world.space(), &DropReference);
    let tables = world.space().lock(m);
    assert!(gather.retract(&tables, HUGE.start, HUGE_LEVEL, |_| {}));
    drop(tables);
    gather.finish();
    assert!(!m.take_stale_accesses().is_empty());
}
