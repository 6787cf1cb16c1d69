//! Models of addresses that are handed out in parts of a block, and of the barrier after which no CPU remembers a part that
//! was given back, as Linux has both (R-VB, fc1e0d980037).
//!
//! What must be flushed has to be looked for where it is noted that it must be. It fails to look for it among the blocks that
//! have room: a block that is full is not among them, and neither is one that was full when its part came back.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use shootdown::{CpuId, Machine, Modify, Shared, VpnRange};

use super::{
    super::script::cpus,
    script::{NEW, NEXT_PAGE, OLD, PAGE, flush, forget, map, setup, unmap},
};
use crate::{machine::Sim, scenario::Scenario};

/// The shortest trace: the barrier finds no block with room and returns; CPU 0 itself remembers the part.
pub(in super::super) static WITH_ROOM: Scenario = Scenario {
    name: "model_block_room_2cpu",
    goal: "A barrier looks for what to flush among the blocks with room, and overlooks a part of a block without.",
    method: "CPU 0 takes the last part of a block, gives another part back, and asks for the barrier; both CPUs may remember that part.",
    machine: cpus(2),
    setup: |m| {
        setup(m);
        if m.cpu() == CpuId(0) {
            has_room(m).store(m, 1, Release);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            take_last_and_give_back(m);
            if has_room(m).load(m, Acquire) != 0 {
                flush_dirty(m);
            }
            end_barrier(m);
        }
    },
    handler: forget,
    ..Scenario::BLANK
};

pub(in super::super) static DIRTY: Scenario = Scenario {
    name: "model_block_dirty_2cpu",
    method: "As model_block_room_2cpu; the barrier looks at every block.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            take_last_and_give_back(m);
            flush_dirty(m);
            end_barrier(m);
        }
    },
    ..WITH_ROOM
};

fn take_last_and_give_back(m: &Sim) {
    map(m, NEXT_PAGE, NEW);
    has_room(m).store(m, 0, Release);
    unmap(m, PAGE);
    dirty(m).update(m, Modify::Or(1 << PAGE.0), AcqRel);
}

fn flush_dirty(m: &Sim) {
    if dirty(m).modify(m, Modify::Swap(0), AcqRel) != 0 {
        flush(m);
    }
}

/// Speculation is enough to go wrong: nobody has to use the address.
fn end_barrier(m: &Sim) {
    m.promises(VpnRange::from_len(PAGE, 1));
    m.free_frame_of_owner(OLD);
}

/// Whether the block is on the list of those with room.
fn has_room(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(1)
}

/// The parts of the block that were given back and are not flushed, as bits.
fn dirty(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(2)
}
