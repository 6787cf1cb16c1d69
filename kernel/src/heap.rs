//! Memory for the kernel's own data: layouts of address spaces, processes, queues.

use spinning_top::RawSpinlock;
use talc::{TalcLock, source::Claim};

use crate::memory;

#[global_allocator]
static HEAP: TalcLock<RawSpinlock, Claim> = TalcLock::new(
    // SAFETY: these frames are memory, see `memory::check`, mapped for ever, and nobody else uses them.
    unsafe {
        Claim::new(
            memory::direct_map(memory::HEAP.start << 12),
            ((memory::HEAP.end - memory::HEAP.start) << 12) as usize,
        )
    },
);
