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

/// Where a walk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At a leaf.
    Leaf(Found),
    /// Where nothing is present, on a machine that remembers that.
    Absent,
    /// In a fault of which nothing is remembered.
    Fault,
}

impl End {
    pub(super) fn leaf(self) -> Option<Found> {
        match self {
            End::Leaf(found) => Some(found),
            End::Absent | End::Fault => None,
        }
    }
}

/// What a walk comes to: an end, unless it goes astray.
pub(super) type Walked = Result<End, Violation>;

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
        for index in 0..ENTRIES {
            self.push_walks_to_leaves(cpu, index, acts);
        }
    }

    fn push_walks_to_leaves(&self, cpu: CpuId, index: usize, acts: &mut Vec<Act>) {
        let at_root = self.root_entry(cpu, index);
        let cached = self.cpu(cpu).tlb().tables(index).next();
        // Asked before each act, and mostly there is nothing.
        if at_root == Ok(0) && cached.is_none() && !self.config.remembers_absent {
            return;
        }
        for page in (index * ENTRIES..(index + 1) * ENTRIES).map(|page| Vpn(page as u64)) {
            let from_root = at_root.and_then(|raw| self.leaf_from(cpu, page, raw));
            let from_cache = cached.map_or(Ok(End::Fault), |table| self.leaf_below(cpu, page, table));
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
            Ok(End::Leaf(found)) => {
                !found.is_accessed
                    || self.cpu(cpu).tlb().of_page(page).all(|translation| translation != found.translation)
            }
            Ok(End::Absent) => !self.cpu(cpu).knows_absent(page),
            Ok(End::Fault) => false,
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
            Walk::ToTlb { page, from } => match self.find_leaf(cpu, page, from)? {
                End::Leaf(found) => self.fill(cpu, page, found)?,
                End::Absent => self.remember_absent(cpu, page),
                End::Fault => {}
            },
        }
        Ok(())
    }

    /// Takes a leaf that a walk found into the TLB. Reading it, checking it and setting its accessed bit are one locked
    /// operation.
    pub(super) fn fill(&mut self, cpu: CpuId, page: Vpn, found: Found) -> Result<(), Violation> {
        self.check_found(cpu, page, found, self.cpu(cpu).tlb())?;
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

    pub(super) fn remember_absent(&mut self, cpu: CpuId, page: Vpn) {
        let model = self.config.tlb;
        self.cpu_mut(cpu).tlb_mut().remember_absent(model, page);
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
                match walked? {
                    End::Leaf(found) if found.is_accessed => {
                        self.check_found(cpu, page, found, &tlb)?;
                        tlb.remember(TlbModel::MaySets, page, found.translation);
                    }
                    // Where there are accessed bits, to set one is something that happens.
                    End::Leaf(_) | End::Fault => {}
                    End::Absent => tlb.remember_absent(TlbModel::MaySets, page),
                }
            }
        }
        Ok(tlb)
    }

    /// Checks a leaf that `tlb` is about to take in.
    fn check_found(&self, cpu: CpuId, page: Vpn, found: Found, tlb: &Tlb) -> Result<(), Violation> {
        if self.config.forbids_two_sizes && tlb.has_other_size(page, found.translation) {
            return Err(Violation::TwoSizes { cpu, page });
        }
        let Translation { frame, is_large, .. } = found.translation;
        let is_aligned = !is_large || frame.0 % ENTRIES as u64 == page.0 % ENTRIES as u64;
        match self.frames.get(frame.0 as usize) {
            Some(place) if place.kind == FrameKind::Data && is_aligned => Ok(()),
            _ => Err(Violation::MappedNoData { cpu, page, frame }),
        }
    }

    /// What walks of `cpu` to `page` can come to now: one from the root, then those from tables that the walk cache
    /// has and the root has not.
    pub(super) fn walks(&self, cpu: CpuId, page: Vpn) -> impl Iterator<Item = Walked> + '_ {
        let index = page.index::<Tiny>(Tiny::ROOT);
        let at_root = self.root_entry(cpu, index);
        let table = at_root.ok().and_then(table_in);
        let cached = self.cpu(cpu).tlb().tables(index).filter(move |cached| Some(*cached) != table);
        let from_root = at_root.and_then(|raw| self.leaf_from(cpu, page, raw));
        std::iter::once(from_root).chain(cached.map(move |table| self.leaf_below(cpu, page, table)))
    }

    fn table_from_root(&self, cpu: CpuId, index: usize) -> Result<Option<Pfn>, Violation> {
        self.root_entry(cpu, index).map(table_in)
    }

    /// What a walk of `cpu` to `page` comes to.
    fn find_leaf(&self, cpu: CpuId, page: Vpn, from: WalkFrom) -> Walked {
        let index = page.index::<Tiny>(Tiny::ROOT);
        match from {
            WalkFrom::Root => self.leaf_from(cpu, page, self.root_entry(cpu, index)?),
            WalkFrom::Cache => {
                let cached = self.cpu(cpu).tlb().tables(index).next();
                cached.map_or(Ok(End::Fault), |table| self.leaf_below(cpu, page, table))
            }
        }
    }

    /// What a walk to `page` comes to that has read `raw` in the root: what is not a table may be a large leaf.
    fn leaf_from(&self, cpu: CpuId, page: Vpn, raw: u64) -> Walked {
        if let Some(table) = table_in(raw) {
            return self.leaf_below(cpu, page, table);
        }
        Ok(self.cpu(cpu).root().map_or(End::Fault, |root| self.found(root, Tiny::ROOT, page, raw)))
    }

    fn leaf_below(&self, cpu: CpuId, page: Vpn, table: Pfn) -> Walked {
        let at = EntryAt { table: TableFrame(table), index: page.index::<Tiny>(Level::LEAF) };
        self.walker_reads(cpu, at).map(|raw| self.found(table, Level::LEAF, page, raw))
    }

    /// Where a walk to `page` ends that has read `raw` in a table of this level.
    fn found(&self, table: Pfn, level: Level, page: Vpn, raw: u64) -> End {
        let Some(translation) = translation(raw, level, page) else {
            // A leaf that user mode may not use is not present to hardware: see the format.
            let is_absent = !Tiny::attributes(raw).user;
            return if is_absent && self.config.remembers_absent { End::Absent } else { End::Fault };
        };
        let at = EntryAt { table: TableFrame(table), index: page.index::<Tiny>(level) };
        let is_accessed = !self.config.sets_accessed || Tiny::attributes(raw).accessed;
        End::Leaf(Found { at, translation, is_accessed })
    }

    /// What a walker of `cpu` reads in the root, or nothing if none is loaded.
    fn root_entry(&self, cpu: CpuId, index: usize) -> Result<u64, Violation> {
        let root = self.cpu(cpu).root().map(TableFrame);
        root.map_or(Ok(0), |table| self.walker_reads(cpu, EntryAt { table, index }))
    }

    fn walker_reads(&self, cpu: CpuId, at: EntryAt) -> Result<u64, Violation> {
        let Some(frame) = self.frames.get(at.table.0.0 as usize).filter(|frame| frame.kind.is_table()) else {
            return Err(Violation::WalkedNoTable { cpu, frame: at.table.0 });
        };
        Ok(match self.config.walker_forwards {
            true => self.peek_from(cpu, Location::Entry(at)),
            false => u64::from(frame.entries[at.index]),
        })
    }
}

/// The table that an entry of the root points at.
pub(super) fn table_in(raw: u64) -> Option<Pfn> {
    Tiny::decode(raw, Tiny::ROOT).table().map(|table| table.0)
}

/// What a TLB remembers of `page` from an entry of this level, if that is a leaf that user mode may use.
pub(super) fn translation(raw: u64, level: Level, page: Vpn) -> Option<Translation> {
    let attributes = Tiny::attributes(raw);
    match Tiny::decode(raw, level) {
        Entry::Leaf(first) if attributes.user => Some(Translation {
            frame: Pfn(first.0 + page.0 % level.pages::<Tiny>()),
            is_large: level != Level::LEAF,
            is_writable: attributes.writable,
            is_dirty: attributes.dirty,
            standing: Standing::Good,
        }),
        Entry::Leaf(_) | Entry::Table(_) | Entry::SharedTable(_) | Entry::Absent => None,
    }
}
