//! Reclaim: pages of objects that storage can give back leave memory.

use core::ops::Range;

use shootdown::{Frame, FrameRun, FrameSink, Frames, Reclaim, Unhooked, page, reclaim::MAX_PAGES};

use crate::{
    address_space::{Program, space_of},
    areas::{Place, ReverseMap},
    memory::Memory,
    storage::{ObjectId, ObjectPage, Storage, StorageError},
};

/// A page that is to leave memory.
struct Victim {
    page: ObjectPage,
    // A reference of our own.
    frame: Frame,
    is_dirty: bool,
}

/// What one call has not come by yet: first from where it began to the end, and then from the first page to there.
struct Round {
    left: [Range<ObjectPage>; 2],
}

impl Round {
    const FIRST: ObjectPage = ObjectPage { object: ObjectId::FIRST_STORED, index: 0 };
    const END: ObjectPage = ObjectPage { object: ObjectId(u64::MAX), index: u64::MAX };

    const fn beginning_at(hand: ObjectPage) -> Round {
        Round { left: [hand..Self::END, Self::FIRST..hand] }
    }

    /// Passes by a page; returns what comes next.
    fn pass(&mut self, page: ObjectPage) -> ObjectPage {
        let next = match page.index.checked_add(1) {
            Some(index) => ObjectPage { index, ..page },
            None => ObjectPage { object: ObjectId(page.object.0.saturating_add(1)), index: 0 },
        };
        let [to_the_end, to_the_start] = &mut self.left;
        if to_the_end.contains(&page) {
            to_the_end.start = next;
        } else {
            to_the_end.start = to_the_end.end;
            to_the_start.start = next;
        }
        next
    }
}

/// As many of them as are taken away together.
type Batch = [Option<Victim>; MAX_PAGES];

/// What becomes of translations that were taken away, when they are flushed.
pub(crate) struct TakenAway;

impl<M: Frames> FrameSink<M> for TakenAway {
    fn release(&self, m: &M, run: FrameRun) {
        page::uncount_mappings(m, run.first(), run.count());
        page::DropReference.release(m, run);
    }
}

impl<M: Program, S: Storage<M>> Memory<M, S> {
    /// Takes up to `n_pages` pages of objects with storage away from whoever maps them, writes out those that are dirty, and
    /// lets go of those that nobody has mapped again or stored to meanwhile. Returns how many it let go of. It goes round, once
    /// at most: the next call begins where this one ended.
    ///
    /// One flush for each 32 translations and each address space that they are of.
    ///
    /// # Context
    /// Task, and under none of this crate's locks: not from within an allocation. Takes the locks of the storage, of the
    /// reverse map, and page-table locks, and calls [`Storage::write`].
    ///
    /// # Errors
    /// The first [`StorageError`]. Pages that could not be written are still there, and dirty; what could be done without
    /// them is done.
    #[doc(alias = "shrink_folio_list")]
    pub fn reclaim(&self, m: &M, n_pages: u64) -> Result<u64, StorageError> {
        let (mut n_gone, mut n_left, mut result) = (0, n_pages, Ok(()));
        let mut round = Round::beginning_at(self.objects.lock(m).hand);
        loop {
            let mut storage = self.storage.lock(m);
            let mut victims = self.choose(m, &mut round, n_left);
            let n_chosen = victims.iter().flatten().count() as u64;
            if n_chosen == 0 {
                break;
            }
            n_left -= n_chosen;
            result = result.and(self.write_out(m, &mut storage, &mut victims));
            for victim in victims.into_iter().flatten() {
                n_gone += u64::from(self.let_go(m, victim));
            }
        }
        result.map(|()| n_gone)
    }

    /// Chooses the pages whose turn it is.
    fn choose(&self, m: &M, round: &mut Round, n_pages: u64) -> Batch {
        let mut objects = self.objects.lock(m);
        let mut victims = [const { None }; MAX_PAGES];
        for victim in victims.iter_mut().take(usize::try_from(n_pages).unwrap_or(MAX_PAGES)) {
            let [to_the_end, to_the_start] = &round.left;
            let mut left = objects.pages.range(to_the_end.clone()).chain(objects.pages.range(to_the_start.clone()));
            let Some((page, frame)) = left.next() else { break };
            let page = *page;
            *victim = Some(Victim { page, frame: page::share(m, frame), is_dirty: false });
            objects.hand = round.pass(page);
        }
        victims
    }

    /// Takes the pages away from whoever maps them, and writes out those that are dirty.
    fn write_out(&self, m: &M, storage: &mut S, victims: &mut Batch) -> Result<(), StorageError> {
        // Until all is flushed: an address space that is found here must not go away while it is owed a flush.
        let map = self.areas.lock(m);
        let mut reclaim = Reclaim::new(m, &TakenAway);
        for victim in victims.iter_mut().flatten() {
            take_away(m, &map, &mut reclaim, victim);
        }
        let mut result = Ok(());
        if victims.iter().flatten().any(|victim| victim.is_dirty) {
            reclaim.flush_before_write();
        }
        for victim in victims.iter().flatten().filter(|victim| victim.is_dirty) {
            let written = storage.write(m, victim.page, &victim.frame);
            if written.is_err() {
                page::mark_dirty(m, victim.frame.pfn());
            }
            result = result.and(written);
        }
        reclaim.finish();
        result
    }

    /// Lets go of a page if nobody maps it any more and it is as storage has it; tells whether that is so.
    fn let_go(&self, m: &M, victim: Victim) -> bool {
        page::drop_reference(m, victim.frame);
        let mut objects = self.objects.lock(m);
        // Under this lock nobody takes a reference from the object, and nobody who maps it has one to take it from.
        let may_go = |frame: &Frame| page::is_last(m, frame) && !page::is_dirty(m, frame);
        if !objects.pages.get(&victim.page).is_some_and(may_go) {
            return false;
        }
        let frame = objects.pages.remove(&victim.page);
        drop(objects);
        frame.into_iter().for_each(|frame| page::drop_reference(m, frame));
        true
    }
}

/// Takes one page away from whoever maps it, privately or not.
fn take_away<'m, M: Program>(m: &'m M, map: &ReverseMap, reclaim: &mut Reclaim<'m, M, TakenAway>, victim: &mut Victim) {
    // First of all: who stores to it when it was taken away from him marks it again.
    victim.is_dirty = page::take_dirty(m, &victim.frame);
    if !page::is_mapped(m, &victim.frame) {
        return;
    }
    let Victim { page, frame, is_dirty } = victim;
    unhook_everywhere(m, map, reclaim, *page, frame, |unhooked| {
        *is_dirty |= unhooked.is_some_and(|unhooked| unhooked.attributes.dirty);
    });
}

/// Unhooks `frame`, which is or was `page` of an object, wherever that may be mapped, and tells `each` what came of it: nothing
/// if a listener would have to sleep.
pub(crate) fn unhook_everywhere<'m, M: Program>(
    m: &'m M,
    map: &ReverseMap,
    reclaim: &mut Reclaim<'m, M, TakenAway>,
    page: ObjectPage,
    frame: &Frame,
    mut each: impl FnMut(Option<Unhooked>),
) {
    for Place { space, page, .. } in map.places::<M::Format>(page) {
        let space = space_of(m, space);
        let tables = space.lock(m);
        if let Some(leaf) = tables.find(page).filter(|leaf| leaf.frame() == frame.pfn()) {
            each(reclaim.unhook(space, leaf));
        }
    }
}
