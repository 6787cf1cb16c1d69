//! Frames of memory, as far as translations care.

use std::ops::Range;

use shootdown::{Entry, EntryFormat, Level, Pfn, TableFrame, arch::tiny::Tiny};

use super::{ENTRIES, FRAMES};

/// A frame's number or none, in a byte: every state is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MaybeFrame(u8);

const _: () = assert!(FRAMES < u8::MAX as usize);

impl MaybeFrame {
    pub(super) const NONE: MaybeFrame = MaybeFrame(0);

    pub(super) const fn of(frame: Pfn) -> Self {
        MaybeFrame(frame.0 as u8 + 1)
    }

    pub(super) fn get(self) -> Option<Pfn> {
        self.0.checked_sub(1).map(|number| Pfn(u64::from(number)))
    }

    /// Zero for none.
    pub(super) const fn byte(self) -> u8 {
        self.0
    }

    pub(super) const fn from_byte(byte: u8) -> Self {
        MaybeFrame(byte)
    }
}

/// What a frame is in use as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// Nothing.
    #[default]
    Free,
    /// A page of user data.
    Data,
    /// A page-table page.
    Table,
    /// A page-table page that some CPU has loaded as a root: before, nobody could know that its leaves are large.
    Root,
}

impl FrameKind {
    pub(super) const fn is_table(self) -> bool {
        matches!(self, FrameKind::Table | FrameKind::Root)
    }
}

/// One frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// What it is in use as.
    pub(super) kind: FrameKind,
    /// Its entries, if it is a table.
    pub(super) entries: [u8; ENTRIES],
    /// Ghost: some entry has led here since it was taken.
    pub(super) was_mapped: bool,
    /// Ghost: user code has stored here since it was last written back.
    pub(super) is_written: bool,
    /// Ghost: its owner knows that it must be written back.
    pub(super) is_noted_dirty: bool,
}

impl Frame {
    /// All of it in so many bits.
    pub(super) const BITS: u32 = 8 * ENTRIES as u32 + 5;

    /// The level of its entries, if it is a table.
    pub(super) const fn level(&self) -> Level {
        match self.kind {
            FrameKind::Root => Tiny::ROOT,
            FrameKind::Free | FrameKind::Data | FrameKind::Table => Level::LEAF,
        }
    }

    pub(super) fn bits(&self) -> u64 {
        const { assert!(Self::BITS <= 64) };
        let Frame { kind, entries, was_mapped, is_written, is_noted_dirty } = self;
        let entries = entries.iter().fold(0, |bits, entry| bits << 8 | u64::from(*entry));
        let ghosts = [was_mapped, is_written, is_noted_dirty].into_iter();
        let ghosts = ghosts.fold(0, |bits, ghost| bits << 1 | u64::from(*ghost));
        entries << 5 | ghosts << 2 | *kind as u64
    }
}

/// The numbers of the frames that an entry of this level leads to: of a large leaf those that follow the first, too.
pub(super) fn led_to(raw: u64, level: Level) -> Range<u64> {
    match Tiny::decode(raw, level) {
        Entry::Leaf(first) => first.0..first.0 + level.pages::<Tiny>(),
        Entry::Table(TableFrame(table)) | Entry::SharedTable(TableFrame(table)) => table.0..table.0 + 1,
        Entry::Absent => 0..0,
    }
}
