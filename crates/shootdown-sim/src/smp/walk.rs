//! The hardware walker: what it may read at any time, and what reading it does.

use shootdown::{CpuId, Entry, EntryAt, EntryFormat, Level, Pfn, TableFrame, Vpn, arch::tiny::Tiny};

use super::{
    ENTRIES, PAGES,
    act::{Act, Walk, WalkFrom},
    cpu::{Standing, Translation},
    frame::FrameKind,
    hardware::Hardware,
    operation::Location,
    violation::Violation,
};

/// A leaf that a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it is.
    pub(super) at: EntryAt,
    /// What a TLB remembers of it.
    pub(super) translation: Translation,
}

impl Hardware {
    /// Lists what the walker of `cpu` could do that would make a difference.
    pub(super) fn push_walks(&self, cpu: CpuId, acts: &mut Vec<Act>) {
        let here = self.cpu(cpu);
        if here.root.is_none() {
            return;
        }
        for index in 0..ENTRIES {
            if self.config.caches_walks
                && let Ok(Some(table)) = self.table_from_root(cpu, index)
                && here.walk_cache[index] != Some(table)
            {
                acts.push(Act::Walk { cpu, walk: Walk::ToCache { index } });
            }
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

    /// Tells whether the TLB would change, or something would break.
    fn is_news(&self, cpu: CpuId, page: Vpn, found: Result<Option<Found>, Violation>) -> bool {
        match found {
            Ok(Some(found)) => self.cpu(cpu).translation(page) != Some(found.translation),
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
                self.cpu_mut(cpu).walk_cache[index] = self.table_from_root(cpu, index)?;
                Ok(())
            }
            Walk::ToTlb { page, from } => self.fill(cpu, page, from).map(drop),
        }
    }

    /// Reads the leaf of `page` into the TLB, if there is one, and returns it.
    pub(super) fn fill(&mut self, cpu: CpuId, page: Vpn, from: WalkFrom) -> Result<Option<Found>, Violation> {
        let Some(found) = self.find_leaf(cpu, page, from)? else {
            return Ok(None);
        };
        let frame = found.translation.frame;
        if self.frames.get(frame.0 as usize).is_none_or(|frame| frame.kind != FrameKind::Data) {
            return Err(Violation::MappedNoData { cpu, page, frame });
        }
        self.cpu_mut(cpu).tlb[page.0 as usize] = Some(found.translation);
        Ok(Some(found))
    }

    /// Tells whether a walk to `page` can begin at a cached pointer that the root does not hold any more.
    pub(super) fn has_other_way(&self, cpu: CpuId, page: Vpn) -> bool {
        let index = page.index::<Tiny>(Tiny::ROOT);
        let cached = self.cpu(cpu).walk_cache[index];
        cached.is_some() && self.table_from_root(cpu, index) != Ok(cached)
    }

    fn table_from_root(&self, cpu: CpuId, index: usize) -> Result<Option<Pfn>, Violation> {
        let Some(root) = self.cpu(cpu).root else {
            return Ok(None);
        };
        match self.walker_reads(cpu, EntryAt { table: TableFrame(root), index }, Tiny::ROOT)?.1 {
            Entry::Table(table) => Ok(Some(table.0)),
            Entry::Absent | Entry::Leaf(_) => Ok(None),
        }
    }

    /// What a walk of `cpu` to `page` finds.
    pub(super) fn find_leaf(&self, cpu: CpuId, page: Vpn, from: WalkFrom) -> Result<Option<Found>, Violation> {
        let index = page.index::<Tiny>(Tiny::ROOT);
        let table = match from {
            WalkFrom::Root => self.table_from_root(cpu, index)?,
            WalkFrom::Cache => self.cpu(cpu).walk_cache[index],
        };
        let Some(table) = table else {
            return Ok(None);
        };
        let at = EntryAt { table: TableFrame(table), index: page.index::<Tiny>(Level::LEAF) };
        match self.walker_reads(cpu, at, Level::LEAF)? {
            (raw, Entry::Leaf(frame)) => Ok(Some(Found { at, translation: translation(raw, frame) })),
            (_, Entry::Absent | Entry::Table(_)) => Ok(None),
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
