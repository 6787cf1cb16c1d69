//! What the models have in common: pages taken away by hand, as kernels do that have no gather.

use std::sync::atomic::Ordering::Release;

use shootdown::{At, CpuId, CpuSet, EntryAt, Frame, Hint, Invalidate, Level, Machine, Pfn, TableFrame};
use shootdown_sim::smp::{Config, MemoryModel};

use super::super::script::{PAGE_0, create};
use crate::machine::Sim;

/// Where [`setup`] puts page 0: the frame, and the table with its entry. The machine hands frames out in order, after the
/// root.
const FRAME: Pfn = Pfn(1);
const TABLE: TableFrame = TableFrame(Pfn(2));

/// A sequentially consistent machine whose walkers see all stores: the models fail without the help of store buffers.
pub(super) const fn cpus(n_cpus: usize) -> Config {
    Config { memory: MemoryModel::Sc, walker_forwards: true, ..Config::with_cpus(n_cpus) }
}

/// Page 0 is mapped, and every CPU has the address space loaded.
pub(super) fn setup(m: &Sim) {
    if m.cpu() == CpuId(0) {
        create(m, 1);
    }
    m.user_space().switch_to(m);
}

/// Clears the entry of page 0 and forgets the page on this CPU.
pub(super) fn unhook_locally(m: &Sim) {
    m.store(At::Entry(EntryAt { table: TABLE, index: 0 }), 0, Release);
    m.invalidate(Invalidate::Leaf(PAGE_0, Hint::at(Level::LEAF)));
    m.complete();
}

/// Gives the frame of page 0 back.
pub(super) fn free(m: &Sim) {
    // SAFETY:
    // - The reference that the entry held is ours to give up: one CPU clears the entry, once, and claims the frame once.
    // - Every frame number is aligned to the leaf level.
    #[expect(unsafe_code, reason = "models free by hand what the library would not let them free")]
    let frame = unsafe { Frame::claim(FRAME, Level::LEAF) };
    m.free_frame(frame);
}

/// Kicks one CPU.
pub(super) fn kick(m: &Sim, cpu: CpuId) {
    m.kick(&CpuSet::only(cpu));
}
