//! The innermost loop: clearing entries that lie one after the other in a table.

use super::{Area, Gather, Rmap, Unhooked, company, pages::Room, release::release_run};
use crate::{
    addr::{Level, Pfn, Vpn},
    cpu::CpuGeometry,
    fix::Fix,
    format::{Attributes, Entry, EntryFormat},
    frame::{FrameRun, FrameSink},
    machine::Machine,
    policy::Policy,
    residency::Space,
    table::{Stretch, TablesGuard},
};

impl<M: Machine, S: FrameSink<M>> Gather<'_, M, S> {
    /// Returns how many of the entries it has gone through when there is no more room.
    #[inline]
    pub(super) fn unhook_stretch(
        &mut self,
        tables: &TablesGuard<'_, M>,
        stretch: &Stretch,
        goes: Goes,
        each: &mut impl FnMut(&Unhooked) -> Rmap,
    ) -> usize {
        let mut n_done = 0;
        let mut n_leaves = stretch.n_leaves;
        while n_done < stretch.n_entries && self.has_room_for(goes) {
            self.flush_other_sizes(stretch.level);
            let mut clearing = Clearing {
                m: self.m,
                space: self.space,
                sink: self.sink,
                is_live: &mut self.is_live,
                tables,
                stretch,
                goes,
                room: self.pages.room(),
                each,
                n_leaves,
                cleared: Cleared::default(),
            };
            n_done = clearing.clear_from(n_done);
            let Clearing { room, cleared, .. } = clearing;
            n_leaves -= cleared.n;
            let filled = room.filled();
            self.pages.fill(filled);
            self.record_cleared(tables, stretch, &cleared);
        }
        n_done
    }

    /// Flushes what was recorded of other page sizes, where one flush must not be about several.
    #[inline]
    pub(super) fn flush_other_sizes(&mut self, level: Level) {
        if self.stale.is_some_and(|stale| !stale.may_be_flushed_with::<M::Policy>(level)) {
            self.flush_translations();
        }
    }

    /// Tells whether there is room for what goes there.
    #[inline]
    pub(super) fn has_room_for(&mut self, goes: Goes) -> bool {
        goes != Goes::ToRoom || self.has_room()
    }

    pub(super) fn where_frames_go(&self) -> Goes {
        if self.area == Area::Uncounted {
            Goes::Nowhere
        } else if M::Policy::CLEARING_FLUSHES || !self.m.keeps(Fix::FlushBeforeFree) {
            Goes::Away
        } else {
            Goes::ToRoom
        }
    }

    #[inline]
    fn record_cleared(&mut self, tables: &TablesGuard<'_, M>, stretch: &Stretch, cleared: &Cleared) {
        if cleared.n == 0 {
            return;
        }
        tables.entries_removed(stretch.table, cleared.n);
        if !M::Policy::CLEARING_FLUSHES {
            self.record(stretch.stale::<M::Format>(cleared.first..=cleared.last, cleared.any_executable));
        }
    }
}

/// Where frames go whose translations were cleared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Goes {
    /// Into custody.
    ToRoom,
    /// To the sink at once.
    Away,
    /// Nowhere: they are not ours, or stay with who unhooks them.
    Nowhere,
}

/// What was cleared of a stretch.
#[derive(Clone, Copy, Default)]
struct Cleared {
    n: u64,
    first: usize,
    last: usize,
    any_executable: bool,
}

/// Entries that were cleared and leave the gather together, or none yet.
struct Run {
    first: usize,
    count: u64,
    frame: Pfn,
    // The first one as it was cleared.
    raw: u64,
    // The last one as it was found.
    last_raw: u64,
    // What hardware noted in the others between the look and the clearing.
    late: Attributes,
}

impl Run {
    #[inline]
    fn beginning(first: usize, frame: Pfn) -> Run {
        Run { first, count: 0, frame, raw: 0, last_raw: 0, late: Attributes::default() }
    }

    #[inline]
    fn add<F: EntryFormat>(&mut self, found: u64, cleared: u64) {
        if self.count == 0 {
            self.raw = cleared;
        } else if found != cleared {
            let Attributes { accessed, dirty, .. } = F::attributes(cleared);
            self.late.accessed |= accessed;
            self.late.dirty |= dirty;
        }
        self.last_raw = found;
        self.count += 1;
    }

    #[inline]
    fn attributes<F: EntryFormat>(&self) -> Attributes {
        let attributes = F::attributes(self.raw);
        Attributes {
            accessed: attributes.accessed | self.late.accessed,
            dirty: attributes.dirty | self.late.dirty,
            ..attributes
        }
    }
}

/// Clearing a stretch of entries into a piece of room.
struct Clearing<'c, M: Machine, S, E> {
    m: &'c M,
    space: &'c Space<M>,
    sink: &'c S,
    is_live: &'c mut bool,
    tables: &'c TablesGuard<'c, M>,
    stretch: &'c Stretch,
    goes: Goes,
    room: Room<'c>,
    each: &'c mut E,
    // No more than this are still there.
    n_leaves: u64,
    cleared: Cleared,
}

impl<M: Machine, S: FrameSink<M>, E: FnMut(&Unhooked) -> Rmap> Clearing<'_, M, S, E> {
    /// Goes on at an entry as long as there is room; returns where it stopped.
    #[inline]
    fn clear_from(&mut self, mut index: usize) -> usize {
        let level = self.stretch.level;
        let mut run = Run::beginning(index, Pfn(0));
        while index < self.stretch.n_entries {
            if self.cleared.n == self.n_leaves {
                index = self.stretch.n_entries;
                break;
            }
            let at = self.stretch.at(index);
            let (raw, Entry::Leaf(frame)) = self.tables.entry(at, level) else {
                index += 1;
                continue;
            };
            if !self.goes_on(&run, index, raw, frame) {
                self.hold(&run);
                if self.goes == Goes::ToRoom && !self.room.is_enough() {
                    return index;
                }
                run = Run::beginning(index, frame);
            }
            if self.cleared.n == 0 {
                company::become_live(self.m, self.space, self.is_live);
                self.cleared.first = index;
            }
            run.add::<M::Format>(raw, self.tables.clear(at, raw));
            self.cleared.n += 1;
            self.cleared.last = index;
            index += 1;
        }
        self.hold(&run);
        index
    }

    /// Tells whether an entry continues the run.
    #[inline]
    fn goes_on(&self, run: &Run, index: usize, raw: u64, frame: Pfn) -> bool {
        run.count > 0
            && self.stretch.level == Level::LEAF
            && index == run.first + run.count as usize
            && M::Format::continues(run.last_raw, raw)
            && self.m.may_join(Pfn(frame.0 - 1), frame)
    }

    #[inline]
    fn hold(&mut self, run: &Run) {
        if run.count == 0 {
            return;
        }
        let (level, page) = (self.stretch.level, self.stretch.page::<M::Format>(run.first));
        let attributes = run.attributes::<M::Format>();
        self.cleared.any_executable |= attributes.executable;
        for index in 0..run.count {
            self.m.unhooked(self.space.id(), Vpn(page.0 + index * level.pages::<M::Format>()), level);
        }
        let mut rmap = (self.each)(&Unhooked { page, level, frame: run.frame, count: run.count, attributes });
        let frames = FrameRun::regain(run.frame, run.count, level);
        let may_delay = M::Policy::DELAYS_RMAP && <M::Cpus as CpuGeometry>::CPUS > 1;
        if rmap == Rmap::Delayed && !(may_delay && self.m.keeps(Fix::DelayRmap)) {
            self.sink.remove_rmap(self.m, &frames);
            rmap = Rmap::Now;
        }
        match self.goes {
            Goes::ToRoom => self.room.push_run(&frames, rmap),
            Goes::Away => {
                if rmap == Rmap::Delayed {
                    self.sink.remove_rmap(self.m, &frames);
                }
                release_run(self.m, self.sink, frames);
            }
            Goes::Nowhere => {}
        }
    }
}
