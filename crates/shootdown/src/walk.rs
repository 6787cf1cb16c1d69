//! Walks that take no lock: finding and pinning the pages of the loaded address space while another CPU changes its tables
//! ("GUP-fast").
//!
//! A walker masks interrupts for as long as it reads tables ([`Walking`]). Whoever is about to free or to reuse one must see
//! every walk ended that may have begun before its entry was cleared ([`quiesce`]): no TLB flush says that, unless it was an
//! interrupt.
//!
//! What a walk finds may be gone by the time it is used. So the page is pinned first, and then the entries are looked at once
//! more: who unmaps a page clears its entry first, and then lets go of it. And who shares a page that he finds unpinned, as
//! fork does, says so before he looks ([`Forking`]), since nothing else shows a pin that comes too late.

mod fork;
mod quiesce;

use core::sync::atomic::Ordering::*;

pub(crate) use fork::ForkCount;
pub use fork::Forking;
pub use quiesce::{Grace, WalksEnded, quiesce};
pub(crate) use quiesce::{end_walks, quiesce_all, quiesce_space};

use crate::{
    addr::{EntryAt, Level, Pfn, TableFrame, Vpn, VpnRange},
    fix::Fix,
    format::{Attributes, Entry, EntryFormat},
    kspace::Sealed,
    machine::{At, Machine, Masked},
    residency::Space,
};

/// Who walks page tables without a lock, and how others find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walkers {
    /// Nobody.
    None,
    /// CPUs that do not show it: whoever wants to see walks ended interrupts all of them.
    Unannounced,
    /// CPUs that show it while they do, with a barrier at the beginning: only they are interrupted.
    Announced,
}

/// How a kernel takes references to frames that it finds.
pub trait Pins<M: Machine> {
    /// Takes a reference to the frame or frames that a leaf of `level` maps, or says that nobody has one any more: then they
    /// are free, or about to be.
    #[doc(alias = "try_grab_folio")]
    fn try_pin(&self, m: &M, frame: Pfn, level: Level) -> bool;

    /// Gives back a reference that was taken.
    fn unpin(&self, m: &M, frame: Pfn, level: Level);

    /// Notes that what the leaf maps was written to by somebody who is no CPU, so that no entry says so, and must be written back.
    fn mark_written(&self, m: &M, frame: Pfn, level: Level);
}

/// What is to be done with a page that is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is read.
    Read,
    /// It is written to.
    Write,
}

impl Purpose {
    const fn is_allowed_by(self, attributes: Attributes) -> bool {
        attributes.user && (attributes.writable || matches!(self, Purpose::Read))
    }
}

/// A page that was pinned. Whoever pinned it gives the reference back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The page, the first of its leaf.
    pub page: Vpn,
    /// The first frame that the leaf maps.
    pub frame: Pfn,
    /// The level of the leaf.
    pub level: Level,
    /// What it was pinned for.
    pub purpose: Purpose,
}

impl Pinned {
    /// Gives the reference back. A page that was pinned to be written to is marked first: since it was pinned, somebody may have
    /// written it back and made its entries clean.
    ///
    /// # Context
    /// When nobody uses it any more by this reference: the device is done. Otherwise as [`Pins::mark_written`] and
    /// [`Pins::unpin`].
    #[doc(alias = "unpin_user_pages_dirty_lock")]
    pub fn unpin<M: Machine>(self, m: &M, pins: &impl Pins<M>) {
        if self.purpose == Purpose::Write && m.keeps(Fix::MarkWhenUnpinned) {
            pins.mark_written(m, self.frame, self.level);
        }
        pins.unpin(m, self.frame, self.level);
    }
}

/// Why a page was not pinned: the caller goes the way that takes the lock, which handles faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Nothing is mapped there.
    NotMapped,
    /// Not for this purpose.
    Denied,
    /// The frame is on its way to be free.
    Free,
    /// Something was changed meanwhile.
    Changed,
    /// The address space is being forked.
    BeingForked,
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Refused::NotMapped => "nothing is mapped there",
            Refused::Denied => "the page is not mapped for this purpose",
            Refused::Free => "the frame is about to be free",
            Refused::Changed => "the translation was changed meanwhile",
            Refused::BeingForked => "the address space is being forked",
        })
    }
}

impl core::error::Error for Refused {}

/// A walk under way on this CPU: interrupts are masked, and it is shown where walks are announced. Dropping it ends it.
#[must_use = "a walk lasts as long as this lives"]
pub struct Walking<'m, M: Machine> {
    m: &'m M,
    // Left out on a simulated machine only.
    _masked: Option<Masked<'m, M>>,
}

impl<'m, M: Machine> Walking<'m, M> {
    /// Begins a walk on this CPU. Walks do not nest.
    ///
    /// # Context
    /// Any but what runs for another CPU's call.
    ///
    /// # Ordering
    /// Pairs: `walk/quiesce`.
    ///
    /// # Panics
    /// If the machine says that [nobody walks](Machine::walkers).
    pub fn begin(m: &'m M) -> Self {
        assert!(m.walkers() != Walkers::None, "a lockless walk on a machine that has said that there are none");
        let masked = m.keeps(Fix::MaskWhileWalking).then(|| Masked::new(m));
        if m.walkers() == Walkers::Announced {
            // ORDER(walk/quiesce): whoever has begun this epoch has cleared his entries before.
            let epoch = m.present().epoch().load(m, Acquire);
            m.here().walking().store(m, epoch + 1, Relaxed);
            if m.keeps(Fix::FenceBeforeWalking) {
                // ORDER(walk/quiesce): shown before the first entry is read; who wants to see walks ended has cleared the
                // entry before he looks who walks. One of us sees the other. Needs the total order: store, then load, on
                // both sides.
                m.fence(SeqCst);
            }
        }
        Walking { m, _masked: masked }
    }

    /// The epoch in which the walk has begun that a CPU shows, if it shows one.
    fn epoch_of(shown: u64) -> Option<u64> {
        shown.checked_sub(1)
    }

    /// Finds what a page of `space`, which this CPU has loaded, leads to. It may lead elsewhere, or nowhere, by the time
    /// this returns, and nobody keeps the frame from being somebody else's: but as long as this walk lasts no table that it
    /// has read is.
    ///
    /// For whoever wants to know how a page is mapped, and learns in another way when that is no longer true, as a
    /// hypervisor does; to use the page, [`pin`] it.
    ///
    /// # Ordering
    /// Pairs: `map/walk`, `walk/quiesce`.
    #[must_use]
    pub fn find(&self, space: &Space<M>, page: Vpn) -> Option<Found> {
        self.find_from(space.root(self.m)?, M::Format::REACH, page)
    }

    /// Finds what a page of kernel space leads to; all else as [`find`](Self::find).
    #[doc(alias("vmalloc_to_page", "ptdump"))]
    #[must_use]
    pub fn find_in_kernel(&self, kernel: &Sealed<'_, M>, page: Vpn) -> Option<Found> {
        self.find_from(kernel.root(), M::Format::KERNEL, page)
    }

    fn find_from(&self, root: TableFrame, reach: VpnRange, page: Vpn) -> Option<Found> {
        let (_, read, frame) = descend(self.m, root, reach, page).ok()?;
        Some(Found::of_leaf::<M::Format>(page, read.level, read.raw, frame))
    }
}

/// What a walk has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The page, the first of its leaf.
    pub page: Vpn,
    /// The first frame that the leaf maps.
    pub frame: Pfn,
    /// The level of the leaf.
    pub level: Level,
    /// What the leaf permits.
    pub attributes: Attributes,
}

impl Found {
    /// Says what the leaf `raw`, which translates `page` to this frame, comes to.
    pub(crate) fn of_leaf<F: EntryFormat>(page: Vpn, level: Level, raw: u64, frame: Pfn) -> Found {
        Found { page: page.align_down::<F>(level), frame, level, attributes: F::attributes(raw) }
    }
}

impl<M: Machine> Drop for Walking<'_, M> {
    fn drop(&mut self) {
        if self.m.walkers() == Walkers::Announced {
            // ORDER(walk/quiesce): after the last entry was read.
            self.m.here().walking().store(self.m, 0, Release);
        }
    }
}

/// Finds a page of `space`, which this CPU has loaded, and pins its frame, without a lock.
///
/// # Context
/// Any but what runs for another CPU's call. Masks interrupts for the time of a walk. `pins` is called with interrupts
/// masked, and must not wait.
///
/// # Ordering
/// What was stored to the page before it was mapped is seen. Pairs: `map/walk`, `walk/quiesce`, `pin/fork`.
///
/// # Errors
/// [`Refused`]: nothing is pinned. To go the way that takes the page-table lock is always right.
///
/// # Panics
/// If the machine says that [nobody walks](Machine::walkers).
#[doc(alias = "get_user_pages_fast")]
pub fn pin<M: Machine>(
    m: &M,
    space: &Space<M>,
    page: Vpn,
    purpose: Purpose,
    pins: &impl Pins<M>,
) -> Result<Pinned, Refused> {
    let was = space.forks.before_pinning(m)?;
    let walking = Walking::begin(m);
    let pinned = pin_walking(m, space, page, purpose, pins)?;
    drop(walking);
    if space.forks.is_after(m, was) {
        return Ok(pinned);
    }
    pins.unpin(m, pinned.frame, pinned.level);
    Err(Refused::BeingForked)
}

/// Pins the pages of a range one after the other, and tells `each` of them. Returns where it was refused, and why, or the end
/// of the range.
///
/// # Context
/// As [`pin`], for one page at a time; `each` is called with interrupts as they were.
///
/// # Ordering
/// As [`pin`].
pub fn pin_range<M: Machine>(
    m: &M,
    space: &Space<M>,
    range: VpnRange,
    purpose: Purpose,
    pins: &impl Pins<M>,
    mut each: impl FnMut(Pinned),
) -> (Vpn, Option<Refused>) {
    let mut page = range.start;
    while page < range.end {
        match pin(m, space, page, purpose, pins) {
            Ok(pinned) => {
                each(pinned);
                page = pinned.level.span::<M::Format>(pinned.page).end;
            }
            Err(refused) => return (page, Some(refused)),
        }
    }
    (range.end, None)
}

/// An entry, its level, and what it was when it was read.
#[derive(Clone, Copy)]
struct Read {
    at: EntryAt,
    level: Level,
    raw: u64,
}

impl Read {
    fn of<M: Machine>(m: &M, at: EntryAt, level: Level) -> Read {
        // ORDER(map/walk): what it points at is as whoever put it there left it.
        Read { at, level, raw: m.load(At::Entry(at), Acquire) }
    }

    fn entry<M: Machine>(&self) -> Entry {
        M::Format::decode(self.raw, self.level)
    }

    /// Tells whether it is still what it was, but for what hardware notes.
    fn is_unchanged<M: Machine>(&self, m: &M) -> bool {
        let now = Read::of(m, self.at, self.level);
        let permitted = |raw| Attributes { accessed: false, dirty: false, ..M::Format::attributes(raw) };
        now.raw == self.raw || now.entry::<M>() == self.entry::<M>() && permitted(now.raw) == permitted(self.raw)
    }
}

fn pin_walking<M: Machine>(
    m: &M,
    space: &Space<M>,
    page: Vpn,
    purpose: Purpose,
    pins: &impl Pins<M>,
) -> Result<Pinned, Refused> {
    let root = space.root(m).ok_or(Refused::NotMapped)?;
    let (pointer, leaf, frame) = descend(m, root, M::Format::REACH, page)?;
    let level = leaf.level;
    if !purpose.is_allowed_by(M::Format::attributes(leaf.raw)) {
        return Err(Refused::Denied);
    }
    if !pins.try_pin(m, frame, level) {
        return Err(Refused::Free);
    }
    // The leaf may have been cleared before it was pinned, and the table may have been taken out with the leaf in it.
    let leaf_is_gone = m.keeps(Fix::LookAgainWhenPinned) && !leaf.is_unchanged(m);
    let pointer = pointer.filter(|_| m.keeps(Fix::LookAgainAtTable));
    if leaf_is_gone || pointer.is_some_and(|pointer| !pointer.is_unchanged(m)) {
        pins.unpin(m, frame, level);
        return Err(Refused::Changed);
    }
    Ok(Pinned { page: page.align_down::<M::Format>(level), frame, level, purpose })
}

/// Goes down to the leaf that translates `page`, one of those in `reach`: the pointer to its table, its entry, and the frame.
fn descend<M: Machine>(
    m: &M,
    root: TableFrame,
    reach: VpnRange,
    page: Vpn,
) -> Result<(Option<Read>, Read, Pfn), Refused> {
    if !reach.contains(page) {
        return Err(Refused::NotMapped);
    }
    let (mut table, mut level, mut pointer): (TableFrame, Level, Option<Read>) = (root, M::Format::ROOT, None);
    loop {
        let read = Read::of(m, EntryAt { table, index: page.index::<M::Format>(level) }, level);
        match read.entry::<M>() {
            Entry::Absent => return Err(Refused::NotMapped),
            Entry::Leaf(frame) => return Ok((pointer, read, frame)),
            Entry::Table(next) | Entry::SharedTable(next) => {
                (table, pointer) = (next, Some(read));
                level = level.below().ok_or(Refused::NotMapped)?;
            }
        }
    }
}
