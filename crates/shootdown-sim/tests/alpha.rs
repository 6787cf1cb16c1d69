//! The sequential machine as an Alpha: no flush is ranged, and the root maps itself.

use shootdown::{
    Attributes, Counter, CpuId, EntryAt, EntryFormat, Fix, Frames, Gather, Level, Machine, NoFrame, Space, SpaceId,
    Vpn, VpnRange,
    arch::alpha::{self, Alpha},
    page::{self, DropReference},
};
use shootdown_sim::sequential::StaleKind;

type Sequential = shootdown_sim::sequential::Sequential<Alpha>;

const FIRST: Vpn = Vpn(0x1234);

/// An address space with so many pages, in use on every CPU.
fn in_use_everywhere(n_cpus: u16, n_pages: u64, left_out: &[Fix]) -> (Sequential, SpaceId) {
    let machine = Sequential::new(usize::from(n_cpus), left_out);
    let id = machine.new_space();
    space(&machine, id).create(&machine).expect("there is memory");
    for page in 0..n_pages {
        let frame = page::allocate(&machine, Level::LEAF).expect("there is memory");
        let mut tables = space(&machine, id).lock(&machine);
        tables.map(Vpn(FIRST.0 + page), frame, Attributes::USER_WRITE).expect("nothing is there");
    }
    for cpu in 0..n_cpus {
        machine.act_on(CpuId(cpu));
        machine.switch_to(id);
    }
    machine.act_on(CpuId(0));
    (machine, id)
}

fn space(machine: &Sequential, id: SpaceId) -> &Space<Sequential> {
    machine.space(id).expect("the machine has a place for it")
}

fn unmap_everything(machine: &Sequential, id: SpaceId) {
    let everything = VpnRange::new(Vpn(0), Vpn(u64::MAX));
    let mut gather = Gather::new(machine, space(machine, id), &DropReference);
    let mut tables = space(machine, id).lock(machine);
    for leaf in tables.leaves(everything) {
        gather.unhook(leaf);
    }
    gather.unhook_tables(&mut tables, everything, everything);
    drop(tables);
    gather.finish();
    machine.operation_returned(id);
}

/// A single page is no exception: the limit is zero.
#[test]
fn every_flush_drops_everything_on_every_cpu() {
    for (n_pages, n_tables) in [(1, 2), (33, 2), (5_000, 7)] {
        let (machine, id) = in_use_everywhere(3, n_pages, &[]);
        unmap_everything(&machine, id);
        let count = |counter| machine.counter(counter);
        assert_eq!((count(Counter::FlushLocal), count(Counter::RemoteRequest)), (1, 2), "one rendezvous of all three");
        assert_eq!(count(Counter::FlushEverything), 3);
        assert_eq!((machine.n_frames_freed(), machine.n_tables_freed()), (n_pages, n_tables));
        assert_eq!(machine.take_stale_accesses(), []);
    }
}

/// 7 slots of its own and 9 batches of 1,021 are 9,196; 11 of them are for tables here.
#[test]
fn a_gather_holds_what_alphas_larger_pages_have_room_for() {
    for (n_pages, n_flushes) in [(9_185, 1), (9_186, 2)] {
        let (machine, id) = in_use_everywhere(1, n_pages, &[]);
        unmap_everything(&machine, id);
        assert_eq!(machine.counter(Counter::FlushLocal), n_flushes, "{n_pages} pages");
        assert_eq!(machine.n_tables_freed(), 11);
    }
}

#[test]
fn freeing_before_the_flush_is_caught() {
    let (machine, id) = in_use_everywhere(2, 1, &[Fix::FlushBeforeFree]);
    unmap_everything(&machine, id);
    let stale = machine.take_stale_accesses();
    assert_eq!(stale.iter().filter(|stale| stale.kind == StaleKind::FrameFreed).count(), 2);
    assert_eq!(stale.iter().filter(|stale| stale.kind == StaleKind::TableFreed).count(), 4);
}

/// An unmap of everything that went down the self-map would find the root as an empty table and free it.
#[test]
fn the_root_maps_itself_and_nothing_walks_there() {
    let (machine, id) = in_use_everywhere(1, 1, &[]);
    let root = space(&machine, id).lock(&machine).root().expect("created");
    let at = EntryAt { table: root, index: alpha::SELF_MAP_SLOT };
    unmap_everything(&machine, id);
    assert_eq!(machine.load(shootdown::At::Entry(at), std::sync::atomic::Ordering::Relaxed), alpha::self_map(root));
    let shown = Vpn(alpha::SELF_MAP_SLOT as u64 * Alpha::ROOT.pages::<Alpha>());
    assert!(space(&machine, id).lock(&machine).find(shown).is_none());
    machine.leave();
    space(&machine, id).destroy(&machine);
    assert_eq!(machine.n_frames_held(), 0);
}

#[test]
fn there_are_no_huge_frames_where_no_table_maps_them() {
    let machine = Sequential::new(1, &[]);
    assert_eq!(machine.alloc_frame(Level(2)).expect_err("level 1 only"), NoFrame);
}
