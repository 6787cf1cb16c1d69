//! Taking translations out: unhook → flush → free, in this order, with the frames in custody in between.
//!
//! A [`Gather`] collects what was unhooked from one address space and what must be invalidated for it, flushes once, and
//! only then hands the frames on. It never fails: eight slots are its own, batch pages are taken while they can be had,
//! and when neither is left it flushes and goes on.

mod area;
mod clear;
mod collapse;
mod company;
mod pages;
mod release;
mod relocate;
mod replace;
mod tables;
mod unhook;
mod unshare;

pub use area::Area;
pub use collapse::NotResized;
pub use pages::MAX_BATCHES;
use pages::{Held, Pages};
pub(crate) use release::release_run;
use tables::Tables;
pub use tables::{UnlinkedTables, WaitingTables};
pub use unhook::{Rmap, Unhooked, WhenLooser};

use crate::{
    addr::VpnRange,
    counters::Counter,
    frame::FrameSink,
    machine::{Machine, Strength},
    notify::{self, MaySleep, WouldSleep},
    residency::Space,
    retire::Retired,
    stale::Stale,
    walk::WalksEnded,
};

/// What a gather may be about if it does not say.
const EVERYTHING: VpnRange = Stale::EVERYTHING.range;

/// Unhooked frames and tables of one address space that wait for their flush.
///
/// Dropping or forgetting it leaks what it holds and never frees it early; call [`finish`](Gather::finish).
///
/// ```
/// use shootdown::{FrameSink, Gather, Machine, Rmap, Space, VpnRange};
/// /// Unmaps a range and returns when no CPU can reach its frames any more.
/// fn unmap<M: Machine>(m: &M, space: &Space<M>, range: VpnRange, sink: &impl FrameSink<M>) {
///     let mut gather = Gather::new(m, space, sink);
///     gather.unmap(range, |_| Rmap::Now);
///     gather.unhook_tables(&mut space.lock(m), range, range);
///     gather.finish();
/// }
/// ```
/// It cannot be finished twice:
/// ```compile_fail,E0382
/// fn twice<M: shootdown::Machine>(gather: shootdown::Gather<'_, M, impl shootdown::FrameSink<M>>) {
///     gather.finish();
///     gather.finish();
/// }
/// ```
#[doc(alias = "mmu_gather")]
#[must_use = "a gather that is not finished leaks what it holds"]
pub struct Gather<'a, M: Machine, S: FrameSink<M>> {
    m: &'a M,
    space: &'a Space<M>,
    sink: &'a S,
    stale: Option<Stale>,
    pages: Pages<M>,
    tables: Tables<M>,
    area: Area,
    // Nobody uses the address space any more.
    is_exiting: bool,
    // It is one of the address space's live gathers.
    is_live: bool,
    // Since the last table was taken out.
    walks_ended: Option<WalksEnded>,
    // Tables were left, and the file map is still locked.
    is_unsettled: bool,
    // Tables that were left to one address space, in which others may still walk.
    n_owed: u64,
    // What range listeners were told will change.
    announced: VpnRange,
}

impl<'a, M: Machine, S: FrameSink<M>> Gather<'a, M, S> {
    /// Begins to take translations out of `space`. Frames go to `sink` after their flush.
    ///
    /// # Context
    /// The context of [`Space::flush`] must hold until [`finish`](Gather::finish), on the same CPU or not. Where the address space
    /// has [range listeners](crate::notify::RangeListener), which are told here that all of it may change, they may sleep.
    pub fn new(m: &'a M, space: &'a Space<M>, sink: &'a S) -> Self {
        Gather::within(m, space, EVERYTHING, sink)
    }

    /// The same, and nothing outside of `pages` will change: so range listeners keep what they have of the rest.
    ///
    /// # Context
    /// As [`new`](Gather::new).
    #[doc(alias = "mmu_notifier_invalidate_range_start")]
    pub fn within(m: &'a M, space: &'a Space<M>, pages: VpnRange, sink: &'a S) -> Self {
        match notify::begin(m, space, pages, MaySleep::Yes) {
            Ok(()) => Gather::announced(m, space, pages, sink),
            Err(WouldSleep) => panic!("a listener that may sleep says that it must not"),
        }
    }

    /// The same where range listeners must not sleep.
    ///
    /// # Context
    /// As [`new`](Gather::new), and for those who reclaim memory or hold locks.
    ///
    /// # Errors
    /// [`WouldSleep`], if one would have to. Nothing has changed.
    pub fn try_within(m: &'a M, space: &'a Space<M>, pages: VpnRange, sink: &'a S) -> Result<Self, WouldSleep> {
        notify::begin(m, space, pages, MaySleep::No)?;
        Ok(Gather::announced(m, space, pages, sink))
    }

    fn announced(m: &'a M, space: &'a Space<M>, pages: VpnRange, sink: &'a S) -> Self {
        m.count(Counter::Gather, 1);
        Gather {
            m,
            space,
            sink,
            stale: None,
            pages: Pages::new(),
            tables: Tables::new(),
            area: Area::Counted,
            is_exiting: false,
            is_live: false,
            walks_ended: None,
            is_unsettled: false,
            n_owed: 0,
            announced: pages,
        }
    }

    /// Begins to take apart an address space that had its last user. As long as no table is unhooked it tells no TLB: what
    /// CPUs remember of the address space they do not use, and drop before they use its id or its tag for anything else.
    ///
    /// # Context
    /// As [`new`](Gather::new).
    #[doc(alias = "tlb_gather_mmu_fullmm")]
    pub fn exiting(m: &'a M, retired: &Retired<'a, M>, sink: &'a S) -> Self {
        // There are no listeners any more.
        Gather { is_exiting: true, ..Gather::new(m, retired.space(), sink) }
    }

    /// Makes the next flush at least this strong, if there is one.
    ///
    /// Nothing in this crate needs it: it is for a kernel that wants CPUs told which the law would leave alone.
    pub fn strengthen(&mut self, strength: Strength) {
        if let Some(stale) = &mut self.stale {
            stale.strength = stale.strength.max(strength);
        }
    }

    fn record(&mut self, stale: Stale) {
        let is_announced = self.announced.covers(stale.range) || stale.strength == Strength::Full;
        debug_assert!(is_announced, "{:?} change, of which nobody was told", stale.range);
        self.stale = Some(self.stale.map_or(stale, |other| other.join(stale)));
    }

    /// Flushes what was recorded, if anything was. What is held stays.
    ///
    /// # Context
    /// As [`Space::flush`].
    #[doc(alias = "tlb_flush_mmu_tlbonly")]
    pub fn flush_translations(&mut self) {
        let Some(stale) = self.stale.take() else {
            return;
        };
        if self.is_exiting && stale.strength == Strength::Leaf {
            self.m.count(Counter::FlushSpared, 1);
        } else if let Some(proof) = self.space.flush(self.m, stale) {
            self.walks_have_ended(proof);
        }
    }

    /// The flush has done what would be waited for.
    fn walks_have_ended(&mut self, proof: WalksEnded) {
        self.walks_ended = Some(proof);
        if self.n_owed > 0 && self.m.flushes_end_walks() {
            self.n_owed = 0;
            self.m.count(Counter::QuiescenceImplied, 1);
        }
    }

    /// Flushes what was recorded, if anything was, and then lets go of everything held.
    ///
    /// # Context
    /// As [`Space::flush`]; the sink is called in it. May be called under the page-table lock.
    #[doc(alias = "tlb_flush_mmu")]
    pub fn flush(&mut self) {
        self.flush_translations();
        self.settle();
        self.release(release::Resched::Never);
    }

    /// Flushes and lets go for the last time.
    ///
    /// If another gather of the address space is under way, or reclaim owes it a flush, this one flushes everything: an entry that it found absent may
    /// be one that the others have cleared and not flushed, and who called us relies on it being gone.
    ///
    /// # Context
    /// As [`Space::flush`]; the sink is called in it. No page-table lock may be held where [`Machine::resched`] does
    /// anything.
    ///
    /// # Ordering
    /// Pairs: `gather/gather`, `reclaim/finish`.
    ///
    /// # Panics
    /// If tables were [unshared](Gather::unshare), and that is not [settled](crate::share::Unsharing::settle).
    #[doc(alias = "tlb_finish_mmu")]
    pub fn finish(mut self) {
        assert!(!self.is_unsettled, "tables were left, and what is owed for that was not paid");
        let debt = self.space.reclaimed.debt(self.m);
        let pays = self.flush_for_others(&debt);
        self.flush_translations();
        self.settle();
        notify::end(self.m, self.space, self.announced);
        if pays {
            self.space.reclaimed.pay(self.m, &debt);
        }
        self.release(release::Resched::BetweenChunks);
        self.stop_being_live();
    }
}
