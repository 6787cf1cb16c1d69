//! The hardware walker: what it may read at any time, and what reading it does.

use shootdown::{Attributes, CpuId, Entry, EntryAt, EntryFormat, Level, Pfn, TableFrame, Vpn, arch::tiny::Tiny};

use super::{
    ENTRIES, PAGES,
    act::{Act, Walk, WalkFrom},
    config::TlbModel,
    frame::FrameKind,
    hardware::Hardware,
    operation::Location,
    tlb::{Standing, Tlb, Translation},
    violation::Violation,
};

/// A leaf that a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it is.
    pub(super) at: EntryAt,
    /// What a TLB remembers of it.
    pub(super) translation: Translation,
    /// Its accessed bit is set, or the machine has none.
    pub(super) is_accessed: bool,
}

/// What a walk comes to: a leaf or a fault, unless it goes astray.
pub(super) type Walked = Result<Option<Found>, Violation>;

impl Hardware {
    /// Lists what the walker of `cpu` could do that would make a difference.
    pub(super) fn push_walks(&self, cpu: CpuId, acts: &mut Vec<Act>) {
        if self.cpu(cpu).root().is_none() {
            return;
        }
        if self.config.tlb == TlbModel::Fills && self.config.caches_walks {
            acts.extend((0..ENTRIES).filter_map(|index| {
                let table = self.table_from_root(cpu, index).ok().flatten()?;
                let is_news = !self.cpu(cpu).tlb().has_table(index, table);
                is_news.then_some(Act::Walk { cpu, walk: Walk::ToCache { index } })
            }));
        }
        for page in (0..PAGES as u64).map(Vpn) {
            let from_root = self.find_leaf(cpu, page, WalkFrom::Root);
            let from_cache = self.find_leaf(cpu, page, WalkFrom::Cache);
            if self.is_news(cpu, page, from_root) {
                acts.push(Act::Walk { cpu, walk: Walk::ToTlb { page, from: WalkFrom::Root } });
            }
            if from_cache != from_root && self.is_news(cpu, page, from_cache) {
                acts.push(Act::Walk { cpu, walk: Walk::ToTlb { page, from: WalkFrom::Cache } });
            }
        }
    }

    /// Tells whether the TLB or an accessed bit would change, or something would break.
    fn is_news(&self, cpu: CpuId, page: Vpn, walked: Walked) -> bool {
        match walked {
            Ok(Some(found)) => {
                !found.is_accessed
                    || self.cpu(cpu).tlb().of_page(page).all(|translation| translation != found.translation)
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Lets the walker of `cpu` do something nobody asked for.
    ///
    /// # Errors
    /// The [`Violation`] that doing it is.
    pub fn speculate(&mut self, cpu: CpuId, walk: Walk) -> Result<(), Violation> {
        match walk {
            Walk::ToCache { index } => {
                if let Some(table) = self.table_from_root(cpu, index)? {
                    self.remember_table(cpu, index, table);
                }
            }
            Walk::ToTlb { page, from } => {
                if let Some(found) = self.find_leaf(cpu, page, from)? {
                    self.fill(cpu, page, found)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a leaf that a walk found into the TLB. Reading it, checking it and setting its accessed bit are one locked
    /// operation.
    pub(super) fn fill(&mut self, cpu: CpuId, page: Vpn, found: Found) -> Result<(), Violation> {
        self.check_data(cpu, page, found)?;
        if !found.is_accessed {
            self.mark(cpu, found.at, |attributes| Attributes { accessed: true, ..attributes });
        }
        self.remember(cpu, page, found.translation);
        Ok(())
    }

    /// Sets bits of an entry in memory, as a walker does.
    pub(super) fn mark(&mut self, cpu: CpuId, at: EntryAt, mark: impl Fn(Attributes) -> Attributes) {
        let at = Location::Entry(at);
        let raw = self.peek_from(cpu, at);
        self.poke(at, Tiny::with_attributes(raw, mark(Tiny::attributes(raw))));
    }

    pub(super) fn remember(&mut self, cpu: CpuId, page: Vpn, translation: Translation) {
        let model = self.config.tlb;
        self.cpu_mut(cpu).tlb_mut().remember(model, page, translation);
    }

    fn remember_table(&mut self, cpu: CpuId, index: usize, table: Pfn) {
        let model = self.config.tlb;
        self.cpu_mut(cpu).tlb_mut().remember_table(model, index, table);
    }

    /// Adds to may-sets whatever walks can find now: called when that may have become more.
    pub(super) fn extend_may_sets(&mut self) -> Result<(), Violation> {
        if self.config.tlb != TlbModel::MaySets {
            return Ok(());
        }
        for cpu in (0..self.config.cpus as u16).map(CpuId) {
            if self.cpu(cpu).root().is_none() {
                continue;
            }
            let tlb = self.extended_may_sets(cpu)?;
            *self.cpu_mut(cpu).tlb_mut() = tlb;
        }
        Ok(())
    }

    fn extended_may_sets(&self, cpu: CpuId) -> Result<Tlb, Violation> {
        let mut tlb = *self.cpu(cpu).tlb();
        if self.config.caches_walks {
            for index in 0..ENTRIES {
                if let Some(table) = self.table_from_root(cpu, index)? {
                    tlb.remember_table(TlbModel::MaySets, index, table);
                }
            }
        }
        for page in (0..PAGES as u64).map(Vpn) {
            for walked in self.walks(cpu, page) {
                // Where there are accessed bits, to set one is something that happens.
                if let Some(found) = walked?.filter(|found| found.is_accessed) {
                    self.check_data(cpu, page, found)?;
                    tlb.remember(TlbModel::MaySets, page, found.translation);
                }
            }
        }
        Ok(tlb)
    }

    fn check_data(&self, cpu: CpuId, page: Vpn, found: Found) -> Result<(), Violation> {
        let frame = found.translation.frame;
        match self.frames.get(frame.0 as usize) {
            Some(place) if place.kind == FrameKind::Data => Ok(()),
            _ => Err(Violation::MappedNoData { cpu, page, frame }),
        }
    }

    /// What walks of `cpu` to `page` can come to now: one from the root, then those from tables that the walk cache
    /// has and the root has not.
    pub(super) fn walks(&self, cpu: CpuId, page: Vpn) -> impl Iterator<Item = Walked> + '_ {
        let index = page.index::<Tiny>(Tiny::ROOT);
        let at_root = self.table_from_root(cpu, index);
        let cached = self.cpu(cpu).tlb().tables(index).filter(move |table| at_root != Ok(Some(*table)));
        let from_root = at_root.and_then(|table| self.leaf_below(cpu, page, table));
        std::iter::once(from_root).chain(cached.map(move |table| self.leaf_below(cpu, page, Some(table))))
    }

    fn table_from_root(&self, cpu: CpuId, index: usize) -> Result<Option<Pfn>, Violation> {
        let Some(root) = self.cpu(cpu).root() else {
            return Ok(None);
        };
        let (_, entry) = self.walker_reads(cpu, EntryAt { table: TableFrame(root), index }, Tiny::ROOT)?;
        Ok(entry.table().map(|table| table.0))
    }

    /// What a walk of `cpu` to `page` comes to.
    fn find_leaf(&self, cpu: CpuId, page: Vpn, from: WalkFrom) -> Walked {
        let index = page.index::<Tiny>(Tiny::ROOT);
        let table = match from {
            WalkFrom::Root => self.table_from_root(cpu, index)?,
            WalkFrom::Cache => self.cpu(cpu).tlb().tables(index).next(),
        };
        self.leaf_below(cpu, page, table)
    }

    fn leaf_below(&self, cpu: CpuId, page: Vpn, table: Option<Pfn>) -> Walked {
        let Some(table) = table else {
            return Ok(None);
        };
        let at = EntryAt { table: TableFrame(table), index: page.index::<Tiny>(Level::LEAF) };
        match self.walker_reads(cpu, at, Level::LEAF)? {
            (raw, Entry::Leaf(frame)) if Tiny::attributes(raw).user => {
                let is_accessed = !self.config.sets_accessed || Tiny::attributes(raw).accessed;
                Ok(Some(Found { at, translation: translation(raw, frame), is_accessed }))
            }
            _ => Ok(None),
        }
    }

    fn walker_reads(&self, cpu: CpuId, at: EntryAt, level: Level) -> Result<(u64, Entry), Violation> {
        let Some(frame) = self.frames.get(at.table.0.0 as usize).filter(|frame| frame.kind == FrameKind::Table) else {
            return Err(Violation::WalkedNoTable { cpu, frame: at.table.0 });
        };
        let raw = match self.config.walker_forwards {
            true => self.peek_from(cpu, Location::Entry(at)),
            false => u64::from(frame.entries[at.index]),
        };
        Ok((raw, Tiny::decode(raw, level)))
    }
}

/// What a TLB remembers of the leaf `raw`.
pub(super) fn translation(raw: u64, frame: Pfn) -> Translation {
    let attributes = Tiny::attributes(raw);
    Translation { frame, is_writable: attributes.writable, is_dirty: attributes.dirty, standing: Standing::Good }
}
