//! Page tables that two address spaces have: who finds what in them, and what is refused.

use std::cell::Cell;

use shootdown::{
    Attributes, Counter, CpuId, Gather, Level, Machine, MapErrorKind, Pfn, Rmap, Space, SpaceId, Vpn, VpnRange,
    arch::x86_64::X86_64,
    page::{self, DropReference},
    share::Unsharing,
};
use shootdown_sim::sequential::{HUGE_LEVEL, Sequential};

type Machine64 = Sequential<X86_64>;

/// What a table of large pages translates: 1 GiB.
const TABLE: VpnRange = VpnRange::from_len(Vpn(1 << 18), 1 << 18);
const PAGE: Vpn = Vpn(TABLE.start.0 + 512);

/// Two address spaces; the first one has a large page.
fn world() -> (Machine64, [SpaceId; 2]) {
    let m = Machine64::new(2, &[]);
    let ids = [m.new_space(), m.new_space()];
    for (cpu, id) in (0..).zip(ids) {
        space(&m, id).create(&m).expect("there is memory");
        m.act_on(CpuId(cpu));
        m.arrive();
        m.switch_to(id);
    }
    map(&m, space(&m, ids[0]), PAGE).expect("nothing is there");
    (m, ids)
}

fn space(m: &Machine64, id: SpaceId) -> &Space<Machine64> {
    m.space(id).expect("it is there")
}

fn map(m: &Machine64, space: &Space<Machine64>, page: Vpn) -> Result<Pfn, MapErrorKind> {
    let frame = page::allocate(m, HUGE_LEVEL).expect("there is memory");
    let pfn = frame.pfn();
    space.lock(m).map(page, frame, Attributes::USER_WRITE).map(|()| pfn).map_err(|error| {
        page::drop_reference(m, error.frame);
        error.kind
    })
}

fn found(m: &Machine64, space: &Space<Machine64>, page: Vpn) -> Option<Pfn> {
    space.lock(m).find_shared(page).map(|found| found.frame)
}

/// A lock that says whether it is held.
struct Held<'a>(&'a Cell<bool>);

impl<'a> Held<'a> {
    fn take(cell: &'a Cell<bool>) -> Self {
        assert!(!cell.replace(true), "it is held already");
        Held(cell)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn share(m: &Machine64, from: SpaceId, to: SpaceId) -> Result<(), MapErrorKind> {
    let file_map = ();
    let offer = space(m, from).lock(m).offer(PAGE, HUGE_LEVEL, &file_map).expect("there is a table");
    space(m, to).lock(m).accept(PAGE, offer)
}

#[test]
fn what_one_maps_the_other_finds() {
    let (m, [first, second]) = world();
    assert_eq!(share(&m, first, second), Ok(()));
    let (first, second) = (space(&m, first), space(&m, second));
    let page = found(&m, first, PAGE);
    assert!(page.is_some());
    assert_eq!(found(&m, second, PAGE), page);
    assert!(second.lock(&m).find(PAGE).is_none(), "under the page-table lock alone nothing of it is found");
    assert_eq!(second.lock(&m).leaves(TABLE).count(), 0);
    let other = Vpn(PAGE.0 + 512);
    let new = map(&m, second, other).expect("nothing is there");
    assert_eq!(found(&m, first, other), Some(new));
    assert_eq!(map(&m, first, other), Err(MapErrorKind::Occupied(HUGE_LEVEL)));
}

#[test]
fn only_a_table_of_the_level_is_offered() {
    let (m, [first, second]) = world();
    let offers = |level| space(&m, first).lock(&m).offer(PAGE, level, &()).is_some();
    assert!(!offers(Level::LEAF), "a large page is in its place");
    assert_eq!(share(&m, first, second), Ok(()));
    assert!(!offers(Level::LEAF), "what is shared is of another level");
    assert!(offers(HUGE_LEVEL));
    assert!(space(&m, second).lock(&m).offer(Vpn(0), HUGE_LEVEL, &()).is_none(), "nothing is there");
}

/// Whoever is too late is not counted: the next to leave is the last but one.
#[test]
fn a_table_that_is_not_taken_in_is_given_back() {
    let (m, [first, second]) = world();
    map(&m, space(&m, second), Vpn(PAGE.0 + 1024)).expect("nothing is there");
    assert_eq!(share(&m, first, second), Err(MapErrorKind::Occupied(Level(HUGE_LEVEL.0 + 1))));
    leave(&m, space(&m, first), &Cell::new(false));
    assert_eq!(m.counter(Counter::TableUnshared), 0, "nobody else had it");
    assert!(space(&m, first).lock(&m).find(PAGE).is_some(), "it is an ordinary one again");
}

fn leave(m: &Machine64, space: &Space<Machine64>, file_map: &Cell<bool>) {
    let mut unsharing = Unsharing::begin(Held::take(file_map));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unshare(&mut space.lock(m), VpnRange::from_len(PAGE, 1), HUGE_LEVEL, &mut unsharing);
    let held = unsharing.settle(&mut gather);
    assert!(file_map.get(), "until it is settled");
    drop(held);
    assert!(!file_map.get());
    gather.finish();
}

#[test]
fn who_leaves_frees_nothing_and_the_last_has_it_alone() {
    let (m, [first, second]) = world();
    assert_eq!(share(&m, first, second), Ok(()));
    let (frames, tables) = (m.n_frames_freed(), m.n_tables_freed());
    leave(&m, space(&m, second), &Cell::new(false));
    m.operation_returned(second);
    assert_eq!((m.n_frames_freed(), m.n_tables_freed()), (frames, tables));
    assert_eq!(m.counter(Counter::TableExclusive), 1);
    assert_eq!(found(&m, space(&m, second), PAGE), None);
    leave(&m, space(&m, first), &Cell::new(false));
    let mut gather = Gather::new(&m, space(&m, first), &DropReference);
    gather.unmap(TABLE, |_| Rmap::Now);
    gather.unhook_tables(&mut space(&m, first).lock(&m), TABLE, TABLE);
    gather.finish();
    assert_eq!((m.n_frames_freed(), m.n_tables_freed()), (frames + 1, tables + 1));
    assert_eq!(m.take_stale_accesses(), []);
}

#[test]
#[should_panic(expected = "what is owed for that was not paid")]
fn a_gather_is_not_finished_while_it_owes() {
    let (m, [first, second]) = world();
    assert_eq!(share(&m, first, second), Ok(()));
    let space = space(&m, second);
    let mut unsharing = Unsharing::begin(());
    let mut gather = Gather::new(&m, space, &DropReference);
    gather.unshare(&mut space.lock(&m), TABLE, HUGE_LEVEL, &mut unsharing);
    gather.finish();
}

#[test]
fn who_forgets_to_settle_leaves_the_file_map_locked() {
    let file_map = Cell::new(false);
    drop(Unsharing::begin(Held::take(&file_map)));
    assert!(file_map.get());
}

#[test]
fn a_shared_table_does_not_move() {
    let (m, [first, second]) = world();
    assert_eq!(share(&m, first, second), Ok(()));
    let mut gather = Gather::new(&m, space(&m, second), &DropReference);
    let moved = gather.relocate(VpnRange::from_len(PAGE, 512), Vpn(TABLE.end.0), || (), |_| {});
    gather.finish();
    assert_eq!(moved, Err(MapErrorKind::Shared(HUGE_LEVEL)));
    assert!(found(&m, space(&m, second), PAGE).is_some(), "it is where it was");
}
