//! Tables of large pages that address spaces which map the same part of an object have together, as of a huge-page file
//! system.
//!
//! A fault that finds no table looks in the reverse map who has one ([`AddressSpace::share_table`]). Whoever is about to change
//! translations of such an area, or where it ends, leaves its tables first and withholds it from the others
//! ([`AddressSpace::leave_tables`]), under one hold of the reverse map; when all is done it is offered again.
//!
//! Such pages are memory, and never read in or written out: write-back and reclaim do not come by here, nor does who looks at
//! private mappings only, as fork and [`age`](AddressSpace::age) do.

use shootdown::{Level, Vpn, VpnRange, share::Unsharing};

use crate::{
    address_space::{AddressSpace, Layout, PageGather, Program, space_of},
    areas::{Areas, Place},
    memory::Memory,
    vma::Vma,
};

impl<M: Program> AddressSpace<M> {
    /// Takes in the table of `level` that some area has for the same pages as `area` at `page`, if none is here. The layout
    /// is locked, so none comes meanwhile.
    #[doc(alias = "huge_pmd_share")]
    pub(crate) fn share_table<S>(
        &self,
        m: &M,
        memory: &Memory<M, S>,
        (area, vma): (VpnRange, &Vma),
        level: Level,
        page: Vpn,
    ) {
        let mut table = Level(level.0 + 1).span::<M::Format>(page);
        let n_wanted = self.habits.large_tables.n_taken_in();
        if n_wanted == 0 || !area.covers(table) || !self.space(m).lock(m).lacks_table(page, level) {
            return;
        }
        let map = memory.areas.lock(m);
        for _ in 0..n_wanted {
            // One page-table lock, and then the other.
            let mut places = map.tables_like(self.id(), table, vma);
            let offer = places
                .find_map(|Place { space, page: there, .. }| space_of(m, space).lock(m).offer(there, level, &map));
            // Without memory for the tables above whoever maps the page will say so; and a later one may be there already.
            let is_taken_in = offer.is_some_and(|offer| self.space(m).lock(m).accept(table.start, offer).is_ok());
            table = VpnRange::from_len(table.end, table.n_pages());
            if !is_taken_in || !area.covers(table) {
                return;
            }
        }
    }

    /// Leaves the tables of `range` that others have, too. When this returns, nobody reaches them by way of this address space,
    /// and nobody takes in another one until they are [offered](Self::offer_tables) again: translations of `range` are
    /// changed under the page-table lock.
    #[doc(alias = "hugetlb_unshare_pmds")]
    pub(crate) fn leave_tables(
        &self,
        m: &M,
        areas: &Areas<M>,
        gather: &mut PageGather<'_, M>,
        layout: &Layout,
        range: VpnRange,
    ) {
        if !may_have_shared_tables::<M>(layout, range) {
            return;
        }
        let with_tables = || pieces_with_tables::<M>(layout, range);
        let mut unsharing = Unsharing::begin(areas.lock(m));
        let mut tables = self.space(m).lock(m);
        for (piece, _, level) in with_tables() {
            gather.unshare(&mut tables, piece, level, &mut unsharing);
        }
        drop(tables);
        let mut map = unsharing.settle(gather);
        for (piece, vma, _) in with_tables() {
            map.withhold(self.id(), piece, vma);
        }
    }

    /// Lets others take in tables again of the areas that reach into `range`.
    pub(crate) fn offer_tables(&self, m: &M, areas: &Areas<M>, layout: &Layout, range: VpnRange) {
        if !layout.may_share_tables {
            return;
        }
        let mut map = None;
        for (piece, _, _) in pieces_with_tables::<M>(layout, range) {
            // Whole: who asks for a table wants to find all of it in one area.
            if let Some((area, vma)) = layout.areas.get_key_value(&piece.start.0) {
                let map = map.get_or_insert_with(|| areas.lock(m));
                map.offer(self.id(), VpnRange::new(Vpn(area.start), Vpn(area.end)), vma);
            }
        }
    }
}

/// Tells whether there is an area in `range` that may have tables together with others.
#[inline]
pub(crate) fn may_have_shared_tables<M: Program>(layout: &Layout, range: VpnRange) -> bool {
    // Most address spaces never have one, and then nothing is looked for.
    layout.may_share_tables && pieces_with_tables::<M>(layout, range).next().is_some()
}

/// The parts of areas in `range` that may have tables together with others, and the level of these.
fn pieces_with_tables<M: Program>(layout: &Layout, range: VpnRange) -> impl Iterator<Item = (VpnRange, &Vma, Level)> {
    layout.areas.overlapping(range.start.0..range.end.0).filter_map(move |(area, vma)| {
        let level = vma.shared_tables::<M::Format>()?;
        let piece = VpnRange::new(Vpn(area.start), Vpn(area.end)).intersection(range);
        (!piece.is_empty()).then_some((piece, vma, level))
    })
}
