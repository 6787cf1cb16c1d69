//! One CPU: what it has loaded, what it remembers, and the state of its interrupts.

use shootdown::{EntryFormat, Invalidate, Pfn, Vpn, arch::tiny::Tiny};

use super::{ENTRIES, MAX_DEPTH, PAGES};

/// A translation in a TLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Translation {
    /// Where the page was when a walk read its entry.
    pub frame: Pfn,
    /// The frame was given back since. Only CPUs that run no user code may have such a translation.
    pub is_stale: bool,
}

/// One CPU.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

    /// Tells whether the CPU takes its pending kick now.
    #[must_use]
    pub fn takes_interrupt(&self) -> bool {
        self.is_kicked && !self.is_masked
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
    pub(super) fn mark_stale(&mut self, frame: Pfn) {
        for translation in self.tlb.iter_mut().flatten() {
            translation.is_stale |= translation.frame == frame;
        }
    }

    pub(super) fn forget(&mut self, what: Invalidate) {
        // The level does not matter here: every translation in this TLB is that of one base page.
        match what {
            Invalidate::Leaf(page, _) => self.forget_page(page),
            Invalidate::Walk(page, _) => {
                self.forget_page(page);
                self.walk_cache[page.index::<Tiny>(Tiny::ROOT)] = None;
            }
            Invalidate::All => self.forget_everything(),
        }
    }

    fn forget_page(&mut self, page: Vpn) {
        if let Some(slot) = self.tlb.get_mut(page.0 as usize) {
            *slot = None;
        }
    }

    pub(super) fn forget_everything(&mut self) {
        self.tlb = [None; PAGES];
        self.walk_cache = [None; ENTRIES];
    }

    pub(super) fn enter_interrupt(&mut self) {
        assert!(self.takes_interrupt(), "an interrupt that is not pending or masked");
        assert!(self.depth() < MAX_DEPTH, "interrupts nest too deeply");
        self.saved_masks[self.depth()] = self.is_masked;
        self.depth += 1;
        self.is_kicked = false;
        self.is_masked = true;
    }

    pub(super) fn leave_interrupt(&mut self) {
        self.depth = self.depth.checked_sub(1).expect("a return without an interrupt");
        self.is_masked = std::mem::take(&mut self.saved_masks[usize::from(self.depth)]);
    }
}
