//! What a machine can do, beyond its geometry.

/// In what order a CPU's stores reach memory. Loads are performed in program order on all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryModel {
    /// At once: sequential consistency.
    Sc,
    /// One after the other, some time later, and this CPU reads its own before: x86-TSO (Owens, Sarkar, Sewell, "A
    /// Better x86 Memory Model: x86-TSO", TPHOLs 2009; SDM 3A §8.2.2, rev 75), SPARC TSO.
    Tso,
    /// Some time later, in order only for each location by itself and across release fences: SPARC PSO (SPARC
    /// Architecture Manual V9, §8.4 and appendix D, `STBAR`). A store that is a release comes after all before it and may
    /// itself be overtaken, as `STLR` on arm64; a change that is no release overtakes stores to other locations.
    Pso,
}

/// How it is told what TLBs and walk caches hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlbModel {
    /// Exactly: each fill, each eviction is something that happens. Traces show what was filled when.
    Fills,
    /// As all that they may hold: whatever a walk could have found since the last invalidation. Nothing happens by
    /// itself, so there are far fewer states; and where several translations of a page could have been filled, any of
    /// them may be used after any other, as if the TLB held all of them.
    MaySets,
}

/// What a machine can do, beyond its geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many CPUs run, up to [`MAX_CPUS`](super::MAX_CPUS).
    pub cpus: usize,
    /// In what order stores reach memory.
    pub memory: MemoryModel,
    /// In partial store order: a change of a word in one step reaches memory late as well, as the second half of a pair of
    /// `LDXR` and `STXR` does on arm64, which later loads may overtake; nobody else changes the word meanwhile. And
    /// [`SeqCst`](std::sync::atomic::Ordering::SeqCst) is only what C11 says, and what `STLR` and `LDAR` do: loads that ask
    /// for it wait for stores and changes that did. Otherwise changes, and stores that ask for it, are never late.
    pub late_changes: bool,
    /// Interrupts, returns from them, invalidations and loads of a root first bring the CPU's stores to memory, as on x86
    /// (SDM 3A §8.3 and §11.10, rev 75). Otherwise waiting for invalidations does it and nothing else of these, as on
    /// arm64 (`DSB`).
    pub serializes: bool,
    /// A walker sees the stores that its own CPU has not brought to memory yet, as it does on x86, where no barrier
    /// stands between a store to an entry and its use. On arm64 it does not, hence `dsb` (Arm ARM D8.2.6, "ordering of
    /// translation table updates").
    pub walker_forwards: bool,
    /// How it is told what TLBs and walk caches hold.
    pub tlb: TlbModel,
    /// TLBs and walk caches keep what they hold of one address space when another one is loaded, under a tag.
    pub has_tags: bool,
    /// Walkers cache pointers to tables, so that walks begin in the middle.
    pub caches_walks: bool,
    /// What TLBs and walk caches hold may go at any time. May-sets hold it as well as not, so to them it makes no
    /// difference.
    pub evicts: bool,
    /// A walker sets the accessed bit of a leaf in memory before it caches the translation. Otherwise it has none.
    pub sets_accessed: bool,
    /// A store through a clean entry sets its dirty bit in memory. Otherwise it faults.
    pub sets_dirty: bool,
    /// A fault drops what led to it from the TLB and the walk cache (SDM 3A §4.10.4.1, rev 75).
    pub faults_forget: bool,
    /// It is an error that a TLB takes in a translation while it has one of another size for the same page: AMD erratum
    /// 383 (Revision Guide for family 10h, 41322), and arm64, where that is a TLB conflict abort or worse (Arm ARM DDI 0487,
    /// "break-before-make"). Otherwise either may be used.
    pub forbids_two_sizes: bool,
    /// A walk that finds a page absent may be remembered, too. Until that is forgotten, as a translation would be, the page
    /// faults, whatever memory says by then. RISC-V permits it: what a walk has read may be held until an `SFENCE.VMA`
    /// (privileged specification 20211203, §4.2.1 and §4.3.2). Svvptc, where there is that, bounds for how long.
    pub remembers_absent: bool,
    /// A kick is lost if its target has interrupts masked, as on Alpha's EV7 (see `INCIDENTS.md`, R-AL1). Otherwise it
    /// stays pending.
    pub loses_masked_kicks: bool,
    /// Code that waits may find at any time that it has waited too long. Otherwise it never does.
    pub has_clock: bool,
    /// Each CPU's timer may interrupt it at any time, as often as it likes.
    pub ticks: bool,
    /// Requests for scratch memory may be refused.
    pub may_refuse_batches: bool,
    /// Requests for tables may be refused.
    pub may_refuse_tables: bool,
}

impl Config {
    /// A machine with the weakest memory, and with nothing that a scenario must ask for.
    #[must_use]
    pub const fn with_cpus(cpus: usize) -> Config {
        Config {
            cpus,
            memory: MemoryModel::Pso,
            late_changes: false,
            serializes: false,
            walker_forwards: false,
            tlb: TlbModel::Fills,
            has_tags: false,
            caches_walks: false,
            evicts: false,
            sets_accessed: false,
            sets_dirty: true,
            faults_forget: false,
            forbids_two_sizes: false,
            remembers_absent: false,
            loses_masked_kicks: false,
            has_clock: false,
            ticks: false,
            may_refuse_batches: false,
            may_refuse_tables: false,
        }
    }

    /// Tells whether changes in one step are late: only where stores are, and out of order.
    pub(super) const fn is_late(&self) -> bool {
        self.late_changes && matches!(self.memory, MemoryModel::Pso)
    }
}
