//! Which CPU may remember translations of which address space: both halves of the handshake between switching to an
//! address space and shooting it down.
//!
//! A CPU sets its bit in the residency mask and *then* reads the generation; a flusher bumps the generation and *then*
//! reads the mask. A CPU goes lazy by saying so, and when it comes back says so and *then* reads the generation.
//! `Space::must_interrupt` is the only place where a CPU may be left out of a flush.
//!
//! When a CPU switches to another address space, its bit may be cleared or may stay, see [`Departure`].
//!
//! Where the machine broadcasts, no CPU is left out of a flush, and all of this is only about who uses an address space that
//! comes to its end.

use core::{hint::cold_path, sync::atomic::Ordering::*};

use crate::{
    addr::{Pfn, SpaceId, TableFrame},
    call::Inbox,
    counters::Counter,
    cpu::{CpuId, CpuMask},
    fix::Fix,
    frame::NoFrame,
    kspace::Link,
    lock::Locked,
    machine::{Machine, Masked, Strength},
    notify::{Audience, Changes},
    reclaim::Account,
    stale::Stale,
    table::{Tables, TablesGuard, UnlinkedTable},
    tag::{Chosen, Tags},
    walk::ForkCount,
    word::{Own, Shared},
};

/// What becomes of a CPU's residency bit when it switches to another address space.
///
/// The machine chooses, see [`Machine::departure`]. Either way its TLB is rid of the address space, or it looks at the
/// generation before it uses what is left there under a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It is cleared: a flusher finds exactly the CPUs that have the address space loaded.
    ClearsBit,
    /// It stays, which spares a write to a shared cache line at each switch (Linux since 6.14). Flushers look what the
    /// CPU has loaded, and now and then interrupt CPUs only to be rid of their bits, see [`Machine::trims`].
    LeavesBit,
}

/// What a CPU shows to flushers: bit 0 that it is lazy; above that, where bits stay, what it has loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Activity(u64);

impl Activity {
    const LAZY: u64 = 1;
    /// Active, and nothing said about what is loaded.
    const ACTIVE: Activity = Activity(0);
    /// Between two address spaces: translations of either may be used.
    const SWITCHING: Activity = Activity(!Self::LAZY);

    const fn active_in(space: SpaceId) -> Activity {
        Activity((space.0 as u64 + 1) << 1)
    }

    const fn is_lazy(self) -> bool {
        self.0 & Self::LAZY != 0
    }

    const fn lazy(self) -> Activity {
        Activity(self.0 | Self::LAZY)
    }

    const fn active(self) -> Activity {
        Activity(self.0 & !Self::LAZY)
    }

    /// Lazy or active as before, with nothing loaded. Lazy then means nothing, and whoever arrives takes it away.
    const fn without_space(self) -> Activity {
        Activity(self.0 & Self::LAZY)
    }

    /// Whether translations of `space` may be in use.
    fn may_use(self, space: SpaceId) -> bool {
        self == Self::SWITCHING || self.active() == Self::active_in(space)
    }
}

/// The library's state of one CPU. The kernel places one for each, see [`Machine::per_cpu`].
pub struct PerCpu<M: Machine> {
    inbox: Inbox<M>,
    // The loaded address space's id plus one; 0 for the kernel's own tables. This CPU's, with interrupts masked.
    loaded: Own<M>,
    // Which generation of the loaded address space this CPU's TLB is not older than, among other things. Likewise.
    tags: Tags<M>,
    // An `Activity`. Written by this CPU, read by flushers.
    activity: Shared<M>,
    // How many asynchronous calls this CPU has made. This CPU's, with interrupts masked.
    n_calls: Own<M>,
    // One more than the epoch in which it has begun to walk tables without a lock, while it does, where walks are announced.
    walking: Shared<M>,
}

impl<M: Machine> Default for PerCpu<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> PerCpu<M> {
    /// Makes the state of a CPU that has loaded nothing.
    pub const fn new() -> Self {
        PerCpu {
            inbox: Inbox::new(),
            loaded: Own::ZERO,
            tags: Tags::new(),
            activity: Shared::ZERO,
            n_calls: Own::ZERO,
            walking: Shared::ZERO,
        }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.inbox.visit(visitor);
        self.loaded.visit("cpu.loaded", visitor);
        self.tags.visit(visitor);
        self.activity.visit("cpu.activity", visitor);
        self.n_calls.visit("cpu.calls", visitor);
        self.walking.visit("cpu.walking", visitor);
    }

    pub(crate) const fn walking(&self) -> &Shared<M> {
        &self.walking
    }

    /// Returns a number that this CPU has given no other call. Interrupts are masked.
    pub(crate) fn next_call(&self, m: &M) -> u64 {
        let number = self.n_calls.get(m) + 1;
        self.n_calls.set(m, number);
        number
    }

    pub(crate) const fn inbox(&self) -> &Inbox<M> {
        &self.inbox
    }

    fn loaded(&self, m: &M) -> Option<SpaceId> {
        self.loaded.get(m).checked_sub(1).map(|id| SpaceId(id as u32))
    }

    pub(crate) fn has_loaded(&self, m: &M, space: SpaceId) -> bool {
        self.loaded.get(m) == u64::from(space.0) + 1
    }

    fn activity(&self, m: &M) -> Activity {
        // Only this CPU writes it.
        Activity(self.activity.load(m, Relaxed))
    }

    pub(crate) fn is_lazy(&self, m: &M) -> bool {
        self.activity(m).is_lazy()
    }

    /// The word that says which generation of `space`, which is loaded, this CPU's TLB is not older than. Until another tag
    /// is loaded.
    #[inline]
    pub(crate) fn seen<'h>(&'h self, m: &'h M, space: SpaceId) -> &'h Own<M> {
        self.tags.seen(m, space)
    }

    /// Forgets everything of `space`, which is loaded. Interrupts are masked.
    pub(crate) fn drop_all(&self, m: &M, space: &Space<M>) {
        if let Some(chosen) = self.tags.drop_all(m, space.id()) {
            space.load(m, chosen);
        }
    }

    /// Makes what this CPU remembers of address spaces that are not loaded be dropped before it is used.
    pub(crate) fn forget_other_tags(&self, m: &M) {
        self.tags.forget_others(m, self.loaded(m).is_some());
    }

    /// Begins anew with nothing loaded and no tag given. Interrupts are masked.
    pub(crate) fn reset(&self, m: &M) {
        self.leave(m);
        self.tags.reset(m);
    }

    /// Loads the kernel's own tables in place of whatever is loaded. Interrupts are masked.
    pub(crate) fn leave(&self, m: &M) {
        let left = self.loaded(m);
        m.load_root(None);
        self.loaded.set(m, 0);
        if m.departure() == Departure::LeavesBit {
            // ORDER(depart/shootdown): as in `end_switch`.
            self.activity.store(m, self.activity(m).without_space().0, Release);
        }
        self.depart(m, left);
    }

    /// Says that this CPU has left an address space, whose translations are gone by now.
    fn depart(&self, m: &M, left: Option<SpaceId>) {
        if m.departure() == Departure::ClearsBit {
            self.clear_bit(m, left);
        }
    }

    /// Clears the bit that may have stayed when this CPU left `space`.
    pub(crate) fn forget(&self, m: &M, space: SpaceId) {
        if m.departure() == Departure::LeavesBit {
            self.clear_bit(m, Some(space));
        }
    }

    /// Takes this CPU out of the mask of an address space that its TLB is rid of.
    fn clear_bit(&self, m: &M, left: Option<SpaceId>) {
        if let Some(space) = left.and_then(|id| m.space(id)) {
            // ORDER(depart/shootdown): a flusher that no longer sees our bit knows that our TLB was emptied before.
            space.cpus.remove(m, m.cpu(), Release);
        }
    }

    /// Says, before the generation is read, that this CPU may use translations again.
    fn begin_switch(&self, m: &M) {
        // ORDER(lazy/shootdown): said before the generation is read; a flusher bumps the generation before it reads this.
        // One of us sees the other. Needs the total order: store, then load, on both sides.
        match m.departure() {
            Departure::ClearsBit if self.is_lazy(m) => self.activity.store(m, Activity::ACTIVE.0, SeqCst),
            Departure::ClearsBit => {}
            // Without it, a flusher between our look at the generation and our last word here finds us elsewhere and
            // skips us (Linux fea4e317f9e7).
            Departure::LeavesBit if m.keeps(Fix::ShowSwitching) => {
                self.activity.store(m, Activity::SWITCHING.0, SeqCst);
            }
            Departure::LeavesBit => {}
        }
    }

    fn end_switch(&self, m: &M, space: SpaceId) {
        if m.departure() == Departure::LeavesBit {
            // ORDER(depart/shootdown): a flusher of another address space that sees this knows that our TLB was emptied.
            self.activity.store(m, Activity::active_in(space).0, Release);
        }
    }
}

/// Why a CPU was left alone although its bit was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skip {
    /// It runs nothing of the address space and looks at the generation before it does again.
    Lazy,
    /// It has loaded something else; only its bit is left.
    NotLoaded,
}

impl Skip {
    pub(crate) const fn counter(self) -> Counter {
        match self {
            Skip::Lazy => Counter::SkippedLazy,
            Skip::NotLoaded => Counter::SkippedNotLoaded,
        }
    }
}

/// One address space. The kernel places it, see [`Machine::space`].
///
/// ```compile_fail,E0616
/// fn tables_without_the_lock<M: shootdown::Machine>(space: &shootdown::Space<M>) {
///     let _ = &space.tables;
/// }
/// ```
#[doc(alias = "mm_struct")]
pub struct Space<M: Machine> {
    id: SpaceId,
    // Counts flushes by interrupts. A CPU that has seen generation g remembers nothing that flush g or an earlier one was to remove.
    pub(crate) generation: Shared<M>,
    // CPUs that may remember translations (`mm_cpumask`).
    pub(crate) cpus: CpuMask<M>,
    // The root's frame number plus one. Set once before any CPU can switch here.
    root: Shared<M>,
    // 1 from when on no CPU may switch here.
    pub(crate) retired: Shared<M>,
    // Gathers that have changed an entry and not flushed it (`tlb_flush_pending`).
    pub(crate) gathers: Shared<M>,
    // What reclaim owes.
    pub(crate) reclaimed: Account<M>,
    pub(crate) forks: ForkCount<M>,
    // Its place among those that have the kernel's slots.
    pub(crate) kernel_link: Link<M>,
    // Secondary TLBs, and others that have copies.
    pub(crate) audience: Audience<M>,
    pub(crate) changes: Changes<M>,
    tables: Locked<M, Tables<M>>,
}

impl<M: Machine> Space<M> {
    /// Makes the place for an address space; [`Space::create`] brings it to life.
    pub const fn new(id: SpaceId) -> Self {
        Space {
            id,
            generation: Shared::ZERO,
            cpus: CpuMask::new(),
            root: Shared::ZERO,
            retired: Shared::ZERO,
            gathers: Shared::ZERO,
            reclaimed: Account::new(),
            forks: ForkCount::new(),
            kernel_link: Link::new(),
            audience: Audience::new(),
            changes: Changes::new(),
            tables: Locked::new(Tables::new(id)),
        }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.generation.visit("space.generation", visitor);
        self.cpus.visit("space.cpus", visitor);
        self.root.visit("space.root", visitor);
        self.retired.visit("space.retired", visitor);
        self.gathers.visit("space.gathers", visitor);
        self.reclaimed.visit(visitor);
        self.forks.visit(visitor);
        self.kernel_link.visit(visitor);
        self.audience.visit(visitor);
        self.changes.visit(visitor);
        self.tables.visit(visitor, |tables, visitor| tables.visit(visitor));
    }

    /// Returns its id.
    #[inline]
    #[must_use]
    pub const fn id(&self) -> SpaceId {
        self.id
    }

    /// Gives the address space a root table, so that CPUs can switch to it.
    ///
    /// # Context
    /// Before anybody else can reach the address space. Does not sleep.
    ///
    /// # Errors
    /// [`NoFrame`] if there is no frame for the root.
    pub fn create(&self, m: &M) -> Result<(), NoFrame> {
        self.create_with(m, |_| {})
    }

    /// The same; `prepare` completes the root before anybody can have it.
    pub(crate) fn create_with(&self, m: &M, prepare: impl FnOnce(TableFrame)) -> Result<(), NoFrame> {
        let root = self.lock(m).create_root()?;
        prepare(root);
        self.retired.store(m, 0, Relaxed);
        // Whoever is told of the address space is told after this.
        self.root.store(m, root.0.0 + 1, Relaxed);
        Ok(())
    }

    /// Takes the root table away, after making every CPU leave that still has it loaded lazily.
    ///
    /// # Context
    /// When no task uses the address space any more and every translation and table has been unhooked. May be called on a
    /// CPU that has it loaded lazily. Interrupts as they come; does not sleep. If it was not [retired](Space::retire), secondary
    /// TLBs are told now that it has ended.
    ///
    /// # Panics
    /// If a CPU still uses the address space, the root table still has entries, or it was [created in](Space::create_in) kernel
    /// space and is not [destroyed in](Space::destroy_in) it.
    pub fn destroy(&self, m: &M) {
        assert!(
            !self.kernel_link.is_in(m),
            "an address space with the kernel's slots is destroyed, and is still listed"
        );
        if m.has_listeners() && !self.is_retired(m) {
            // ORDER(attach/tell): as in `retire`. A device's walker reads the root, too, and who listens still would go on to
            // hear of the next address space with this id.
            self.retired.store(m, 1, SeqCst);
            self.end_listening(m);
        }
        // By interrupts on every machine: a lazy CPU's walker would go on reading the root.
        let walks_ended = self.flush_by_interrupts(m, Stale::EVERYTHING);
        if m.broadcasts() {
            // Those that left the address space long ago may remember things under its tag, which no flush was about if it
            // was taken apart without one. Nobody walks its tables any more, so this is the last of it.
            self.flush(m, Stale::EVERYTHING);
        }
        let is_left = self.cpus.load(m, SeqCst).is_empty();
        // Where a step is left out the machine finds what comes of it.
        let all_were_told =
            [Fix::FlushRemote, Fix::WaitForAcks, Fix::TellLazyOfTables].into_iter().all(|fix| m.keeps(fix));
        assert!(is_left || !all_were_told, "an address space is in use while it is destroyed");
        self.root.store(m, 0, Relaxed);
        let root = self.lock(m).take_root();
        if let Some(root) = root {
            UnlinkedTable::regain(root).quiesced(walks_ended).free(m);
        }
    }

    /// Takes the page-table lock.
    ///
    /// # Context
    /// As [`Locked::lock`].
    #[inline]
    #[track_caller]
    pub fn lock<'l>(&'l self, m: &'l M) -> TablesGuard<'l, M> {
        self.tables.lock(m)
    }

    #[inline]
    pub(crate) fn is_locked_by(&self, guard: &TablesGuard<'_, M>) -> bool {
        guard.holds(&self.tables)
    }

    /// Makes this CPU translate through this address space, or use it again after lazy mode.
    ///
    /// # Context
    /// On the way to user mode; masks interrupts itself, does not sleep or lock.
    ///
    /// # Ordering
    /// Pairs: `activate/shootdown`, `lazy/shootdown`.
    ///
    /// # Panics
    /// If the address space was not created, or was [retired](Space::retire).
    pub fn switch_to(&self, m: &M) {
        // A flush that comes between the choice of a tag and its loading would find neither address space loaded.
        let _masked = m.keeps(Fix::MaskWhileSwitching).then(|| Masked::new(m));
        let here = m.here();
        if here.has_loaded(m, self.id) {
            self.resume(m, here);
        } else {
            self.arrive(m, here);
        }
    }

    fn arrive(&self, m: &M, here: &PerCpu<M>) {
        let left = here.loaded(m);
        // ORDER(activate/shootdown): our bit is set before we read the generation; a flusher bumps the generation before
        // it reads the mask. One of us sees the other, so no CPU runs on a missed flush. Needs the total order: store,
        // then load, on both sides.
        self.cpus.add(m, m.cpu(), SeqCst);
        here.begin_switch(m);
        // ORDER(edit/generation): whoever records a generation walks tables no older than it.
        let generation = self.generation.load(m, SeqCst);
        self.assert_not_retired(m);
        self.load(m, here.tags.choose(m, self.id, generation));
        here.loaded.set(m, u64::from(self.id.0) + 1);
        here.seen(m, self.id).set(m, generation);
        here.end_switch(m, self.id);
        // Only now has the other address space left our TLB, or else is out of reach until we look at its generation.
        here.depart(m, left);
    }

    fn load(&self, m: &M, chosen: Chosen) {
        let Some(root) = self.root(m) else {
            panic!("switch to an address space without a root table");
        };
        m.load_tagged(root, self.id, chosen.tag, chosen.keeps);
    }

    /// Returns the root table, for whoever keeps the address space alive.
    pub(crate) fn root(&self, m: &M) -> Option<TableFrame> {
        self.root.load(m, Relaxed).checked_sub(1).map(|root| TableFrame(Pfn(root)))
    }

    fn resume(&self, m: &M, here: &PerCpu<M>) {
        if !here.is_lazy(m) {
            return;
        }
        // ORDER(lazy/shootdown): said before the generation is read, see `begin_switch`.
        here.activity.store(m, here.activity(m).active().0, SeqCst);
        let generation = self.generation.load(m, SeqCst);
        self.assert_not_retired(m);
        if here.seen(m, self.id).get(m) < generation && m.keeps(Fix::CatchUp) {
            here.drop_all(m, self);
            here.seen(m, self.id).set(m, generation);
        }
    }

    pub(crate) fn is_retired(&self, m: &M) -> bool {
        self.retired.load(m, SeqCst) != 0
    }

    fn assert_not_retired(&self, m: &M) {
        // After the generation, whose load keeps it behind what we have shown, see `retire`.
        assert!(self.retired.load(m, Relaxed) == 0, "switch to an address space that was retired");
    }

    /// Returns a CPU that uses translations of this address space, or may be about to, if there is one.
    pub(crate) fn user(&self, m: &M) -> Option<CpuId> {
        // ORDER(retire/activate): read after it was said that nobody may come, see `retire`.
        let resident = self.cpus.load(m, SeqCst);
        resident.iter().find(|cpu| {
            let activity = Activity(m.per_cpu(*cpu).activity.load(m, SeqCst));
            !activity.is_lazy() && (m.departure() == Departure::ClearsBit || activity.may_use(self.id))
        })
    }

    /// Decides whether `cpu`, whose bit is set, must be interrupted for a request of this strength. The only place where a
    /// CPU may be skipped.
    #[inline]
    pub(crate) fn must_interrupt(&self, m: &M, cpu: CpuId, strength: Strength, trim: Trim) -> Result<(), Skip> {
        // A lazy CPU uses no translation, but its walker may still follow a cached pointer into a freed table
        // (Linux b956575bed91): only a change of leaves can wait until it comes back. And a CPU that has loaded something
        // else is, this time, rid of its bit.
        if strength != Strength::Leaf && m.keeps(Fix::TellLazyOfTables) {
            return Ok(());
        }
        // ORDER(lazy/shootdown): read after the generation was bumped, see `begin_switch`.
        let activity = Activity(m.per_cpu(cpu).activity.load(m, SeqCst));
        if activity.is_lazy() {
            cold_path();
            return Err(Skip::Lazy);
        }
        if m.departure() == Departure::LeavesBit && trim == Trim::NotNow && !activity.may_use(self.id) {
            return Err(Skip::NotLoaded);
        }
        Ok(())
    }
}

/// Whether a flush also interrupts CPUs of which only the bit is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trim {
    Now,
    NotNow,
}

/// Says that this CPU keeps its address space loaded but runs nothing of it: a kernel thread, or idle.
///
/// Flushes of leaves then leave it alone; it catches up in [`Space::switch_to`]. A no-op if none is loaded.
///
/// # Context
/// Kernel mode, no access to user addresses until `switch_to`. Any interrupt state.
#[doc(alias = "enter_lazy_tlb")]
pub fn enter_lazy<M: Machine>(m: &M) {
    let _masked = Masked::new(m);
    let here = m.here();
    if here.loaded(m).is_some() {
        // ORDER(lazy/shootdown): our last use of the address space comes before this.
        here.activity.store(m, here.activity(m).lazy().0, Release);
    }
}

/// Makes this CPU let go of whatever address space it has loaded.
///
/// # Context
/// As [`enter_lazy`].
pub fn leave<M: Machine>(m: &M) {
    let _masked = Masked::new(m);
    let here = m.here();
    if here.loaded(m).is_some() {
        here.leave(m);
    }
}
