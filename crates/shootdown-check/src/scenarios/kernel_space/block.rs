//! Kernel addresses that are handed out a few pages at a time (R-VB, R-VPURGE, M36).

use std::cell::Cell;

use shootdown::{
    Attributes, Counter, CpuId, Fix, Frame, Level, Machine, VpnRange, call,
    kspace::{BlockMapError, Blocks, FreeRange},
    page,
};

use shootdown_sim::smp::{Config, MemoryModel, TlbModel};

use super::{
    super::script::{TWO_CPUS, TWO_LATE_CPUS},
    script::{PAGE, assert_works, build, is_told, sealed, tell},
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// Here speculation is enough to go wrong, as after a barrier before a frame is mapped elsewhere with other attributes: CPUs
/// count as running user code.
pub(in super::super) static FULL: Scenario = Scenario {
    name: "kernel_block_full",
    goal: "A barrier looks for what to flush among the blocks with room, and overlooks what was unmapped in a block without.",
    method: "CPU 0 unmaps one of two pages that fill their block, and asks for the barrier; both CPUs may remember the page.",
    machine: TWO_CPUS,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            build(m);
            map(m).expect("the block has room");
            map(m).expect("the block has room");
        }
        m.address_space(usize::from(m.cpu().0)).switch_to(m);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_and_drain(m);
        }
    },
    proves: &[Proof::of(Fix::LookInFullBlocks, "stale-after-return"), Proof::of(Fix::WaitForAcks, "stale-at-free")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::Flush)],
    ..Scenario::BLANK
};

pub(in super::super) static TWO_DRAINS: Scenario = Scenario {
    name: "kernel_block_drains",
    goal: "A barrier finds nothing to flush, since another one is about to, and returns before that has.",
    method: "CPU 0 unmaps a page and asks for the barrier; CPU 1 does, too.",
    // It is not about when stores are seen.
    machine: Config { memory: MemoryModel::Sc, tlb: TlbModel::MaySets, ..TWO_CPUS },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_and_drain(m);
        } else {
            blocks(m).drain(m);
        }
    },
    proves: &[Proof::of(Fix::CleanAfterFlush, "stale-after-return")],
    ..FULL
};

pub(in super::super) static REUSE: Scenario = Scenario {
    name: "kernel_block_reuse",
    goal: "A page of a block is mapped again, and a CPU goes on to where it led before.",
    method: "CPU 0 unmaps one of two pages of a block, maps another frame, where there is room or after the barrier, and tells CPU 1, \
             which uses it.",
    setup: |m| {
        (FULL.setup)(m);
        m.stop_user();
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            assert!(blocks(m).unmap(m, PAGE, &page::DropReference).is_ok(), "the setup has mapped it");
            let mapped = map(m).or_else(|_| {
                blocks(m).drain(m);
                map(m)
            });
            assert!(mapped.is_ok_and(|pages| pages.start == PAGE), "what was flushed is free");
            tell(m);
        } else if is_told(m) {
            assert_works(m, PAGE);
        }
    },
    proves: &[Proof::of(Fix::FlushBeforeReuse, "stale-in-use")],
    ..FULL
};

/// What was unmapped while somebody flushes counts as flushed if it was cleared before the flush began, and not otherwise.
pub(in super::super) static MEANWHILE: Scenario = Scenario {
    name: "kernel_block_meanwhile",
    goal: "A flush that is under way when a page is unmapped counts for it, and the page is used again.",
    method: "CPU 0 unmaps a page whose entry hardware need not write to, and uses what it maps there if there is room; CPU 1 flushes \
             for the whole block.",
    machine: Config { tlb: TlbModel::MaySets, ..TWO_LATE_CPUS },
    main: |m| {
        if m.cpu() == CpuId(0) {
            // Its owner has the frame until the end: to let go of it would bring the cleared entry to memory.
            let owned = Cell::new(None);
            let kept = |_: &Sim, frame: Frame| owned.set(Some(frame));
            assert!(blocks(m).unmap(m, PAGE, &kept).is_ok(), "the setup has mapped it");
            if map(m).is_ok() {
                m.promises(VpnRange::from_len(PAGE, 1));
                assert_works(m, PAGE);
            }
            owned.take().into_iter().for_each(|frame| m.free_frame(frame));
        } else {
            let flushed = sealed(m).flush(m, BLOCK);
            blocks(m).flushed(m, &flushed);
        }
    },
    proves: &[Proof::of(Fix::FlushBeforeReuse, "revoked-in-use")],
    ..REUSE
};

/// The pages of the only block.
pub(in super::super) const BLOCK: VpnRange = VpnRange::from_len(PAGE, 2);

pub(in super::super) fn blocks(m: &Sim) -> Blocks<'_, Sim> {
    // SAFETY: the range is that of the blocks from the setup on, and of nobody else.
    #[expect(unsafe_code, reason = "a scenario keeps nothing between its setup and its end")]
    let addresses = unsafe { FreeRange::claim(BLOCK) };
    Blocks::new(sealed(m), addresses, m.blocks(), m.current_blocks()).expect("two pages are two units")
}

fn map(m: &Sim) -> Result<VpnRange, BlockMapError> {
    let frame = page::allocate(m, Level::LEAF).expect("the machine has a frame");
    blocks(m).map(m, 1, [frame], Attributes { dirty: true, ..Attributes::USER_WRITE })
}

/// Unmaps the first page; its frame is given back after the barrier.
fn unmap_and_drain(m: &Sim) {
    let owned = Cell::new(None);
    let kept = |_: &Sim, frame: Frame| owned.set(Some(frame));
    assert!(blocks(m).unmap(m, PAGE, &kept).is_ok(), "the setup has mapped it");
    blocks(m).drain(m);
    m.promises(VpnRange::from_len(PAGE, 1));
    owned.take().into_iter().for_each(|frame| m.free_frame(frame));
}
