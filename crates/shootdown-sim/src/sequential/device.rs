//! A device that translates through the page tables of processes, and what its IOMMU remembers.
//!
//! Unlike a CPU it does not look again: it uses what it remembers until it is told to forget it, also what permits less than
//! the tables. It hears of changes through [`notify`](shootdown::notify) and in no other way, and forgets what it is told to and
//! nothing else. Since it touches what it is [told to touch](Sequential::touch), what it remembers is known and need not be
//! assumed. There is no queue: it has forgotten when the listener returns.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
};

use rustc_hash::FxHashMap;
use shootdown::{
    Entry, EntryAt, EntryFormat, Level, Pfn, SpaceId, Stale, Strength, TableFrame, Vpn, VpnRange,
    notify::{Event, SecondaryTlb},
};

use super::{
    architecture::Architecture,
    entries::{is_lazy_address, is_still_true, lets_write, read_entry},
    frames::Frames,
    machine::Sequential,
};

/// The number by which a machine [with an IOMMU](Sequential::with_iommu) knows it as a listener.
pub const IOMMU: u32 = 0;

/// The number of [another listener](Sequential::with_listener).
pub const OTHER_LISTENER: u32 = 1;

/// What a device does with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dma {
    /// It reads.
    Read,
    /// It stores.
    Write,
}

impl Dma {
    fn is_permitted<F: EntryFormat>(self, raw: u64) -> bool {
        let attributes = F::attributes(raw);
        attributes.user && (self == Dma::Read || attributes.writable)
    }
}

/// How often an IOMMU was told of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Translations are gone, or permit less.
    pub stricter: u64,
    /// Translations permit more.
    pub looser: u64,
    /// Translations of the kernel are gone, or permit less.
    pub kernel: u64,
    /// An address space has ended.
    pub ended: u64,
}

/// The IOMMU as the library sees it. What it remembers has its place in the machine.
pub(super) struct Iommu;

impl<A: Architecture> SecondaryTlb<Sequential<A>> for Iommu {
    fn hear(&self, m: &Sequential<A>, event: Event) {
        m.device_hears(event);
    }
}

/// A page that the device can use and must not, or the other way round, in which address space, and what it reaches there.
pub(super) type Found = (SpaceId, Vpn, Pfn);

/// What the device remembers of one address space.
struct Domain {
    root: TableFrame,
    // Entries as they were when the device walked there, by first page and level.
    leaves: BTreeMap<(Vpn, Level), u64>,
    // The tables it has come through below the root, and at which entries.
    walks: FxHashMap<TableFrame, Vec<(Vpn, Level)>>,
    // The leaves whose entries have changed since.
    differing: BTreeSet<(Vpn, Level)>,
}

impl Domain {
    fn new(root: TableFrame) -> Self {
        Domain { root, leaves: BTreeMap::new(), walks: FxHashMap::default(), differing: BTreeSet::new() }
    }

    /// Returns the level and the value of the entry that the device remembers for `page`.
    fn find<F: EntryFormat>(&self, page: Vpn) -> Option<(Level, u64)> {
        (Level::LEAF.0..=F::HIGHEST_LEAF.0).map(Level).find_map(|level| {
            let raw = self.leaves.get(&(page.align_down::<F>(level), level))?;
            Some((level, *raw))
        })
    }

    /// Walks to `page`, and remembers what is on the way and what is there.
    fn fill<A: Architecture>(&mut self, frames: &Frames<A>, page: Vpn) {
        let (mut table, mut level) = (self.root, A::ROOT);
        loop {
            let raw = frames.entry(EntryAt { table, index: page.index::<A>(level) }).get();
            let at = (page.align_down::<A>(level), level);
            match (A::decode(raw, level), level.below()) {
                (Entry::Leaf(_), _) => {
                    self.leaves.insert(at, raw);
                    return;
                }
                (Entry::Table(next) | Entry::SharedTable(next), Some(below)) => {
                    let entries = self.walks.entry(next).or_default();
                    if !entries.contains(&at) {
                        entries.push(at);
                    }
                    (table, level) = (next, below);
                }
                _ => return,
            }
        }
    }

    /// Notes that entries which translate `span` have changed.
    fn differ(&mut self, span: VpnRange) {
        let changed = self.leaves.range((span.start, Level(0))..(span.end, Level(0)));
        self.differing.extend(changed.map(|(at, _)| *at));
    }

    fn forget_leaf(&mut self, at: (Vpn, Level)) {
        self.leaves.remove(&at);
        self.differing.remove(&at);
    }

    /// Forgets the leaves that overlap `range` and of which `is_meant` says so.
    fn forget_leaves<F: EntryFormat>(&mut self, range: VpnRange, is_meant: impl Fn(VpnRange) -> bool) {
        let first = range.start.align_down::<F>(F::HIGHEST_LEAF);
        let near = self.leaves.range((first, Level(0))..(range.end, Level(0)));
        let meant: Vec<_> = near.map(|(at, _)| *at).filter(|(page, level)| is_meant(level.span::<F>(*page))).collect();
        meant.into_iter().for_each(|at| self.forget_leaf(at));
    }

    fn forget<F: EntryFormat>(&mut self, stale: Stale) {
        if stale.strength == Strength::Full {
            *self = Domain::new(self.root);
            return;
        }
        self.forget_leaves::<F>(stale.range, |span| is_about::<F>(stale, span));
        if stale.strength == Strength::Walk {
            self.walks.retain(|_, entries| {
                entries.retain(|(page, level)| !is_about::<F>(stale, level.span::<F>(*page)));
                !entries.is_empty()
            });
        }
    }
}

/// Whether `stale`, page by page as far apart as its stride says, is about an entry that translates `span`: hardware that was
/// told no more forgets no more.
fn is_about<F: EntryFormat>(stale: Stale, span: VpnRange) -> bool {
    let level = stale.levels.lowest();
    let first = stale.range.start.align_down::<F>(level).0;
    let skipped = span.start.0.saturating_sub(first).next_multiple_of(level.pages::<F>());
    first + skipped < span.end.0.min(stale.range.end.0)
}

/// The device, and the part of the oracle that is about it.
pub(super) struct Device<A> {
    domains: BTreeMap<SpaceId, Domain>,
    // Those in which something differs: most of the time none.
    differing: BTreeSet<SpaceId>,
    told: Told,
    n_touches: u64,
    architecture: PhantomData<A>,
}

impl<A: Architecture> Device<A> {
    pub(super) fn new() -> Self {
        Device {
            domains: BTreeMap::new(),
            differing: BTreeSet::new(),
            told: Told::default(),
            n_touches: 0,
            architecture: PhantomData,
        }
    }

    pub(super) const fn told(&self) -> Told {
        self.told
    }

    pub(super) const fn n_touches(&self) -> u64 {
        self.n_touches
    }

    pub(super) fn attached(&mut self, space: SpaceId, root: TableFrame) {
        self.domains.insert(space, Domain::new(root));
        self.differing.remove(&space);
    }

    /// Uses `page` as far as it may. It finds that it remembers less than the tables permit.
    pub(super) fn touch(&mut self, frames: &Frames<A>, space: SpaceId, page: Vpn, dma: Dma) -> Option<Found> {
        let domain = self.domains.get_mut(&space)?;
        self.n_touches += 1;
        let Some((level, raw)) = domain.find::<A>(page) else {
            domain.fill(frames, page);
            return None;
        };
        let first = page.align_down::<A>(level);
        let now = read_entry(frames, domain.root, first, level);
        // What contradicts the tables is found when the operation returns.
        let is_less = is_still_true::<A>(raw, now, level) && !dma.is_permitted::<A>(raw) && dma.is_permitted::<A>(now);
        match A::decode(now, level) {
            Entry::Leaf(frame) if is_less => {
                domain.forget_leaf((first, level));
                Some((space, first, frame))
            }
            _ => None,
        }
    }

    pub(super) fn hears(&mut self, event: Event) {
        match event {
            Event::Stricter { space, stale } => {
                self.told.stricter += 1;
                self.domains.get_mut(&space).into_iter().for_each(|domain| domain.forget::<A>(stale));
            }
            Event::Looser { space, pages } => {
                self.told.looser += 1;
                let domain = self.domains.get_mut(&space);
                domain.into_iter().for_each(|domain| domain.forget_leaves::<A>(pages, |_| true));
            }
            Event::Kernel { stale } => {
                self.told.kernel += 1;
                self.domains.values_mut().for_each(|domain| domain.forget::<A>(stale));
            }
            Event::Ended { space } => {
                self.told.ended += 1;
                self.domains.remove(&space);
            }
        }
        let domains = &self.domains;
        self.differing.retain(|space| domains.get(space).is_some_and(|domain| !domain.differing.is_empty()));
    }

    pub(super) fn entry_changed(&mut self, space: SpaceId, span: VpnRange) {
        if let Some(domain) = self.domains.get_mut(&space) {
            domain.differ(span);
            if !domain.differing.is_empty() {
                self.differing.insert(space);
            }
        }
    }

    pub(super) fn frame_freed(&mut self, pfn: Pfn) -> Vec<Found> {
        let mut found = Vec::new();
        for space in &self.differing {
            // Kernel addresses that are lazy nobody uses.
            found.extend(self.differing_leaves(*space).filter_map(|((page, level), raw)| {
                let is_hit = !A::KERNEL.contains(page) && A::decode(raw, level) == Entry::Leaf(pfn);
                is_hit.then_some((*space, page, level))
            }));
        }
        // What is reported is forgotten, so nothing counts twice.
        let forget = |(space, page, level)| {
            self.domains.get_mut(&space).into_iter().for_each(|domain| domain.forget_leaf((page, level)));
            (space, page, pfn)
        };
        found.into_iter().map(forget).collect()
    }

    fn differing_leaves(&self, space: SpaceId) -> impl Iterator<Item = ((Vpn, Level), u64)> {
        let domain = self.domains.get(&space).into_iter();
        domain.flat_map(|domain| domain.differing.iter().filter_map(|at| Some((*at, *domain.leaves.get(at)?))))
    }

    pub(super) fn table_freed(&mut self, table: TableFrame) -> Vec<Found> {
        let mut found = Vec::new();
        for (space, domain) in &mut self.domains {
            let entries = domain.walks.remove(&table).into_iter().flatten();
            found.extend(entries.map(|(page, _)| (*space, page, table.0)));
        }
        // Nobody can walk from a root that is gone.
        let orphan = self.domains.iter().find(|(_, domain)| domain.root == table).map(|(space, _)| *space);
        if let Some(space) = orphan {
            self.domains.remove(&space);
            self.differing.remove(&space);
            found.push((space, Vpn(0), table.0));
        }
        found
    }

    pub(super) fn operation_returned(&mut self, frames: &Frames<A>, space: SpaceId) -> Vec<Found> {
        let mut found = Vec::new();
        if !self.differing.contains(&space) {
            return found;
        }
        let Some(domain) = self.domains.get_mut(&space) else { return found };
        for at in std::mem::take(&mut domain.differing) {
            let ((page, level), Some(raw)) = (at, domain.leaves.get(&at).copied()) else { continue };
            let now = read_entry(frames, domain.root, page, level);
            if is_lazy_address::<A>(page, level, now) {
                domain.differing.insert(at);
            } else if !is_still_true::<A>(raw, now, level)
                && let Entry::Leaf(frame) = A::decode(raw, level)
            {
                domain.leaves.remove(&at);
                found.push((space, page, frame));
            }
        }
        if domain.differing.is_empty() {
            self.differing.remove(&space);
        }
        found
    }

    /// Finds a page through which the device can still store to `pfn`, whatever the tables say.
    pub(super) fn writer_of(&self, pfn: Pfn) -> Option<(SpaceId, Vpn)> {
        self.differing.iter().find_map(|space| {
            let mut leaves = self.differing_leaves(*space);
            leaves.find(|((_, level), raw)| lets_write::<A>(*raw, *level, pfn)).map(|((page, _), _)| (*space, page))
        })
    }
}
