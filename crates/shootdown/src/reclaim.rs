//! Taking pages away from whoever maps them, to free memory: many pages, of many address spaces, and few flushes.
//!
//! A [`Reclaim`] clears entries under the page-table lock and flushes much later. Meanwhile others find the entries absent
//! and have nothing to flush; so each address space knows how much is owed for it, and a gather that finishes pays.
//!
//! Where the machine broadcasts, a flush is begun for each page when its entry is cleared, and late is only the wait for all
//! of them, on the CPU that has begun them.

use core::sync::atomic::Ordering::*;

use crate::{
    addr::Level,
    cpu::CpuId,
    fix::Fix,
    flush,
    format::{Entry, EntryFormat},
    frame::{Frame, FrameRun, FrameSink},
    gather::{Unhooked, release_run},
    machine::{Machine, Modify},
    notify::{self, MaySleep},
    residency::Space,
    stale::Stale,
    table::Leaf,
    word::Shared,
};

/// Pages a batch holds (`SWAP_CLUSTER_MAX`).
pub const MAX_PAGES: usize = 32;

/// Address spaces a batch can owe a flush.
pub const MAX_SPACES: usize = 8;

/// What reclaim owes an address space (`tlb_flush_batched`).
pub(crate) struct Account<M: Machine> {
    // How many entries it has cleared. Written under the page-table lock.
    cleared: Shared<M>,
    // Of those, so many and maybe more are flushed.
    paid: Shared<M>,
}

impl<M: Machine> Account<M> {
    pub(crate) const fn new() -> Self {
        Account { cleared: Shared::ZERO, paid: Shared::ZERO }
    }

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.cleared.visit("reclaim.cleared", visitor);
        self.paid.visit("reclaim.paid", visitor);
    }

    /// Looks what is owed for entries that the caller may have found absent.
    pub(crate) fn debt(&self, m: &M) -> Debt {
        // Whoever found an entry absent took the lock after it was cleared and counted.
        // ORDER(reclaim/finish): what is counted has been cleared, so a flush from here on reaches it.
        let cleared = self.cleared.load(m, Acquire);
        // ORDER(reclaim/finish): what is paid has been flushed.
        Debt { cleared, is_paid: self.paid.load(m, Acquire) >= cleared }
    }

    /// Counts an entry that was cleared. Under the page-table lock still, so that nobody has found it absent yet.
    fn count(&self, m: &M) {
        // ORDER(reclaim/finish): after the entry, or somebody's flush that came between would count for it.
        self.cleared.update(m, Modify::Add(1), Release);
    }

    /// Says that all of `debt` is flushed.
    pub(crate) fn pay(&self, m: &M, debt: &Debt) {
        // Of two the smaller may be written last: then somebody flushes once more than he must.
        // ORDER(reclaim/finish): after the flush.
        self.paid.store(m, debt.cleared, Release);
    }
}

/// How many entries reclaim had cleared, and whether all of them are flushed.
#[derive(Clone, Copy)]
pub(crate) struct Debt {
    cleared: u64,
    pub(crate) is_paid: bool,
}

/// What one batch owes one address space.
struct Owed<'a, M: Machine> {
    space: &'a Space<M>,
    stale: Stale,
    // The debt as it was before, and what this batch has added.
    before: Debt,
    n_cleared: u64,
    // The CPU that has begun the flush of all of it, where the machine broadcasts; none if they are several.
    begun_on: Option<CpuId>,
}

/// Pages that were taken away from address spaces and wait for their flush.
///
/// Each batch is a value of its own, so reclaim within reclaim cannot make the outer one forget what it owes (R-TLBUBC-NEST).
/// Dropping it leaks what it holds and never frees it early; call [`finish`](Reclaim::finish).
///
/// ```
/// use shootdown::{FrameSink, Machine, Reclaim, Space, Vpn};
/// /// Takes one page away; `write_out` is called with its frame if it was written to.
/// fn page_out<M: Machine>(m: &M, space: &Space<M>, page: Vpn, sink: &impl FrameSink<M>, write_out: impl Fn(shootdown::Pfn)) {
///     let mut reclaim = Reclaim::new(m, sink);
///     let unhooked = space.lock(m).find(page).and_then(|leaf| reclaim.unhook(space, leaf));
///     if let Some(unhooked) = unhooked.filter(|unhooked| unhooked.attributes.dirty) {
///         reclaim.flush_before_write();
///         write_out(unhooked.frame);
///     }
///     reclaim.finish();
/// }
/// ```
#[doc(alias = "tlbflush_unmap_batch")]
#[must_use = "reclaim that is not finished leaks what it holds"]
pub struct Reclaim<'a, M: Machine, S: FrameSink<M>> {
    m: &'a M,
    sink: &'a S,
    owed: [Option<Owed<'a, M>>; MAX_SPACES],
    frames: [Option<Frame>; MAX_PAGES],
    n_frames: usize,
    // Something that is not flushed was dirty, or may become so through a TLB.
    may_be_written: bool,
}

impl<'a, M: Machine, S: FrameSink<M>> Reclaim<'a, M, S> {
    /// Begins with nothing. Frames go to `sink` after their flush.
    pub const fn new(m: &'a M, sink: &'a S) -> Self {
        Reclaim {
            m,
            sink,
            owed: [const { None }; MAX_SPACES],
            frames: [const { None }; MAX_PAGES],
            n_frames: 0,
            may_be_written: false,
        }
    }

    /// Takes a page away from `space`, and its frame into custody. Returns what the translation was, or `None` if it is gone
    /// already, or a [range listener](crate::notify::RangeListener) would have to sleep for it. No TLB has been told, or it is not known to have done what it was told to.
    ///
    /// # Context
    /// Under the page-table lock, which the leaf proves. Does not sleep; flushes first if the batch is full.
    ///
    /// # Panics
    /// If the leaf belongs to another address space.
    #[doc(alias = "try_to_unmap_one")]
    pub fn unhook(&mut self, space: &'a Space<M>, leaf: Leaf<'_, M>) -> Option<Unhooked> {
        let m = self.m;
        assert!(space.is_locked_by(leaf.guard()), "the page-table lock of another address space");
        let (at, page, level) = (leaf.at(), leaf.page(), leaf.level());
        // As it is now: what the leaf was when it was found may have been taken away since.
        let (raw, Entry::Leaf(frame)) = leaf.guard().entry(at, level) else {
            return None;
        };
        let pages = leaf.span();
        notify::begin(m, space, pages, MaySleep::No).ok()?;
        let place = self.make_room(space, level);
        let before = space.reclaimed.debt(m);
        let counts_after = m.keeps(Fix::CountAfterClearing);
        if !counts_after {
            space.reclaimed.count(m);
        }
        let attributes = M::Format::attributes(leaf.guard().clear(at, raw));
        let stale = Stale { executable: attributes.executable, ..Stale::leaves(leaf.span(), level) };
        let begun_on = m.broadcasts().then(|| {
            space.begin_broadcast(m, stale);
            m.cpu()
        });
        if counts_after {
            space.reclaimed.count(m);
        }
        // Who looks from here on finds nothing.
        notify::end(m, space, pages);
        leaf.guard().entries_removed(at.table, 1);
        m.unhooked(space.id(), page, level);
        match &mut self.owed[place] {
            Some(owed) => {
                owed.stale = owed.stale.join(stale);
                owed.n_cleared += 1;
                owed.begun_on = owed.begun_on.filter(|cpu| Some(*cpu) == begun_on);
            }
            empty => *empty = Some(Owed { space, stale, before, n_cleared: 1, begun_on }),
        }
        self.frames[self.n_frames] = Some(Frame::regain(frame, level));
        self.n_frames += 1;
        self.may_be_written |= attributes.dirty || attributes.writable;
        Some(Unhooked { page, level, frame, count: 1, attributes })
    }

    /// Returns where what is owed to `space` is, or can be, with room for one more frame of this level.
    fn make_room(&mut self, space: &Space<M>, level: Level) -> usize {
        let of_space = |owed: &Option<Owed<'_, M>>| owed.as_ref().is_some_and(|owed| owed.space.id() == space.id());
        let place = self.owed.iter().position(of_space).or_else(|| self.owed.iter().position(Option::is_none));
        let fits = |place: &usize| {
            self.owed[*place].as_ref().is_none_or(|owed| owed.stale.may_be_flushed_with::<M::Policy>(level))
        };
        match place.filter(fits) {
            Some(place) if self.n_frames < MAX_PAGES => place,
            _ => {
                self.flush();
                0
            }
        }
    }

    /// Flushes if a page that was taken away may still be written to. To be called before such a page is written out: what a
    /// CPU stores through its TLB afterwards would be lost.
    ///
    /// # Context
    /// As [`Space::flush`].
    #[doc(alias = "try_to_unmap_flush_dirty")]
    pub fn flush_before_write(&mut self) {
        if self.may_be_written && self.m.keeps(Fix::FlushBeforeWrite) {
            self.flush_translations();
        }
    }

    fn flush_translations(&mut self) {
        let m = self.m;
        for owed in self.owed.iter_mut().filter_map(Option::take) {
            match owed.begun_on {
                Some(cpu) if cpu == m.cpu() => {
                    flush::complete_broadcasts(m);
                    owed.space.tell_stricter(m, owed.stale);
                }
                // Nothing is begun; or it is on a CPU that our caller has left since, and only that one could complete it.
                _ => {
                    owed.space.flush(m, owed.stale);
                }
            }
            // Only if nobody else owes anything is the account even.
            let now = owed.space.reclaimed.debt(m);
            if owed.before.is_paid && now.cleared == owed.before.cleared + owed.n_cleared {
                owed.space.reclaimed.pay(m, &now);
            }
        }
        self.may_be_written = false;
    }

    /// Flushes, one flush for each address space, and lets go of all frames. Where the machine broadcasts, and the caller is
    /// on the CPU on which it has unhooked, it only waits.
    ///
    /// # Context
    /// As [`Space::flush`]; the sink is called in it.
    #[doc(alias = "try_to_unmap_flush")]
    pub fn flush(&mut self) {
        if self.m.keeps(Fix::FlushBeforeFree) {
            self.flush_translations();
        }
        for frame in self.frames[..core::mem::take(&mut self.n_frames)].iter_mut().filter_map(Option::take) {
            release_run(self.m, self.sink, FrameRun::regain(frame.pfn(), 1, frame.level()));
        }
        // Where it is left out above, it comes too late, and does come.
        self.flush_translations();
    }

    /// Flushes and lets go for the last time.
    ///
    /// # Context
    /// As [`flush`](Reclaim::flush).
    pub fn finish(mut self) {
        self.flush();
    }
}
