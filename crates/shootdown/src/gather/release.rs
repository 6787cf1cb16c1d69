//! Letting go of what a gather holds, when its flush is complete.

use super::{Gather, Held, tables};
use crate::{
    counters::Counter,
    fix::Fix,
    frame::{FrameRun, FrameSink},
    machine::Machine,
    policy::{Policy, TableCustody},
    table::UnlinkedTable,
    walk::{self, WalksEnded},
};

/// Where others may be let run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resched {
    /// Nowhere: a lock may be held.
    Never,
    /// After each chunk.
    BetweenChunks,
}

impl<M: Machine, S: FrameSink<M>> Gather<'_, M, S> {
    /// Lets go of everything held, early.
    pub(super) fn flush_for_room(&mut self, resched: Resched) {
        if self.m.keeps(Fix::FlushWithoutRoom) {
            self.flush_translations();
        }
        if !self.m.keeps(Fix::OweUntilSettled) {
            self.n_owed = 0;
        }
        self.settle();
        self.release(resched);
    }

    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        self.pages.reserve(self.m)
    }

    /// Makes sure that a table can be held.
    pub(super) fn make_room_for_table(&mut self) {
        let is_full = match M::Policy::TABLES {
            TableCustody::WithPages => !self.has_room(),
            TableCustody::OwnBatch | TableCustody::Deferred => self.tables.is_full(),
        };
        if is_full {
            self.flush_for_room(Resched::Never);
        }
    }

    /// Takes custody of a table whose entry was recorded. If there is no room for it, it goes alone.
    pub(super) fn hold_table(&mut self, table: UnlinkedTable) {
        let m = self.m;
        self.walks_ended = None;
        if !m.keeps(Fix::FlushBeforeFree) {
            tables::free(m, table.quiesced(WalksEnded::new()));
        } else if M::Policy::TABLES == TableCustody::WithPages {
            self.pages.push_table(&table);
        } else if self.tables.reserve(m) {
            self.tables.push(&table);
        } else {
            if m.keeps(Fix::FlushWithoutRoom) {
                self.flush_translations();
            }
            let proof =
                if M::Policy::TABLES == TableCustody::Deferred { walk::quiesce_all(m) } else { self.end_walks() };
            tables::free(m, table.quiesced(proof));
        }
    }

    /// Waits for walks that take no lock, unless the flush has ended them.
    fn end_walks(&mut self) -> WalksEnded {
        let proof = walk::end_walks(self.m, self.walks_ended);
        self.walks_ended = Some(proof);
        proof
    }

    /// Takes what was delayed out of the reverse map.
    pub(super) fn settle(&mut self) {
        if self.pages.has_delayed() {
            self.flush_translations();
            let (m, sink) = (self.m, self.sink);
            self.pages.settle(|run| sink.remove_rmap(m, run));
        }
    }

    /// Lets go of everything held; it was flushed.
    pub(super) fn release(&mut self, resched: Resched) {
        let (m, sink) = (self.m, self.sink);
        let mut chunk = Chunk { resched, n: 0 };
        let tables = self.tables.take();
        if M::Policy::TABLES == TableCustody::Deferred {
            if let Some(tables) = tables {
                chunk.n = tables.count() as u64;
                m.defer(tables);
            }
        } else if let Some(tables) = tables {
            let proof = self.end_walks();
            chunk.n = tables.count() as u64;
            tables.free_quiescent(m, proof);
        }
        // Only where tables are among the pages.
        let proof = if self.pages.has_tables() { self.end_walks() } else { WalksEnded::new() };
        self.pages.drain(|held| {
            chunk.make_room(m, cost::<M>(&held));
            match held {
                Held::Run(run, _) => release_run(m, sink, run),
                Held::Table(table) => tables::free(m, table.quiesced(proof)),
            }
        });
        chunk.end(m);
    }
}

/// Gives frames away whose flush is complete.
#[inline]
pub(crate) fn release_run<M: Machine>(m: &M, sink: &impl FrameSink<M>, run: FrameRun) {
    m.count(Counter::PageReleased, run.count());
    sink.release(m, run);
}

/// How much of a chunk it takes.
fn cost<M: Machine>(held: &Held) -> u64 {
    match held {
        Held::Run(run, _) if M::Policy::RELEASE_COUNTS_PAGES => run.count() * run.level().pages::<M::Format>(),
        Held::Run(run, _) => 1 + u64::from(run.count() > 1),
        Held::Table(_) => 1,
    }
}

/// What was let go of since the last resched point.
struct Chunk {
    resched: Resched,
    n: u64,
}

impl Chunk {
    fn make_room<M: Machine>(&mut self, m: &M, cost: u64) {
        if self.n + cost > M::Policy::RELEASE_CHUNK {
            self.end(m);
        }
        self.n += cost;
    }

    fn end<M: Machine>(&mut self, m: &M) {
        if self.resched == Resched::BetweenChunks && self.n > 0 {
            m.resched();
        }
        self.n = 0;
    }
}
