//! Listeners that are told of ranges before they change, and when they have.

use core::sync::atomic::Ordering::*;

use crate::{
    addr::VpnRange,
    fix::Fix,
    machine::{Machine, Modify},
    residency::Space,
    word::Shared,
};

/// Somebody who has a copy of a part of an address space's tables, such as a hypervisor for its guest.
///
/// It fills its copy with what it has found in the tables in between: takes a [ticket](Space::ticket), looks the page up
/// ([`Walking::find`](crate::walk::Walking::find)), and puts it into the copy if the ticket is still
/// [good](FillTicket::is_good), under a lock that [`begin`](Self::begin) takes, too.
#[doc(alias = "mmu_interval_notifier")]
pub trait RangeListener<M: Machine>: Sync {
    /// Drops all that it has of `pages`. Until [`end`](Self::end) nothing of them is good.
    ///
    /// # Context
    /// On any CPU, before anything has changed. May sleep only if `may_sleep` says so. Several may be under way at a time.
    ///
    /// # Errors
    /// [`WouldSleep`], if it would have to and must not: nothing was dropped, and nothing will change.
    fn begin(&self, m: &M, space: &Space<M>, pages: VpnRange, may_sleep: MaySleep) -> Result<(), WouldSleep>;

    /// Hears that the change is over, or does not take place: for each [`begin`](Self::begin) once, also for one that has failed.
    fn end(&self, m: &M, space: &Space<M>, pages: VpnRange);

    /// Drops all that it has of an address space that comes to its end, and takes in nothing of it any more. It is no longer
    /// attached when this has returned.
    ///
    /// # Context
    /// As [`Space::retire`]; may sleep if the kernel calls that where it may.
    #[doc(alias = "mmu_notifier_release")]
    fn ended(&self, m: &M, space: &Space<M>);
}

/// Whether a listener may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaySleep {
    /// It may.
    Yes,
    /// The caller cannot wait for it: he reclaims memory, or has a lock.
    No,
}

/// A listener would have had to sleep. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WouldSleep;

impl core::fmt::Display for WouldSleep {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("somebody who has a copy of the page tables would have to sleep")
    }
}

impl core::error::Error for WouldSleep {}

/// Changes of an address space: those under way in the low bits, and above them how many are over.
pub(crate) struct Changes<M: Machine>(Shared<M>);

const OVER: u64 = 1 << 16;

impl<M: Machine> Changes<M> {
    pub(crate) const fn new() -> Self {
        Changes(Shared::ZERO)
    }

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.0.visit("space.changes", visitor);
    }
}

/// What was looked up since is as it was found, as long as this is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillTicket(u64);

impl FillTicket {
    /// Tells whether nothing has begun to change in `space` since the ticket was taken.
    ///
    /// # Context
    /// Under the lock that the listener's [`begin`](RangeListener::begin) takes.
    #[doc(alias = "mmu_invalidate_retry")]
    #[must_use]
    pub fn is_good<M: Machine>(self, m: &M, space: &Space<M>) -> bool {
        // Relaxed: whoever has begun before us had the lock that we hold, and whoever has not will drop what we put there.
        space.changes.0.load(m, Relaxed) == self.0 || !m.keeps(Fix::LookAtTicket)
    }
}

/// Tells the range listeners of `space` that `pages` are about to change, if the machine has listeners. If they are not told of
/// the [end](end) they have copies of nothing from then on.
#[inline]
pub(crate) fn begin<M: Machine>(
    m: &M,
    space: &Space<M>,
    pages: VpnRange,
    may_sleep: MaySleep,
) -> Result<(), WouldSleep> {
    if !m.has_listeners() {
        return Ok(());
    }
    // ORDER(change/fill): said before any listener drops what it has; who fills asks under the listener's lock.
    space.changes.0.modify(m, Modify::Add(1), SeqCst);
    let mut result = Ok(());
    space.audience.ranges(m, |listener| result = result.and(listener.begin(m, space, pages, may_sleep)));
    if result.is_err() {
        end(m, space, pages);
    }
    result
}

/// Tells them that it is over.
#[inline]
pub(crate) fn end<M: Machine>(m: &M, space: &Space<M>, pages: VpnRange) {
    if m.has_listeners() {
        space.audience.ranges(m, |listener| listener.end(m, space, pages));
        // ORDER(change/fill): entries are changed before it is over.
        space.changes.0.modify(m, Modify::Add(OVER - 1), Release);
    }
}

impl<M: Machine> Space<M> {
    /// Takes a ticket for who is about to look up pages and to keep what he finds; nothing while something is changing.
    ///
    /// # Context
    /// Any.
    ///
    /// # Ordering
    /// Entries are read after this. Pairs: `change/fill`.
    #[doc(alias = "mmu_interval_read_begin")]
    #[must_use]
    pub fn ticket(&self, m: &M) -> Option<FillTicket> {
        // ORDER(change/fill): what is over was changed before.
        let changes = self.changes.0.load(m, Acquire);
        changes.is_multiple_of(OVER).then_some(FillTicket(changes))
    }
}
