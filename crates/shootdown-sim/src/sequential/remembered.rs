//! The oracle: what each CPU may still remember that memory no longer says.
//!
//! Every present page of a loaded address space may be cached on every CPU that has it loaded. Recording all of that
//! would be most of memory; what matters is where it *contradicts* memory, and a contradiction can only begin when an
//! entry changes. So the oracle watches entries, notes the old value for every CPU that has the address space loaded, and
//! forgets it when that CPU invalidates it. It looks at tables and at what hardware is told; never at library state.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
};

use shootdown::{CpuId, CpuSet, Entry, EntryAt, EntryFormat, Invalidate, Level, Pfn, Policy, SpaceId, TableFrame, Vpn};

use super::{
    architecture::Architecture,
    arena::Arena,
    device::{Device, Dma, Found},
    entries::{covers, find_writable, is_lazy_address, is_still_true, lets_write, page_of, read_entry},
    frames::Frames,
    machine::Cpus,
};

/// When a remembered translation became a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StaleKind {
    /// Its frame was freed.
    FrameFreed,
    /// A table on its path was freed.
    TableFreed,
    /// The operation that changed it returned.
    OperationReturned,
    /// Its CPU began to use the address space again.
    SwitchedIn,
    /// It permits less than the tables, and the device that remembers it has come to the page again: it does not look there.
    RemembersLess,
}

impl StaleKind {
    /// Returns a few words for reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            StaleKind::FrameFreed => "frame freed while cached",
            StaleKind::TableFreed => "table freed while cached",
            StaleKind::OperationReturned => "operation returned while cached",
            StaleKind::SwitchedIn => "switched in while cached",
            StaleKind::RemembersLess => "less cached than permitted",
        }
    }
}

/// Who remembers a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A CPU.
    Cpu(CpuId),
    /// The device behind the IOMMU.
    Device,
}

/// Somebody who may still use what is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StaleAccess {
    /// When it became a bug.
    pub kind: StaleKind,
    /// Who may use it.
    pub holder: Holder,
    /// The address space.
    pub space: SpaceId,
    /// The first page it translates.
    pub page: Vpn,
    /// The frame, or the table, that it reaches.
    pub frame: Pfn,
}

/// Who can store to a frame without a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Writer {
    /// A CPU that remembers a translation, of this page, which memory no longer says.
    Remembers(CpuId, Vpn),
    /// The device, which does so in this address space.
    Device(SpaceId, Vpn),
    /// Whoever runs in this address space, where the page tables allow it at this page.
    MayUse(SpaceId, Vpn),
}

/// Where a table hangs.
struct Place {
    level: Cell<Level>,
    parent: Cell<Option<EntryAt>>,
    // Whether it has ever hung at several places.
    is_shared: Cell<bool>,
    // For a root that has been loaded: the address space it was loaded for.
    space: Cell<Option<SpaceId>>,
}

#[derive(Clone, Copy, Debug)]
struct OldLeaf {
    page: Vpn,
    level: Level,
    raw: u64,
}

impl OldLeaf {
    fn frame<F: EntryFormat>(self) -> Option<Pfn> {
        match F::decode(self.raw, self.level) {
            Entry::Leaf(frame) => Some(frame),
            _ => None,
        }
    }
}

/// A cached pointer to a table that is no longer linked there.
#[derive(Clone, Copy, Debug)]
struct OldWalk {
    page: Vpn,
    level: Level,
    table: TableFrame,
}

/// One CPU's TLB and walk caches, as far as they may differ from memory. All of it belongs to the loaded address space.
#[derive(Default)]
struct Memory {
    loaded: Option<(TableFrame, SpaceId)>,
    leaves: Vec<OldLeaf>,
    // Of kernel addresses, which may be many: they are lazy until they are mapped again.
    kernel_leaves: Vec<OldLeaf>,
    walks: Vec<OldWalk>,
}

impl Memory {
    fn remember<F: EntryFormat>(&mut self, old: OldLeaf) {
        if F::KERNEL.contains(old.page) { self.kernel_leaves.push(old) } else { self.leaves.push(old) }
    }

    fn forget_page<F: EntryFormat>(&mut self, page: Vpn) {
        for leaves in [&mut self.leaves, &mut self.kernel_leaves] {
            leaves.retain(|old| !covers::<F>(old.level, old.page, page));
        }
    }
}

pub(super) struct Oracle<A> {
    places: Arena<Place>,
    cpus: Vec<RefCell<Memory>>,
    // For each address space, the CPUs that have it loaded.
    holders: Arena<Cell<CpuSet<Cpus>>>,
    // CPUs with something in `leaves` or `walks`: most of the time none.
    differing: Cell<CpuSet<Cpus>>,
    // Further places where shared tables hang.
    more_parents: RefCell<Vec<(TableFrame, EntryAt)>>,
    // CPUs that use no translation until they have looked at the generation.
    lazy: Cell<CpuSet<Cpus>>,
    found: RefCell<Vec<StaleAccess>>,
    device: Option<RefCell<Device<A>>>,
    architecture: PhantomData<A>,
}

impl<A: Architecture> Oracle<A> {
    pub(super) fn new(n_cpus: usize) -> Self {
        Oracle {
            places: Arena::new(|_| Place {
                level: Cell::new(Level::LEAF),
                parent: Cell::new(None),
                is_shared: Cell::new(false),
                space: Cell::new(None),
            }),
            cpus: (0..n_cpus).map(|_| RefCell::default()).collect(),
            holders: Arena::new(|_| Cell::new(CpuSet::EMPTY)),
            differing: Cell::new(CpuSet::EMPTY),
            more_parents: RefCell::default(),
            lazy: Cell::new(CpuSet::EMPTY),
            found: RefCell::default(),
            device: None,
            architecture: PhantomData,
        }
    }

    pub(super) fn add_device(&mut self) {
        self.device = Some(RefCell::new(Device::new()));
    }

    pub(super) const fn device(&self) -> Option<&RefCell<Device<A>>> {
        self.device.as_ref()
    }

    /// Hears that the device may walk from this root, whether a CPU has loaded it or not.
    pub(super) fn device_attached(&self, space: SpaceId, root: TableFrame) {
        self.place(root).space.set(Some(space));
        self.device.iter().for_each(|device| device.borrow_mut().attached(space, root));
    }

    pub(super) fn device_touches(&self, frames: &Frames<A>, space: SpaceId, page: Vpn, dma: Dma) {
        self.ask_device(StaleKind::RemembersLess, |device| device.touch(frames, space, page, dma));
    }

    /// Reports what the device finds, if there is one.
    fn ask_device<F: IntoIterator<Item = Found>>(&self, kind: StaleKind, look: impl FnOnce(&mut Device<A>) -> F) {
        let Some(device) = &self.device else { return };
        for (space, page, frame) in look(&mut device.borrow_mut()) {
            self.report(kind, Holder::Device, space, page, frame);
        }
    }

    fn entry_changed_for_device(&self, space: SpaceId, page: Vpn, level: Level) {
        if let Some(device) = &self.device {
            device.borrow_mut().entry_changed(space, level.span::<A>(page));
        }
    }

    /// Takes what was found since the last time.
    pub(super) fn take_found(&self) -> Vec<StaleAccess> {
        self.found.take()
    }

    fn place(&self, table: TableFrame) -> &Place {
        self.places.get(table.0.0 as usize)
    }

    fn cpu(&self, cpu: CpuId) -> &RefCell<Memory> {
        &self.cpus[usize::from(cpu.0)]
    }

    fn holders_of(&self, space: SpaceId) -> &Cell<CpuSet<Cpus>> {
        self.holders.get(space.0 as usize)
    }

    pub(super) fn table_made(&self, table: TableFrame, level: Level) {
        let place = self.place(table);
        place.level.set(level);
        place.parent.set(None);
        place.is_shared.set(false);
        place.space.set(None);
    }

    /// Hears that a table hangs at one more place.
    fn hangs_at(&self, table: TableFrame, at: EntryAt) {
        match self.place(table).parent.get() {
            None => self.place(table).parent.set(Some(at)),
            Some(first) if first == at => {}
            Some(_) => {
                self.place(table).is_shared.set(true);
                self.more_parents.borrow_mut().push((table, at));
            }
        }
    }

    fn hangs_no_longer_at(&self, table: TableFrame, at: EntryAt) {
        if !self.place(table).is_shared.get() {
            self.place(table).parent.set(None);
            return;
        }
        let mut more = self.more_parents.borrow_mut();
        let other = more.iter().position(|(of, other)| *of == table && *other == at);
        if let Some(other) = other {
            more.swap_remove(other);
        } else {
            let another = more.iter().position(|(of, _)| *of == table);
            self.place(table).parent.set(another.map(|another| more.swap_remove(another).1));
        }
    }

    /// Hears that an entry changes from `old` to `new`.
    pub(super) fn entry_changes(&self, frames: &Frames<A>, at: EntryAt, old: u64, new: u64) {
        if old == new {
            return;
        }
        let level = self.place(at.table).level.get();
        let (was, is) = (A::decode(old, level), A::decode(new, level));
        if was.table().is_some() && was.table() == is.table() {
            return;
        }
        match was {
            Entry::Absent => {}
            // The machine has taken it out of every TLB.
            Entry::Leaf(_) if A::Policy::CLEARING_FLUSHES => {}
            Entry::Leaf(_) if is_still_true::<A>(old, new, level) => {}
            Entry::Leaf(_) => self.remember_leaf(at, level, old),
            Entry::Table(table) | Entry::SharedTable(table) => {
                self.for_each_resolved(at, level, &mut |space, page| {
                    self.entry_changed_for_device(space, page, level);
                    self.remember_walk(frames, space, page, level, table);
                });
                self.hangs_no_longer_at(table, at);
            }
        }
        if let Some(table) = is.table() {
            self.hangs_at(table, at);
        }
    }

    /// Tells `note` each address space that an entry of this level belongs to, if it hangs below a root that has been loaded,
    /// and the first page it translates there.
    fn for_each_resolved(&self, at: EntryAt, level: Level, note: &mut dyn FnMut(SpaceId, Vpn)) {
        let (mut table, mut page) = (at.table, page_of::<A>(Vpn(0), at, level));
        loop {
            let place = self.place(table);
            if let Some(space) = place.space.get() {
                return note(space, page);
            }
            self.for_each_further_parent(table, page, note);
            let Some(at) = place.parent.get() else { return };
            table = at.table;
            page = page_of::<A>(page, at, self.place(table).level.get());
        }
    }

    fn for_each_further_parent(&self, table: TableFrame, page: Vpn, note: &mut dyn FnMut(SpaceId, Vpn)) {
        if !self.place(table).is_shared.get() {
            return;
        }
        for (_, at) in self.more_parents.borrow().iter().filter(|(of, _)| *of == table) {
            self.for_each_resolved(*at, self.place(at.table).level.get(), &mut |space, base| {
                note(space, Vpn(base.0 + page.0));
            });
        }
    }

    fn for_each_holder(&self, space: SpaceId, mut note: impl FnMut(&mut Memory)) {
        let holders = self.holders_of(space).get();
        if holders.is_empty() {
            return;
        }
        let mut differing = self.differing.get();
        for cpu in holders.iter() {
            note(&mut self.cpu(cpu).borrow_mut());
            differing.insert(cpu);
        }
        self.differing.set(differing);
    }

    fn remember_leaf(&self, at: EntryAt, level: Level, raw: u64) {
        self.for_each_resolved(at, level, &mut |space, page| {
            self.entry_changed_for_device(space, page, level);
            self.for_each_holder(space, |cpu| cpu.remember::<A>(OldLeaf { page, level, raw }));
        });
    }

    /// `table`, from `page` on, is what an entry of `level` pointed at.
    fn remember_walk(&self, frames: &Frames<A>, space: SpaceId, page: Vpn, level: Level, table: TableFrame) {
        if self.holders_of(space).get().is_empty() {
            return;
        }
        self.for_each_holder(space, |cpu| cpu.walks.push(OldWalk { page, level, table }));
        // Whatever could be reached through the table may be cached too.
        let below = self.place(table).level.get();
        for (index, entry) in frames.entries(table).iter().enumerate() {
            let (raw, page) = (entry.get(), page_of::<A>(page, EntryAt { table, index }, below));
            match A::decode(raw, below) {
                Entry::Absent => {}
                Entry::Leaf(_) => {
                    self.for_each_holder(space, |cpu| cpu.remember::<A>(OldLeaf { page, level: below, raw }));
                }
                Entry::Table(next) | Entry::SharedTable(next) => self.remember_walk(frames, space, page, below, next),
            }
        }
    }

    pub(super) fn root_loaded(&self, cpu: CpuId, root: Option<(TableFrame, SpaceId)>) {
        let mut memory = self.cpu(cpu).borrow_mut();
        if let Some((_, left)) = memory.loaded {
            let mut holders = self.holders_of(left).get();
            holders.remove(cpu);
            self.holders_of(left).set(holders);
        }
        if let Some((table, space)) = root {
            self.place(table).space.set(Some(space));
            let mut holders = self.holders_of(space).get();
            holders.insert(cpu);
            self.holders_of(space).set(holders);
        }
        *memory = Memory { loaded: root, ..Memory::default() };
        self.set_lazy(cpu, false);
        self.update_differing(cpu, &memory);
    }

    pub(super) fn invalidated(&self, cpu: CpuId, what: Invalidate) {
        if !self.differing.get().contains(cpu) {
            return;
        }
        let mut memory = self.cpu(cpu).borrow_mut();
        match what {
            Invalidate::All | Invalidate::EveryTag => {
                memory.leaves.clear();
                memory.kernel_leaves.clear();
                memory.walks.clear();
            }
            Invalidate::Leaf(page, _) => memory.forget_page::<A>(page),
            Invalidate::Walk(page, _) => {
                memory.forget_page::<A>(page);
                memory.walks.retain(|old| !covers::<A>(old.level, old.page, page));
            }
        }
        self.update_differing(cpu, &memory);
    }

    /// Hears that every CPU forgets something of an address space, or of all.
    pub(super) fn broadcast(&self, space: Option<SpaceId>, what: Invalidate) {
        let is_meant = |of: SpaceId| space.is_none_or(|space| space == of);
        for cpu in self.differing.get().iter() {
            // Nothing is remembered of address spaces that are not loaded.
            let loaded = self.cpu(cpu).borrow().loaded;
            if loaded.is_some_and(|(_, loaded)| is_meant(loaded)) {
                self.invalidated(cpu, what);
            }
        }
    }

    fn update_differing(&self, cpu: CpuId, memory: &Memory) {
        let mut differing = self.differing.get();
        if memory.leaves.is_empty() && memory.kernel_leaves.is_empty() && memory.walks.is_empty() {
            differing.remove(cpu);
        } else {
            differing.insert(cpu);
        }
        self.differing.set(differing);
    }

    pub(super) fn set_lazy(&self, cpu: CpuId, is_lazy: bool) {
        let mut lazy = self.lazy.get();
        if is_lazy {
            lazy.insert(cpu);
        } else {
            lazy.remove(cpu);
        }
        self.lazy.set(lazy);
    }

    /// The CPUs that remember something and may use it.
    fn differing_and_active(&self) -> CpuSet<Cpus> {
        self.differing.get().without(&self.lazy.get())
    }

    pub(super) fn frame_freed(&self, pfn: Pfn) {
        self.look(self.differing_and_active(), StaleKind::FrameFreed, |memory, report| {
            memory.leaves.retain(|old| old.frame::<A>() != Some(pfn) || report(old.page, pfn));
        });
        self.ask_device(StaleKind::FrameFreed, |device| device.frame_freed(pfn));
    }

    pub(super) fn table_freed(&self, table: TableFrame) {
        let place = self.place(table);
        if let Some(space) = place.space.take() {
            let holders = self.holders_of(space).take();
            for cpu in holders.iter() {
                self.report(StaleKind::TableFreed, Holder::Cpu(cpu), space, Vpn(0), table.0);
            }
        }
        // The walker follows cached pointers by itself, on lazy CPUs too.
        self.look(self.differing.get(), StaleKind::TableFreed, |memory, report| {
            memory.walks.retain(|old| old.table != table || report(old.page, table.0));
        });
        self.ask_device(StaleKind::TableFreed, |device| device.table_freed(table));
    }

    /// Whatever an operation on `space` changed must be forgotten when it returns.
    pub(super) fn operation_returned(&self, frames: &Frames<A>, space: SpaceId) {
        self.look(self.differing_and_active(), StaleKind::OperationReturned, |memory, report| {
            if memory.loaded.is_some_and(|(_, loaded)| loaded == space) {
                report_contradictions(frames, memory, report);
            }
        });
        self.ask_device(StaleKind::OperationReturned, |device| device.operation_returned(frames, space));
    }

    pub(super) fn switched_in(&self, frames: &Frames<A>, cpu: CpuId) {
        if self.differing_and_active().contains(cpu) {
            let only = CpuSet::only(cpu);
            self.look(only, StaleKind::SwitchedIn, |memory, report| report_contradictions(frames, memory, report));
        }
    }

    /// Finds somebody who can store to a frame: through what a CPU remembers and may use, or through the tables of an
    /// address space that has been loaded.
    pub(super) fn writer_of(&self, frames: &Frames<A>, pfn: Pfn) -> Option<Writer> {
        let remembers = self.differing_and_active().iter().find_map(|cpu| {
            let memory = self.cpu(cpu).borrow();
            let old = memory.leaves.iter().find(|old| lets_write::<A>(old.raw, old.level, pfn));
            old.map(|old| Writer::Remembers(cpu, old.page))
        });
        let device = || {
            let (space, page) = self.device.as_ref()?.borrow().writer_of(pfn)?;
            Some(Writer::Device(space, page))
        };
        remembers.or_else(device).or_else(|| {
            let mut loaded = frames.tables().filter_map(|root| Some((root, self.place(root).space.get()?)));
            loaded.find_map(|(root, space)| {
                let page = find_writable(frames, (root, A::ROOT, Vpn(0)), pfn)?;
                Some(Writer::MayUse(space, page))
            })
        })
    }

    /// Runs `look` on what these CPUs remember; what it reports is forgotten, so nothing counts twice.
    fn look(&self, cpus: CpuSet<Cpus>, kind: StaleKind, look: impl Fn(&mut Memory, &mut dyn FnMut(Vpn, Pfn) -> bool)) {
        for cpu in cpus.iter() {
            let mut memory = self.cpu(cpu).borrow_mut();
            let Some((_, space)) = memory.loaded else { continue };
            look(&mut memory, &mut |page, frame| {
                self.report(kind, Holder::Cpu(cpu), space, page, frame);
                false
            });
            self.update_differing(cpu, &memory);
        }
    }

    fn report(&self, kind: StaleKind, holder: Holder, space: SpaceId, page: Vpn, frame: Pfn) {
        self.found.borrow_mut().push(StaleAccess { kind, holder, space, page, frame });
    }
}

fn report_contradictions<A: Architecture>(
    frames: &Frames<A>,
    memory: &mut Memory,
    report: &mut dyn FnMut(Vpn, Pfn) -> bool,
) {
    let Some((root, _)) = memory.loaded else { return };
    let mut is_allowed = |old: &OldLeaf| {
        let now = read_entry(frames, root, old.page, old.level);
        is_still_true::<A>(old.raw, now, old.level)
            || is_lazy_address::<A>(old.page, old.level, now)
            || old.frame::<A>().is_none_or(|frame| report(old.page, frame))
    };
    memory.leaves.retain(&mut is_allowed);
    memory.kernel_leaves.retain(&mut is_allowed);
}
