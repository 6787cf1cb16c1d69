//! One CPU: what it has loaded, what it remembers, and the state of its interrupts.

use std::hash::{Hash, Hasher};

use shootdown::{Pfn, Vpn};

use super::{
    FRAMES, MAX_DEPTH,
    store_buffer::StoreBuffer,
    tlb::{Tlb, Translation},
};

/// One CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    pub(super) root: Option<Pfn>,
    pub(super) tlb: Tlb,
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
        const { assert!(MAX_DEPTH <= 4 && FRAMES < 1 << 8) };
        let Cpu { root, tlb, is_masked, is_kicked, runs_user, saved_masks, depth, stores } = self;
        let root = root.map_or(0, |root| root.0 + 1);
        let flags = [is_masked, is_kicked, runs_user].into_iter().chain(saved_masks);
        let flags = flags.fold(u64::from(*depth), |bits, flag| bits << 1 | u64::from(*flag));
        tlb.hash(hasher);
        hasher.write_u64(root << 32 | flags);
        stores.hash(hasher);
    }
}

impl Cpu {
    pub(super) const fn new() -> Self {
        Cpu {
            root: None,
            tlb: Tlb::EMPTY,
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

    /// Returns the translations of `page` that the TLB holds, or may hold.
    pub fn translations(&self, page: Vpn) -> impl Iterator<Item = Translation> + use<> {
        self.tlb.of_page(page)
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
