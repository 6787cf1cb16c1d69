//! Pinning pages without a lock: what is found, what is refused, and who still has a reference.

use shootdown::{
    Attributes, Counter, CpuId, Level, Machine, Pfn, Space, Vpn, VpnRange,
    arch::{alpha::Alpha, x86_64::X86_64},
    page::{self, References},
    walk::{self, Forking, Pinned, Pins, Purpose, Refused},
};
use shootdown_sim::sequential::{Architecture, HUGE_LEVEL, Sequential};

const FIRST: u64 = 0x8000;

/// A machine with an address space that its CPU has loaded.
fn machine<A: Architecture>() -> (Sequential<A>, shootdown::SpaceId) {
    let machine = Sequential::new(1, &[]);
    let id = machine.new_space();
    machine.space(id).expect("it is there").create(&machine).expect("there is memory");
    machine.act_on(CpuId(0));
    machine.switch_to(id);
    (machine, id)
}

fn map<A: Architecture>(
    machine: &Sequential<A>,
    space: &Space<Sequential<A>>,
    page: u64,
    level: Level,
    to: Attributes,
) {
    let frame = page::allocate(machine, level).expect("there is memory");
    space.lock(machine).map(Vpn(page), frame, to).expect("nothing is there");
}

fn pages_are_found_until_one_is_refused<A: Architecture>() {
    let (machine, id) = machine::<A>();
    let space = machine.space(id).expect("it is there");
    for page in 0..20 {
        let to = if page < 12 { Attributes::USER_WRITE } else { Attributes::USER_READ };
        map(&machine, space, FIRST + page, Level::LEAF, to);
    }
    map(&machine, space, FIRST + 20, Level::LEAF, Attributes { user: false, ..Attributes::USER_READ });
    let all = VpnRange::from_len(Vpn(FIRST), 30);
    for (purpose, start, end, why) in [
        (Purpose::Read, 0, 20, Refused::Denied),
        (Purpose::Write, 3, 12, Refused::Denied),
        (Purpose::Read, 21, 21, Refused::NotMapped),
    ] {
        let mut pinned: Vec<Pinned> = Vec::new();
        let range = VpnRange::new(Vpn(FIRST + start), all.end);
        let (stopped, refused) =
            walk::pin_range(&machine, space, range, purpose, &References, |page| pinned.push(page));
        assert_eq!((stopped, refused), (Vpn(FIRST + end), Some(why)));
        assert!(pinned.iter().map(|pinned| pinned.page.0).eq(FIRST + start..FIRST + end));
        for pinned in &pinned {
            let tables = space.lock(&machine);
            let leaf = tables.find(pinned.page).expect("it is mapped");
            assert_eq!(leaf.frame(), pinned.frame);
            assert!(!page::is_exclusive(&leaf), "the pin is a reference");
            References.unpin(&machine, pinned.frame, pinned.level);
            assert!(page::is_exclusive(&leaf));
        }
    }
    let beyond = A::REACH.end;
    let result = walk::pin(&machine, space, beyond, Purpose::Read, &References);
    assert_eq!(result, Err(Refused::NotMapped));
}

#[test]
fn pages_are_found() {
    pages_are_found_until_one_is_refused::<X86_64>();
    pages_are_found_until_one_is_refused::<Alpha>();
}

#[test]
fn a_huge_page_is_pinned_once() {
    let (machine, id) = machine::<X86_64>();
    let space = machine.space(id).expect("it is there");
    map(&machine, space, FIRST, HUGE_LEVEL, Attributes::USER_WRITE);
    let mut pinned = Vec::new();
    let range = VpnRange::from_len(Vpn(FIRST + 5), 300);
    let (stopped, refused) =
        walk::pin_range(&machine, space, range, Purpose::Write, &References, |page| pinned.push(page));
    assert_eq!((stopped, refused), (range.end, None));
    assert_eq!(pinned.len(), 1);
    assert_eq!((pinned[0].page, pinned[0].level), (Vpn(FIRST), HUGE_LEVEL));
}

#[test]
fn a_fork_keeps_pins_away_until_it_is_over() {
    let (machine, id) = machine::<X86_64>();
    let space = machine.space(id).expect("it is there");
    map(&machine, space, FIRST, Level::LEAF, Attributes::USER_WRITE);
    let pin = || walk::pin(&machine, space, Vpn(FIRST), Purpose::Write, &References);
    let forking = Forking::begin(&machine, space);
    assert_eq!(pin(), Err(Refused::BeingForked));
    drop(forking);
    assert!(pin().is_ok());
}

/// A way to take references that something happens in.
struct Disturbed<F>(F);

impl<A: Architecture, F: Fn()> Pins<Sequential<A>> for Disturbed<F> {
    fn try_pin(&self, m: &Sequential<A>, frame: Pfn, level: Level) -> bool {
        (self.0)();
        References.try_pin(m, frame, level)
    }

    fn unpin(&self, m: &Sequential<A>, frame: Pfn, level: Level) {
        References.unpin(m, frame, level);
    }

    fn mark_written(&self, m: &Sequential<A>, frame: Pfn, level: Level) {
        References.mark_written(m, frame, level);
    }
}

#[test]
fn what_changes_before_the_pin_is_noticed() {
    let (machine, id) = machine::<X86_64>();
    let space = machine.space(id).expect("it is there");
    map(&machine, space, FIRST, Level::LEAF, Attributes::USER_WRITE);
    let pin = |disturb: &dyn Fn()| walk::pin(&machine, space, Vpn(FIRST), Purpose::Read, &Disturbed(disturb));
    let change = |to: Attributes| {
        let mut gather = shootdown::Gather::new(&machine, space, &page::DropReference);
        let tables = space.lock(&machine);
        gather.change(tables.find(Vpn(FIRST)).expect("it is mapped"), to);
        drop(tables);
        gather.finish();
    };
    // What hardware notes is no change.
    let noted = || change(Attributes { accessed: true, dirty: true, ..Attributes::USER_WRITE });
    let pinned = pin(&noted).expect("nothing has changed");
    References.unpin(&machine, pinned.frame, pinned.level);
    assert_eq!(pin(&|| change(Attributes::USER_READ)), Err(Refused::Changed));
    let unmap = || {
        let mut gather = shootdown::Gather::new(&machine, space, &page::DropReference);
        gather.unmap(VpnRange::from_len(Vpn(FIRST), 1), |_| shootdown::Rmap::Now);
        gather.finish();
    };
    assert_eq!(pin(&unmap), Err(Refused::Free));
    assert_eq!(machine.n_frames_held(), 4, "the root and the tables on the way");
}

#[test]
fn who_waits_for_walks_is_counted() {
    let (machine, _) = machine::<X86_64>();
    walk::quiesce(&machine);
    assert_eq!(machine.counter(Counter::Quiescence), 1);
}
