//! The hardware walker: what it may read at any time, and what reading it does.

use shootdown::{CpuId, Entry, EntryFormat, Level, Pfn, Vpn, arch::tiny::Tiny};

use super::{
    ENTRIES, PAGES,
    act::{Act, Walk, WalkFrom},
    cpu::Translation,
    frame::FrameKind,
    hardware::{Config, Hardware},
    violation::Violation,
};

impl Hardware {
    /// Lists what the walker of `cpu` could do that would make a difference.
    pub(super) fn push_walks(&self, config: &Config, cpu: CpuId, acts: &mut Vec<Act>) {
        let here = self.cpu(cpu);
        if here.root.is_none() {
            return;
        }
        for index in 0..ENTRIES {
            if config.caches_walks
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
    fn is_news(&self, cpu: CpuId, page: Vpn, found: Result<Option<Pfn>, Violation>) -> bool {
        match found {
            Ok(Some(frame)) => self.cpu(cpu).translation(page) != Some(Translation { frame, is_stale: false }),
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
            Walk::ToTlb { page, from } => self.fill(cpu, page, from),
        }
    }

    /// Reads the leaf of `page` into the TLB, if there is one.
    pub(super) fn fill(&mut self, cpu: CpuId, page: Vpn, from: WalkFrom) -> Result<(), Violation> {
        let Some(frame) = self.find_leaf(cpu, page, from)? else {
            return Ok(());
        };
        if self.frame(frame).kind != FrameKind::Data {
            return Err(Violation::MappedNoData { cpu, page, frame });
        }
        self.cpu_mut(cpu).tlb[page.0 as usize] = Some(Translation { frame, is_stale: false });
        Ok(())
    }

    fn table_from_root(&self, cpu: CpuId, index: usize) -> Result<Option<Pfn>, Violation> {
        let Some(root) = self.cpu(cpu).root else {
            return Ok(None);
        };
        match self.walker_reads(cpu, root, index, Tiny::ROOT)? {
            Entry::Table(table) => Ok(Some(table.0)),
            Entry::Absent | Entry::Leaf(_) => Ok(None),
        }
    }

    fn find_leaf(&self, cpu: CpuId, page: Vpn, from: WalkFrom) -> Result<Option<Pfn>, Violation> {
        let index = page.index::<Tiny>(Tiny::ROOT);
        let table = match from {
            WalkFrom::Root => self.table_from_root(cpu, index)?,
            WalkFrom::Cache => self.cpu(cpu).walk_cache[index],
        };
        let Some(table) = table else {
            return Ok(None);
        };
        match self.walker_reads(cpu, table, page.index::<Tiny>(Level::LEAF), Level::LEAF)? {
            Entry::Leaf(frame) => Ok(Some(frame)),
            Entry::Absent | Entry::Table(_) => Ok(None),
        }
    }

    fn walker_reads(&self, cpu: CpuId, table: Pfn, index: usize, level: Level) -> Result<Entry, Violation> {
        let frame = self.frame(table);
        if frame.kind != FrameKind::Table {
            return Err(Violation::WalkedNoTable { cpu, frame: table });
        }
        Ok(Tiny::decode(u64::from(frame.entries[index]), level))
    }
}
