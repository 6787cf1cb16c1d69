//! A format for exhaustive exploration: two levels of two entries, an entry in one byte.
//!
//! Small enough that every state of every table can be hashed, and still with everything that matters: two levels, so
//! that a walk can be cut in half; accessed and dirty bits; permissions; and leaves that are there for the kernel only.

use crate::{
    addr::{Level, Pfn, TableFrame, Vpn, VpnRange},
    format::{Attributes, Entry, EntryFormat},
};

const PRESENT: u64 = 0x80;
const DIRTY: u64 = 0x40;
const WRITABLE: u64 = 0x20;
const LEAF: u64 = 0x10;
const ACCESSED: u64 = 0x08;
const FRAME: u64 = 0x07;

/// The tiny format: 4 pages of address space, 8 frames.
#[derive(Clone, Copy, Debug)]
pub struct Tiny;

impl EntryFormat for Tiny {
    const LEVELS: u8 = 2;
    const INDEX_BITS: u32 = 1;
    const PAGE_SHIFT: u32 = 4;
    const HIGHEST_LEAF: Level = Level(2);
    // There are two root entries: a scenario uses each for user addresses or for the kernel's.
    const KERNEL: VpnRange = VpnRange::new(Vpn(0), Vpn(4));
    // What a leaf permits means nothing in a pointer.
    const SHARED: u64 = WRITABLE;

    fn leaf(frame: Pfn, _: Level, attributes: Attributes) -> u64 {
        Self::with_attributes(LEAF | frame.0 & FRAME, attributes)
    }

    fn table(table: TableFrame) -> u64 {
        PRESENT | table.0.0 & FRAME
    }

    fn decode(raw: u64, _: Level) -> Entry {
        let frame = Pfn(raw & FRAME);
        match (raw & LEAF != 0, raw & PRESENT != 0, raw & Self::SHARED != 0) {
            (true, ..) => Entry::Leaf(frame),
            (false, true, false) => Entry::Table(TableFrame(frame)),
            (false, true, true) => Entry::SharedTable(TableFrame(frame)),
            (false, false, _) => Entry::Absent,
        }
    }

    fn attributes(raw: u64) -> Attributes {
        Attributes {
            writable: raw & WRITABLE != 0,
            executable: true,
            // To hardware it is absent then, as a page without any permission is on x86 under Linux.
            user: raw & PRESENT != 0,
            accessed: raw & ACCESSED != 0,
            dirty: raw & DIRTY != 0,
        }
    }

    fn with_attributes(raw: u64, attributes: Attributes) -> u64 {
        raw & !(PRESENT | WRITABLE | ACCESSED | DIRTY)
            | if attributes.user { PRESENT } else { 0 }
            | if attributes.writable { WRITABLE } else { 0 }
            | if attributes.accessed { ACCESSED } else { 0 }
            | if attributes.dirty { DIRTY } else { 0 }
    }

    fn hardware_may_write(raw: u64) -> bool {
        raw & PRESENT != 0 && raw & (ACCESSED | DIRTY) != ACCESSED | DIRTY
    }

    fn needs_flush(old: u64, new: u64) -> bool {
        old & PRESENT != 0 && (old & !new & (PRESENT | ACCESSED | DIRTY) != 0 || (old ^ new) & WRITABLE != 0)
    }
}
