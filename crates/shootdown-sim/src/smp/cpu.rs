//! One CPU: what it has loaded, what it remembers, and the state of its interrupts.

use std::hash::{Hash, Hasher};

use shootdown::{Invalidate, Pfn, Vpn};

use super::{
    MAX_DEPTH, MAX_STORES, TAGS,
    broadcast::InFlight,
    frame::MaybeFrame,
    store_buffer::StoreBuffer,
    tlb::{Tlb, Translation},
};

/// One CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    pub(super) root: MaybeFrame,
    // What it remembers under each tag, and of which root that is.
    pub(super) tlbs: [Tlb; TAGS],
    pub(super) roots: [MaybeFrame; TAGS],
    // The tag that is loaded; without tags always the first.
    pub(super) tag: u8,
    pub(super) is_masked: bool,
    pub(super) is_kicked: bool,
    pub(super) runs_user: bool,
    // The masks that the interrupted code had, outermost first. Those above `depth` are false.
    pub(super) saved_masks: [bool; MAX_DEPTH],
    pub(super) depth: u8,
    pub(super) stores: StoreBuffer,
    // What it has begun to make all CPUs forget, and not completed.
    pub(super) in_flight: InFlight,
}

impl Hash for Cpu {
    /// As few words as there can be: every state is hashed.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        const { assert!(MAX_DEPTH == 2 && TAGS + 8 * (TAGS + 1) <= 48 && MAX_STORES < 1 << 3) };
        let Cpu { root, tlbs, roots, tag, is_masked, is_kicked, runs_user, saved_masks, depth, stores, in_flight } =
            self;
        let roots = roots.iter().chain([root]).fold(u64::from(*tag), |bits, root| bits << 8 | u64::from(root.byte()));
        let flags = [is_masked, is_kicked, runs_user].into_iter().chain(saved_masks);
        let flags = flags.fold(u64::from(*depth), |bits, flag| bits << 1 | u64::from(*flag));
        // None of them is above bit 6.
        let flags = flags | u64::from(!in_flight.is_empty()) << 7;
        let in_use = tlbs.iter().fold(0, |bits, tlb| bits << 1 | u64::from(!tlb.is_empty()));
        // What follows is told from other things by how much of it there is.
        hasher.write_u64(roots << 16 | (in_use << 3 | stores.len() as u64) << 8 | flags);
        tlbs.iter().filter(|tlb| !tlb.is_empty()).for_each(|tlb| tlb.hash(hasher));
        stores.hash(hasher);
        if !in_flight.is_empty() {
            hasher.write_u64(in_flight.bits());
        }
    }
}

impl Cpu {
    pub(super) const fn new() -> Self {
        Cpu {
            root: MaybeFrame::NONE,
            tlbs: [const { Tlb::EMPTY }; TAGS],
            roots: [MaybeFrame::NONE; TAGS],
            tag: 0,
            is_masked: false,
            is_kicked: false,
            runs_user: true,
            saved_masks: [false; MAX_DEPTH],
            depth: 0,
            stores: StoreBuffer::EMPTY,
            in_flight: InFlight::EMPTY,
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

    /// The root that is loaded.
    pub(super) fn root(&self) -> Option<Pfn> {
        self.root.get()
    }

    /// What it remembers and can use: that of the loaded tag, nothing if no root is loaded.
    pub(super) fn tlb(&self) -> &Tlb {
        match self.root() {
            Some(_) => &self.tlbs[usize::from(self.tag)],
            None => &Tlb::EMPTY,
        }
    }

    pub(super) fn tlb_mut(&mut self) -> &mut Tlb {
        &mut self.tlbs[usize::from(self.tag)]
    }

    /// What it remembers under tags that are not loaded, and of which root that is.
    pub(super) fn other_tlbs(&mut self) -> impl Iterator<Item = (Option<Pfn>, &mut Tlb)> {
        let in_use = self.root().is_some().then_some(usize::from(self.tag));
        let tlbs = self.roots.iter().zip(&mut self.tlbs).enumerate();
        tlbs.filter(move |(tag, _)| Some(*tag) != in_use).map(|(_, (root, tlb))| (root.get(), tlb))
    }

    pub(super) fn forget(&mut self, what: Invalidate) {
        match what {
            Invalidate::EveryTag => self.tlbs = [const { Tlb::EMPTY }; TAGS],
            Invalidate::Leaf(..) | Invalidate::Walk(..) | Invalidate::All => self.tlb_mut().forget(what),
        }
    }

    /// Returns the translations of `page` that the TLB holds, or may hold.
    pub fn translations(&self, page: Vpn) -> impl Iterator<Item = Translation> + use<> {
        self.tlb().of_page(page)
    }

    /// Tells whether it remembers that nothing is at `page`, or may.
    #[must_use]
    pub fn knows_absent(&self, page: Vpn) -> bool {
        self.tlb().knows_absent(page)
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
