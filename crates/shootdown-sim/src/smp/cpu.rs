//! One CPU: what it has loaded, what it remembers, and the state of its interrupts.

use std::hash::{Hash, Hasher};

use shootdown::{EntryFormat, Invalidate, Pfn, Vpn, arch::tiny::Tiny};

use super::{ENTRIES, FRAMES, MAX_DEPTH, PAGES, act::Evicted, store_buffer::StoreBuffer};

/// A translation in a TLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Translation {
    /// Where the page was when a walk read its entry.
    pub frame: Pfn,
    /// Stores were allowed.
    pub is_writable: bool,
    /// The dirty bit was set, so that stores need not set it.
    pub is_dirty: bool,
    /// Whether it may still be used.
    pub standing: Standing,
}

impl Translation {
    /// Tells whether everything that goes through this one goes through `other` too, without a trace that `other` would
    /// leave.
    pub(super) fn is_within(&self, other: &Translation) -> bool {
        self.frame == other.frame && (!self.is_writable || (other.is_writable && (!self.is_dirty || other.is_dirty)))
    }

    /// All of it in 16 bits, never 0.
    const fn bits(&self) -> u64 {
        let Translation { frame, is_writable, is_dirty, standing } = *self;
        1 << 15 | (is_writable as u64) << 14 | (is_dirty as u64) << 13 | (standing as u64) << 8 | frame.0
    }
}

/// Ghost: whether a translation may still be used. Only CPUs that run no user code may have one that may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It may.
    Good,
    /// Somebody promised that it was gone.
    Revoked,
    /// Its frame was given back.
    Freed,
}

/// One CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    pub(super) root: Option<Pfn>,
    pub(super) tlb: [Option<Translation>; PAGES],
    pub(super) walk_cache: [Option<Pfn>; ENTRIES],
    pub(super) is_masked: bool,
    pub(super) is_kicked: bool,
    pub(super) runs_user: bool,
    // The masks that the interrupted code had, outermost first. Those above `depth` are false.
    pub(super) saved_masks: [bool; MAX_DEPTH],
    pub(super) depth: u8,
    pub(super) stores: StoreBuffer,
}

impl Hash for Cpu {
    /// As few words as there can be: every state is hashed.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        const { assert!(PAGES * 16 <= 64 && ENTRIES < 4 && MAX_DEPTH <= 4 && FRAMES < 1 << 8) };
        let Cpu { root, tlb, walk_cache, is_masked, is_kicked, runs_user, saved_masks, depth, stores } = self;
        let translations = tlb.iter().fold(0, |bits, entry| bits << 16 | entry.as_ref().map_or(0, Translation::bits));
        let pointers = walk_cache.iter().chain([root]).fold(0, |bits, to| bits << 8 | to.map_or(0, |to| to.0 + 1));
        let flags = [is_masked, is_kicked, runs_user].into_iter().chain(saved_masks);
        let flags = flags.fold(u64::from(*depth), |bits, flag| bits << 1 | u64::from(*flag));
        hasher.write_u64(translations);
        hasher.write_u64(pointers << 32 | flags);
        stores.hash(hasher);
    }
}

impl Cpu {
    pub(super) const fn new() -> Self {
        Cpu {
            root: None,
            tlb: [None; PAGES],
            walk_cache: [None; ENTRIES],
            is_masked: false,
            is_kicked: false,
            runs_user: true,
            saved_masks: [false; MAX_DEPTH],
            depth: 0,
            stores: StoreBuffer::EMPTY,
        }
    }

    /// Returns how many interrupts are on top of the CPU's main code.
    #[must_use]
    pub fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    /// Tells whether a kick is pending.
    #[must_use]
    pub fn is_kicked(&self) -> bool {
        self.is_kicked
    }

    /// Tells whether interrupts are masked.
    #[must_use]
    pub fn is_masked(&self) -> bool {
        self.is_masked
    }

    /// Tells whether all stores of the CPU have reached memory.
    #[must_use]
    pub fn has_drained(&self) -> bool {
        self.stores.is_empty()
    }

    /// Returns what the TLB holds for `page`.
    #[must_use]
    pub fn translation(&self, page: Vpn) -> Option<Translation> {
        self.tlb.get(page.0 as usize).copied().flatten()
    }

    /// The pages that the TLB has a translation for.
    pub(super) fn translations(&self) -> impl Iterator<Item = (Vpn, Translation)> + '_ {
        (0..).map(Vpn).zip(&self.tlb).filter_map(|(page, slot)| Some((page, (*slot)?)))
    }

    /// Remembers that `frame` was given back under this CPU's translations.
    pub(super) fn mark_freed(&mut self, frame: Pfn) {
        for translation in self.tlb.iter_mut().flatten().filter(|translation| translation.frame == frame) {
            translation.standing = Standing::Freed;
        }
    }

    /// Remembers that somebody promised that the translation of `page` was gone.
    pub(super) fn mark_revoked(&mut self, page: Vpn) {
        if let Some(translation) = &mut self.tlb[page.0 as usize]
            && translation.standing == Standing::Good
        {
            translation.standing = Standing::Revoked;
        }
    }

    pub(super) fn evict(&mut self, what: Evicted) {
        match what {
            Evicted::Translation(page) => self.forget_page(page),
            Evicted::Pointer(index) => self.walk_cache[index] = None,
        }
    }

    /// What could be evicted.
    pub(super) fn remembered(&self) -> impl Iterator<Item = Evicted> + '_ {
        let translations = self.translations().map(|(page, _)| Evicted::Translation(page));
        let pointers = (0..ENTRIES).filter(|index| self.walk_cache[*index].is_some()).map(Evicted::Pointer);
        translations.chain(pointers)
    }

    pub(super) fn forget(&mut self, what: Invalidate) {
        // The level does not matter here: every translation in this TLB is that of one base page.
        match what {
            Invalidate::Leaf(page, _) => self.forget_page(page),
            Invalidate::Walk(page, _) => self.forget_path(page),
            Invalidate::All => self.forget_everything(),
        }
    }

    fn forget_page(&mut self, page: Vpn) {
        if let Some(slot) = self.tlb.get_mut(page.0 as usize) {
            *slot = None;
        }
    }

    pub(super) fn forget_path(&mut self, page: Vpn) {
        self.forget_page(page);
        self.walk_cache[page.index::<Tiny>(Tiny::ROOT)] = None;
    }

    pub(super) fn forget_everything(&mut self) {
        self.tlb = [None; PAGES];
        self.walk_cache = [None; ENTRIES];
    }

    pub(super) fn enter_interrupt(&mut self) {
        assert!(!self.is_masked, "an interrupt while it is masked");
        assert!(self.depth() < MAX_DEPTH, "interrupts nest too deeply");
        self.saved_masks[self.depth()] = self.is_masked;
        self.depth += 1;
        self.is_masked = true;
    }

    pub(super) fn leave_interrupt(&mut self) {
        self.depth = self.depth.checked_sub(1).expect("a return without an interrupt");
        self.is_masked = std::mem::take(&mut self.saved_masks[usize::from(self.depth)]);
    }
}
