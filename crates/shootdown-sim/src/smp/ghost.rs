//! What the machine knows that no real one does: who may reach what, and whether nothing got lost.

use shootdown::{CpuId, EntryAt, EntryFormat, Level, Pfn, TableFrame, Vpn, VpnRange, arch::tiny::Tiny};

use super::{
    FRAMES,
    frame::{Frame, FrameKind, led_to},
    hardware::Hardware,
    operation::Location,
    tlb::{Standing, Translation},
    violation::Violation,
    walk::{table_in, translation},
};

impl Hardware {
    /// Takes a table back. No walker may be able to go there, also not one of a lazy CPU.
    pub(super) fn free_table(&mut self, table: Pfn) -> Result<(), Violation> {
        self.free(table, FrameKind::Table)?;
        for (number, cpu) in (0..).zip(&mut self.cpus) {
            if cpu.root() == Some(table) || cpu.tlb().points_at(table) {
                return Err(Violation::WalkerInFreedTable { cpu: CpuId(number), table });
            }
            cpu.other_tlbs().for_each(|(_, tlb)| tlb.mark_freed_table(table));
        }
        Ok(())
    }

    /// Takes what a leaf of this level maps back, whether it was taken as one or frame by frame.
    pub(super) fn free_data(&mut self, first: Pfn, level: Level) -> Result<(), Violation> {
        let n_frames = level.pages::<Tiny>();
        if !first.0.is_multiple_of(n_frames) || first.0 + n_frames > FRAMES as u64 {
            return Err(Violation::WrongFree { frame: first });
        }
        (first.0..first.0 + n_frames).map(Pfn).try_for_each(|frame| self.free_data_frame(frame))
    }

    /// Takes a data frame back. No CPU that runs user code may be able to go there; others must forget it before they do.
    fn free_data_frame(&mut self, frame: Pfn) -> Result<(), Violation> {
        if self.is_dirt_lost(frame) {
            return Err(Violation::LostStore { frame });
        }
        self.free(frame, FrameKind::Data)?;
        for (number, cpu) in (0..).zip(&mut self.cpus) {
            let is_stale = |to: &Translation| to.frame == frame && to.standing != Standing::Freed;
            let stale = cpu.tlb().translations().find(|(_, to)| is_stale(to));
            if let Some((page, _)) = stale.filter(|_| cpu.runs_user) {
                return Err(Violation::StaleAtFree { cpu: CpuId(number), page, frame });
            }
            cpu.tlbs.iter_mut().for_each(|tlb| tlb.mark_freed(frame));
        }
        Ok(())
    }

    fn free(&mut self, frame: Pfn, kind: FrameKind) -> Result<(), Violation> {
        let place = self.frame_mut(frame);
        if place.kind == FrameKind::Free {
            return Err(Violation::DoubleFree { frame });
        }
        if place.kind.is_table() != kind.is_table() {
            return Err(Violation::WrongFree { frame });
        }
        *place = Frame::default();
        Ok(())
    }

    /// Writes a data frame back: its owner learns what user code has stored until now, and nothing of what comes after.
    pub(super) fn write_back(&mut self, frame: Pfn) {
        let frame = self.frame_mut(frame);
        frame.is_written = false;
        frame.is_noted_dirty = false;
    }

    /// Copies a data frame: what user code has stored in it until now is in the other one too, and nothing of what comes
    /// after. Its owner knows of the copy what he knew of it; what its entry knew the other's entry has to say.
    pub(super) fn copy(&mut self, from: Pfn, to: Pfn) {
        let is_written = std::mem::take(&mut self.frame_mut(from).is_written);
        let is_noted_dirty = self.frame(from).is_noted_dirty;
        let to = self.frame_mut(to);
        to.is_written |= is_written;
        to.is_noted_dirty |= is_noted_dirty;
    }

    /// Checks that no CPU can go to `pages` in a way that the tables, as `cpu` sees them, do not allow.
    ///
    /// A CPU that runs no user code may remember such a way until it does.
    ///
    /// # Panics
    /// If `cpu` has no root loaded: then nobody knows which pages are meant.
    pub(super) fn promise(&mut self, cpu: CpuId, pages: VpnRange) -> Result<(), Violation> {
        let root = self.cpu(cpu).root().expect("a promise is about the loaded address space");
        let pages = pages.intersection(Tiny::REACH);
        for page in (pages.start.0..pages.end.0).map(Vpn) {
            let allowed = self.leaf_seen_by(cpu, TableFrame(root), page);
            for other in (0..self.config.cpus as u16).map(CpuId) {
                if self.cpu(other).root() == Some(root) {
                    self.promise_about(other, page, allowed)?;
                }
                let tags = self.cpu_mut(other).other_tlbs().filter(|(of, _)| *of == Some(root));
                tags.for_each(|(_, tlb)| tlb.mark_revoked(page, |to| is_beyond(to, allowed)));
            }
        }
        Ok(())
    }

    /// What loads of `cpu` find in the tables, its own stores included.
    fn leaf_seen_by(&self, cpu: CpuId, root: TableFrame, page: Vpn) -> Option<Translation> {
        let read = |table: TableFrame, level: Level| {
            self.peek_from(cpu, Location::Entry(EntryAt { table, index: page.index::<Tiny>(level) }))
        };
        let at_root = read(root, Tiny::ROOT);
        match table_in(at_root) {
            Some(table) => translation(read(TableFrame(table), Level::LEAF), Level::LEAF, page),
            None => translation(at_root, Tiny::ROOT, page),
        }
    }

    fn promise_about(&mut self, cpu: CpuId, page: Vpn, allowed: Option<Translation>) -> Result<(), Violation> {
        let is_beyond = |to: &Translation| is_beyond(to, allowed);
        // What walks can find now would be remembered as good.
        for walked in self.walks(cpu, page) {
            if walked?.leaf().is_some_and(|found| is_beyond(&found.translation)) {
                return Err(Violation::StaleAfterReturn { cpu, page });
            }
        }
        if self.cpu(cpu).runs_user && self.cpu(cpu).tlb().of_page(page).any(|to| is_beyond(&to)) {
            return Err(Violation::StaleAfterReturn { cpu, page });
        }
        self.cpu_mut(cpu).tlb_mut().mark_revoked(page, is_beyond);
        Ok(())
    }

    /// Tells whether some CPU remembers a translation that the tables in memory no longer give it.
    #[must_use]
    pub fn remembers_stale(&self) -> bool {
        (0..self.config.cpus as u16).map(CpuId).any(|cpu| {
            let state = self.cpu(cpu);
            state.root().is_some_and(|root| {
                state.tlb().translations().any(|(page, to)| {
                    let allowed = self.leaf_seen_by(cpu, TableFrame(root), page);
                    !allowed.is_some_and(|allowed| to.is_within(&allowed))
                })
            })
        })
    }

    /// Checks what must hold when all code has come to its end.
    ///
    /// # Errors
    /// The [`Violation`] that is left behind.
    pub fn check_end(&self) -> Result<(), Violation> {
        for (number, frame) in (0..).zip(&self.frames) {
            let number = Pfn(number);
            let mut leaves = self.entries_to(number);
            let is_mapped = self.entries_to(number).next().is_some();
            if frame.kind != FrameKind::Free && frame.was_mapped && !is_mapped {
                return Err(Violation::Leaked { frame: number });
            }
            if self.is_dirt_lost(number) && !leaves.any(|raw| Tiny::attributes(raw).dirty) {
                return Err(Violation::LostStore { frame: number });
            }
        }
        Ok(())
    }

    fn is_dirt_lost(&self, frame: Pfn) -> bool {
        let frame = self.frame(frame);
        frame.is_written && !frame.is_noted_dirty
    }

    /// The entries in memory that lead to `frame`.
    fn entries_to(&self, frame: Pfn) -> impl Iterator<Item = u64> + '_ {
        let tables = self.frames.iter().filter(|table| table.kind.is_table());
        tables.flat_map(move |table| {
            let entries = table.entries.into_iter().map(u64::from);
            entries.filter(move |raw| led_to(*raw, table.level()).contains(&frame.0))
        })
    }
}

/// Tells whether a translation gives more than the tables do.
fn is_beyond(to: &Translation, allowed: Option<Translation>) -> bool {
    !allowed.is_some_and(|allowed| to.is_within(&allowed))
}
