//! Tables that are taken out of kernel space for large pages to take their places.
//!
//! Who reads kernel tables takes no lock for it: other CPUs' walkers, which cache pointers to them, and software that asks how
//! an address is mapped. So a table is freed when its entry was cleared, every CPU has dropped its pointers, and walks have ended.

use super::{Sealed, Sharing};
use crate::{
    addr::{Level, Pfn, TableFrame, Vpn, VpnRange},
    fix::Fix,
    flush::flush_kernel,
    format::{Entry, EntryFormat},
    machine::{Machine, Strength},
    stale::Stale,
    table::{TablesGuard, UnlinkedTable},
    walk,
};

/// Tables that wait for a flush without memory for more.
const FEW_TABLES: usize = 8;

/// Tables that were unlinked, and what must be flushed before they are freed.
struct Outgoing<M: Machine> {
    few: [u64; FEW_TABLES],
    more: Option<M::Batch>,
    n: usize,
    stale: Option<Stale>,
}

impl<M: Machine> Sealed<'_, M> {
    /// Takes out the tables that are in the way of pages of `level` in `pages`, in which nothing is mapped; tells whether there
    /// were some. Those that reach beyond `pages` stay, and so do tables of slots.
    #[doc(alias("pmd_free_pte_page", "pud_free_pmd_page"))]
    pub(super) fn take_out_tables(&self, tables: &mut TablesGuard<'_, M>, pages: VpnRange, level: Level) -> bool {
        let m = tables.machine();
        let mut outgoing = Outgoing::<M> { few: [0; FEW_TABLES], more: m.alloc_batch(), n: 0, stale: None };
        let mut took_some = false;
        let has_slots = self.kernel.sharing != Sharing::OneRoot;
        let highest = if has_slots { level.min(Level(M::Format::ROOT.0 - 1)) } else { level };
        // Those of the lowest level first, so that the ones above are empty.
        for level in (Level::LEAF.0 + 1..=highest.0).map(Level) {
            let mut page = Vpn(pages.start.0.next_multiple_of(level.pages::<M::Format>()));
            while pages.covers(level.span::<M::Format>(page)) {
                if let Some(table) = take_out(tables, page, level) {
                    outgoing.push(m, &table, Stale::table(page, level));
                    took_some = true;
                }
                page = level.span::<M::Format>(page).end;
            }
        }
        outgoing.free(m);
        took_some
    }
}

/// Takes out the table that the entry of `level` for `page` leads to, if it does, and nothing is in it.
fn take_out<M: Machine>(tables: &TablesGuard<'_, M>, page: Vpn, level: Level) -> Option<UnlinkedTable> {
    match tables.entry_above(page, level)? {
        (at, found, Entry::Table(table)) if found == level && tables.is_empty(table) => {
            let (raw, _) = tables.entry(at, level);
            Some(tables.unlink(at, raw, table))
        }
        _ => None,
    }
}

impl<M: Machine> Outgoing<M> {
    fn room(&mut self) -> &mut [u64] {
        self.more.as_mut().map_or(&mut self.few, |batch| batch.as_mut())
    }

    fn push(&mut self, m: &M, table: &UnlinkedTable, stale: Stale) {
        if self.n == self.room().len() {
            self.free(m);
        }
        let n = self.n;
        self.room()[n] = table.frame().0.0;
        self.n += 1;
        self.stale = Some(self.stale.map_or(stale, |others| others.join(stale)));
    }

    fn free(&mut self, m: &M) {
        let Some(stale) = self.stale.take() else { return };
        let strength = if m.keeps(Fix::DropWalkCaches) { stale.strength } else { Strength::Leaf };
        let walks_ended = walk::end_walks(m, flush_kernel(m, Stale { strength, ..stale }));
        let n = core::mem::take(&mut self.n);
        for frame in &self.room()[..n] {
            UnlinkedTable::regain(TableFrame(Pfn(*frame))).quiesced(walks_ended).free(m);
        }
    }
}
