//! States of which the next are not known yet: packed, in blocks, first come, first served.

use std::{collections::VecDeque, mem::size_of};

use super::reached::StateIdx;

/// Bytes of a block, some two hundred states.
const BLOCK_BYTES: usize = 16 << 10;

/// States with successive numbers.
pub(super) struct Block {
    /// The number of the first.
    pub(super) first: StateIdx,
    /// The states, packed.
    pub(super) bytes: Vec<u8>,
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue(VecDeque<Block>);

impl Queue {
    /// Appends a packed state, which must have the next number.
    pub(super) fn push(&mut self, idx: StateIdx, packed: &[u8]) {
        let has_room = |block: &&mut Block| block.bytes.len() + packed.len() <= BLOCK_BYTES;
        match self.0.back_mut().filter(has_room) {
            Some(block) => block.bytes.extend(packed),
            None => {
                let mut bytes = Vec::with_capacity(BLOCK_BYTES);
                bytes.extend(packed);
                self.0.push_back(Block { first: idx, bytes });
            }
        }
    }

    /// The blocks that no state will be appended to, or else the last one.
    pub(super) fn ready(&self) -> impl ExactSizeIterator<Item = &Block> {
        self.0.range(..self.0.len().saturating_sub(1).max(1).min(self.0.len()))
    }

    /// Takes the first block.
    pub(super) fn pop(&mut self) -> Option<Block> {
        self.0.pop_front()
    }

    /// Bytes that are allocated, and those of the block that was taken last.
    pub(super) fn n_bytes(&self) -> usize {
        (self.0.len() + 1) * BLOCK_BYTES + self.0.capacity() * size_of::<Block>()
    }
}
