//! Random sequences of everything a gather does, on each kind of machine, against a model that is a map.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use shootdown::{
    Attributes, Fix, Frame, FrameRun, FrameSink, Gather, Level, MapErrorKind, Pfn, Policy, Rmap, TablesGuard, Vpn,
    VpnRange, WhenLooser,
    arch::{alpha::Alpha, x86_64::X86_64},
    page,
};
use shootdown_sim::sequential::{Architecture, HUGE_LEVEL, Sequential};

use crate::{
    Account, World, pages,
    variants::{AreaByArea, ClearingFlushes, DeferredTables, Like, NoRanges, OnePageSize, OwnTables},
};

/// Two tables of level 1 on x86-64, and the beginning of a third.
const N_PAGES: u64 = 1_200;
const BASE: u64 = 0x8000;

/// Where pages are moved, and from where they are not moved on.
const AWAY: u64 = 0x1_0000;

/// How translations are taken out.
#[derive(Clone, Copy, Debug)]
enum How {
    /// By the range, lock by lock.
    Unmap,
    /// By the range, under one lock.
    Range,
    /// One by one.
    Leaf,
}

#[derive(Clone, Debug)]
enum Step {
    Map { start: u64, n: u64, attributes: Attributes },
    MapHuge { start: u64 },
    Unmap { start: u64, n: u64, how: How, delays: bool, and_tables: bool },
    Protect { start: u64, n: u64, attributes: Attributes },
    ProtectRange { start: u64, n: u64, permissions: Attributes, looser: WhenLooser },
    Restrict { start: u64, n: u64 },
    Replace { start: u64 },
    Move { start: u64, n: u64, to: u64 },
    JoinFrames(bool),
    LimitBatches(Option<u64>),
    LimitFrames(Option<u64>),
    FreeDeferred,
}

fn attributes() -> impl Strategy<Value = Attributes> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(writable, executable, dirty)| Attributes {
        writable,
        executable,
        dirty: dirty && writable,
        ..Attributes::USER_READ
    })
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    (0..N_PAGES, prop_oneof![3 => 1..9_u64, 1 => 1..N_PAGES]).prop_map(|(start, n)| (start, n.min(N_PAGES - start)))
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![Just(How::Unmap), Just(How::Range), Just(How::Leaf)]
}

fn step() -> impl Strategy<Value = Step> {
    let few = || prop::option::of(0..4_u64);
    prop_oneof![
        6 => (range(), attributes()).prop_map(|((start, n), attributes)| Step::Map { start, n, attributes }),
        1 => (0..N_PAGES).prop_map(|start| Step::MapHuge { start }),
        5 => (range(), how(), any::<bool>(), any::<bool>()).prop_map(|((start, n), how, delays, and_tables)| {
            Step::Unmap { start, n, how, delays, and_tables }
        }),
        2 => (range(), attributes()).prop_map(|((start, n), attributes)| Step::Protect { start, n, attributes }),
        2 => (range(), attributes(), any::<bool>()).prop_map(|((start, n), permissions, flushes)| {
            let looser = if flushes { WhenLooser::Flush } else { WhenLooser::Fault };
            Step::ProtectRange { start, n, permissions, looser }
        }),
        1 => range().prop_map(|(start, n)| Step::Restrict { start, n }),
        2 => (0..N_PAGES).prop_map(|start| Step::Replace { start }),
        2 => (range(), 0..N_PAGES).prop_map(|((start, n), to)| Step::Move { start, n, to }),
        // Whole tables.
        2 => (0..3_u64, 1..3_u64, 0..3_u64)
            .prop_map(|(start, n, to)| Step::Move { start: start << 9, n: n << 9, to: to << 9 }),
        1 => any::<bool>().prop_map(Step::JoinFrames),
        1 => few().prop_map(Step::LimitBatches),
        1 => few().prop_map(Step::LimitFrames),
        1 => Just(Step::FreeDeferred),
    ]
}

/// What the first page of a translation leads to.
type Model = BTreeMap<u64, (Pfn, Level, Attributes)>;

/// Frames that were unhooked, and are to be released once each.
struct Owed<'a> {
    account: &'a Account,
    frames: RefCell<BTreeMap<Pfn, Level>>,
    delayed: RefCell<Vec<Pfn>>,
}

impl<A: Architecture> FrameSink<Sequential<A>> for Owed<'_> {
    fn release(&self, m: &Sequential<A>, run: FrameRun) {
        for index in 0..run.count() {
            let frame = Pfn(run.first().0 + index);
            assert_eq!(self.frames.borrow_mut().remove(&frame), Some(run.level()), "{frame:?} is not owed");
            assert!(!self.delayed.borrow().contains(&frame), "{frame:?} is still in the reverse map");
        }
        self.account.release(m, run);
    }

    fn remove_rmap(&self, _: &Sequential<A>, run: &FrameRun) {
        let left = |frame: &Pfn| !(run.first().0..run.first().0 + run.count()).contains(&frame.0);
        let before = self.delayed.borrow().len() as u64;
        self.delayed.borrow_mut().retain(left);
        assert_eq!(self.delayed.borrow().len() as u64, before - run.count());
    }
}

struct Test<A: Architecture> {
    world: World<A>,
    model: Model,
}

impl<A: Architecture> Test<A> {
    fn take(&mut self, step: Step) {
        let machine = &self.world.machine;
        match step {
            Step::Map { start, n, attributes } => (start..start + n).for_each(|page| {
                self.map(BASE + page, Level::LEAF, attributes);
            }),
            Step::MapHuge { start } => {
                if A::HIGHEST_LEAF >= HUGE_LEVEL {
                    let page = Vpn(BASE + start).align_down::<A>(HUGE_LEVEL);
                    self.map(page.0, HUGE_LEVEL, Attributes::USER_WRITE);
                }
            }
            Step::Unmap { start, n, how, delays, and_tables } => {
                self.unmap(pages(BASE + start, n), how, delays, and_tables);
            }
            Step::Protect { start, n, attributes } => self.protect(pages(BASE + start, n), attributes),
            Step::ProtectRange { start, n, permissions, looser } => {
                self.protect_range(pages(BASE + start, n), permissions, looser);
            }
            Step::Restrict { start, n } => self.restrict(pages(BASE + start, n)),
            Step::Replace { start } => self.replace(BASE + start),
            Step::Move { start, n, to } => self.relocate(pages(BASE + start, n), AWAY + to),
            Step::JoinFrames(join) => machine.join_frames(join),
            Step::LimitBatches(n_left) => machine.limit_batches(n_left),
            Step::LimitFrames(n_left) => machine.limit_frames(n_left),
            Step::FreeDeferred => {
                machine.free_deferred();
            }
        }
        self.world.check();
        self.compare();
    }

    fn map(&mut self, page: u64, level: Level, attributes: Attributes) {
        let machine = &self.world.machine;
        let Ok(frame) = page::allocate(machine, level) else {
            return;
        };
        let pfn = frame.pfn();
        match self.world.space().lock(machine).map(Vpn(page), frame, attributes) {
            Ok(()) => assert_eq!(self.model.insert(page, (pfn, level, attributes)), None),
            Err(error) => {
                let expected = matches!(error.kind, MapErrorKind::NoTable(_) | MapErrorKind::Occupied(_));
                assert!(expected, "{error}");
                page::drop_reference(machine, error.frame);
            }
        }
    }

    /// The translations that reach into `range`, in the model.
    fn reached(&self, range: VpnRange) -> Vec<u64> {
        let reaches = |(page, (_, level, _)): &(&u64, &(Pfn, Level, Attributes))| {
            !level.span::<A>(Vpn(**page)).intersection(range).is_empty()
        };
        self.model.iter().filter(reaches).map(|(page, _)| *page).collect()
    }

    fn unmap(&mut self, range: VpnRange, how: How, delays: bool, and_tables: bool) {
        let (machine, space, account) = (&self.world.machine, self.world.space(), Account::default());
        let owed = Owed { account: &account, frames: RefCell::default(), delayed: RefCell::default() };
        let mut gone = self.reached(range);
        let each = |unhooked: &shootdown::Unhooked| {
            for index in 0..unhooked.count {
                let page = unhooked.page.0 + index * unhooked.level.pages::<A>();
                let frame = Pfn(unhooked.frame.0 + index);
                let (_, _, attributes) = self.model[&page];
                assert_eq!(self.model[&page], (frame, unhooked.level, attributes));
                assert_eq!(unhooked.attributes, attributes);
                assert_eq!(owed.frames.borrow_mut().insert(frame, unhooked.level), None);
                if delays {
                    owed.delayed.borrow_mut().push(frame);
                }
            }
            if delays { Rmap::Delayed } else { Rmap::Now }
        };
        let mut gather = Gather::new(machine, space, &owed);
        match how {
            How::Unmap => gather.unmap(range, each),
            How::Range => gather.unhook_range(&space.lock(machine), range, each),
            How::Leaf => {
                let tables = space.lock(machine);
                for leaf in tables.leaves(range) {
                    owed.frames.borrow_mut().insert(leaf.frame(), leaf.level());
                    gather.unhook(leaf).expect("it is there");
                }
            }
        }
        assert!(owed.delayed.borrow().is_empty(), "the lock is released");
        if and_tables {
            gather.unhook_tables(&mut space.lock(machine), range, range);
        }
        gather.finish();
        assert!(owed.frames.borrow().is_empty(), "{:?} were lost", owed.frames);
        if let How::Unmap = how {
            let done = if A::Policy::RELEASE_COUNTS_PAGES { &account.most_pages } else { &account.most_slots };
            // Where clearing flushes, nothing waits.
            assert!(done.get() <= A::Policy::RELEASE_CHUNK || A::Policy::CLEARING_FLUSHES, "{done:?} at once");
        }
        gone.drain(..).for_each(|page| {
            self.model.remove(&page);
        });
    }

    fn protect(&mut self, range: VpnRange, attributes: Attributes) {
        let machine = &self.world.machine;
        let none = |_: &Sequential<A>, _: Frame| unreachable!("nothing is unhooked");
        let mut gather = Gather::new(machine, self.world.space(), &none);
        let tables = self.world.space().lock(machine);
        for leaf in tables.leaves(range) {
            let (_, _, was) = self.model[&leaf.page().0];
            assert_eq!(gather.change(leaf, attributes), was);
        }
        drop(tables);
        gather.finish();
        for page in self.reached(range) {
            self.model.entry(page).and_modify(|(_, _, now)| *now = attributes);
        }
    }

    /// Every second page may be written to if the permissions say so.
    fn protect_range(&mut self, range: VpnRange, permissions: Attributes, looser: WhenLooser) {
        let machine = &self.world.machine;
        let none = |_: &Sequential<A>, _: Frame| unreachable!("nothing is unhooked");
        let mut gather = Gather::new(machine, self.world.space(), &none);
        let tables = self.world.space().lock(machine);
        let may_write = |page: u64| page.is_multiple_of(2);
        gather.change_range(&tables, range, (permissions, looser), |leaf| may_write(leaf.page().0));
        drop(tables);
        gather.finish();
        for page in self.reached(range) {
            self.model.entry(page).and_modify(|(_, _, now)| {
                let writable = permissions.writable && may_write(page);
                *now = Attributes { writable, accessed: now.accessed, dirty: now.dirty, ..permissions };
            });
        }
    }

    /// When it returns nobody can write, also before the gather is finished.
    fn restrict(&mut self, range: VpnRange) {
        let machine = &self.world.machine;
        let none = |_: &Sequential<A>, _: Frame| unreachable!("nothing is unhooked");
        let mut gather = Gather::new(machine, self.world.space(), &none);
        let tables = self.world.space().lock(machine);
        for leaf in tables.leaves(range) {
            let (_, _, was) = self.model.get_mut(&leaf.page().0).expect("it is mapped");
            let to = Attributes { writable: false, ..*was };
            assert_eq!(gather.restrict(leaf, to), *was);
            self.world.check();
            *was = to;
        }
        drop(tables);
        gather.finish();
    }

    fn replace(&mut self, page: u64) {
        let (machine, space) = (&self.world.machine, self.world.space());
        let Some(page) = self.reached(pages(page, 1)).first().copied() else {
            return;
        };
        let (old, level, was) = self.model[&page];
        let Ok(frame) = page::allocate(machine, level) else {
            return;
        };
        let (account, new) = (Account::default(), frame.pfn());
        let mut gather = Gather::new(machine, space, &account);
        let tables = space.lock(machine);
        let copied = Cell::new(None);
        let writable = |was| Attributes { writable: true, dirty: true, ..was };
        let replaced = gather.replace(&tables, Vpn(page), frame, writable, |from, to| {
            self.world.check();
            copied.set(Some((from, to)));
        });
        assert_eq!(replaced.expect("it is mapped").attributes, was);
        assert_eq!(copied.get(), Some((old, new)));
        drop(tables);
        gather.finish();
        assert_eq!(*account.released.borrow(), [(old, 1)]);
        self.model.insert(page, (new, level, writable(was)));
    }

    /// What cannot be moved, and all after it, stays where it is.
    fn relocate(&mut self, from: VpnRange, to: u64) {
        let (machine, space) = (&self.world.machine, self.world.space());
        let none = |_: &Sequential<A>, _: Frame| unreachable!("nothing is freed");
        let n_held = Cell::new(0);
        let hold = || n_held.set(n_held.get() + 1);
        let mut gather = Gather::new(machine, space, &none);
        let result = gather.relocate(from, Vpn(to), hold, |_| {});
        gather.finish();
        let distance = to - from.start.0;
        let moved = |tables: &TablesGuard<'_, Sequential<A>>, page: u64| {
            tables.find(Vpn(page)).is_none_or(|leaf| leaf.page().0 != page)
        };
        let tables = space.lock(machine);
        let mut is_stuck = false;
        let reached = self.reached(from);
        assert!(reached.is_empty() || n_held.get() > 0, "the reverse maps were not held");
        for page in reached {
            if is_stuck || !moved(&tables, page) {
                is_stuck = true;
                continue;
            }
            let there = self.model.remove(&page).expect("it was there");
            assert_eq!(self.model.insert(page + distance, there), None);
        }
        assert_eq!(is_stuck, result.is_err(), "{result:?}");
    }

    /// The tables say what the model says.
    fn compare(&self) {
        let tables = self.world.space().lock(&self.world.machine);
        let found: Model = tables
            .leaves(A::REACH)
            .map(|leaf| (leaf.page().0, (leaf.frame(), leaf.level(), leaf.attributes())))
            .collect();
        assert_eq!(found, self.model);
    }
}

/// Takes the steps; in the end nothing is left but the root table.
fn runs<A: Architecture>(steps: Vec<Step>) {
    runs_on(steps, Sequential::<A>::new(2, &[]));
}

fn runs_on<A: Architecture>(steps: Vec<Step>, machine: Sequential<A>) {
    let mut test = Test { world: World::on(machine), model: Model::new() };
    steps.into_iter().for_each(|step| test.take(step));
    test.world.machine.limit_batches(None);
    test.unmap(A::REACH, How::Unmap, false, true);
    test.world.check();
    test.world.machine.free_deferred();
    assert_eq!(test.world.machine.n_frames_held(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges(steps in vec(step(), 1..40)) {
        runs::<X86_64>(steps);
    }

    #[test]
    fn no_ranges(steps in vec(step(), 1..40)) {
        runs::<Like<NoRanges>>(steps);
    }

    #[test]
    fn one_page_size(steps in vec(step(), 1..40)) {
        runs::<Like<OnePageSize>>(steps);
    }

    #[test]
    fn tables_in_a_batch_of_their_own(steps in vec(step(), 1..40)) {
        runs::<Like<OwnTables>>(steps);
    }

    #[test]
    fn tables_deferred(steps in vec(step(), 1..40)) {
        runs::<Like<DeferredTables>>(steps);
    }

    #[test]
    fn area_by_area(steps in vec(step(), 1..40)) {
        runs::<Like<AreaByArea>>(steps);
    }

    #[test]
    fn clearing_flushes(steps in vec(step(), 1..40)) {
        runs::<Like<ClearingFlushes>>(steps);
    }

    #[test]
    fn alpha(steps in vec(step(), 1..40)) {
        runs::<Alpha>(steps);
    }

    #[test]
    fn broadcasts(steps in vec(step(), 1..40)) {
        runs_on(steps, Sequential::<X86_64>::new(2, &[]).with_broadcasts());
    }
}

/// The same steps find what is wrong when something is left out.
#[test]
fn what_is_left_out_is_noticed() {
    fn notices_on<A: Architecture>(fix: Fix, machine: impl Fn(&[Fix]) -> Sequential<A>) {
        let mut runner = TestRunner::deterministic();
        let result = runner.run(&vec(step(), 1..40), |steps| {
            // A panic is what a failure is.
            runs_on(steps, machine(&[fix]));
            Ok(())
        });
        assert!(result.is_err(), "nobody notices that {} is left out", fix.name());
    }
    fn notices<A: Architecture>(fix: Fix) {
        notices_on::<A>(fix, |left_out| Sequential::new(2, left_out));
    }
    for fix in [Fix::FlushBeforeFree, Fix::FlushRemote, Fix::FlushWithoutRoom, Fix::RecordChanges, Fix::DropWalkCaches]
    {
        notices::<X86_64>(fix);
    }
    notices::<Like<OwnTables>>(Fix::FlushWithoutRoom);
    notices::<Alpha>(Fix::FlushWithoutRoom);
    for fix in [Fix::FlushBeforeFree, Fix::FlushRemote, Fix::WaitForAcks, Fix::DropWalkCaches] {
        notices_on::<X86_64>(fix, |left_out| Sequential::new(2, left_out).with_broadcasts());
    }
}
