//! Which addresses kernel space has, in whole slots.

use crate::{
    addr::{Vpn, VpnRange},
    format::EntryFormat,
};

/// A part of what the kernel may map ([`EntryFormat::KERNEL`]): whole root entries that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelArea {
    pages: VpnRange,
}

/// Why there can be no such area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AreaError {
    /// So many bytes are less than one slot has.
    TooSmall {
        /// What was asked for.
        bytes: u64,
        /// What one slot has.
        least: u64,
    },
    /// So many bytes are more than there are.
    TooLarge {
        /// What was asked for.
        bytes: u64,
        /// What there is.
        most: u64,
    },
    /// These pages do not begin and end with a slot.
    Misaligned(VpnRange),
    /// Some of these pages are not the kernel's, or there are none.
    NotTheKernels(VpnRange),
}

impl core::fmt::Display for AreaError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            AreaError::TooSmall { bytes, least } => {
                write!(f, "{bytes} bytes of kernel space are less than the {least} of one slot")
            }
            AreaError::TooLarge { bytes, most } => {
                write!(f, "{bytes} bytes of kernel space are more than the {most} that there are")
            }
            AreaError::Misaligned(VpnRange { start, end }) => {
                write!(f, "pages {:#x} to {:#x} do not begin and end with a root entry", start.0, end.0)
            }
            AreaError::NotTheKernels(VpnRange { start, end }) => {
                write!(f, "pages {:#x} to {:#x} are not the kernel's to map", start.0, end.0)
            }
        }
    }
}

impl core::error::Error for AreaError {}

impl KernelArea {
    /// Returns the last so many bytes of what the kernel may map, rounded up to whole slots: on Alpha 8 GiB are the slot below
    /// the self-map, 2040 GiB are all there are.
    ///
    /// # Errors
    /// [`AreaError`]: less than a slot, or more than there is.
    pub const fn of_size<F: EntryFormat>(bytes: u64) -> Result<KernelArea, AreaError> {
        let (least, most) = (F::ROOT.pages::<F>() << F::PAGE_SHIFT, F::KERNEL.n_pages() << F::PAGE_SHIFT);
        if bytes < least {
            return Err(AreaError::TooSmall { bytes, least });
        }
        if bytes > most {
            return Err(AreaError::TooLarge { bytes, most });
        }
        let n_pages = bytes.div_ceil(least) * F::ROOT.pages::<F>();
        Ok(KernelArea { pages: VpnRange::new(Vpn(F::KERNEL.end.0 - n_pages), F::KERNEL.end) })
    }

    /// Returns the area of these pages.
    ///
    /// # Errors
    /// [`AreaError`]: they are not whole slots, or not the kernel's.
    pub const fn at<F: EntryFormat>(pages: VpnRange) -> Result<KernelArea, AreaError> {
        if pages.is_empty() || !F::KERNEL.covers(pages) {
            return Err(AreaError::NotTheKernels(pages));
        }
        let is_aligned = pages.start.align_down::<F>(F::ROOT).0 == pages.start.0;
        if !is_aligned || pages.end.align_down::<F>(F::ROOT).0 != pages.end.0 {
            return Err(AreaError::Misaligned(pages));
        }
        Ok(KernelArea { pages })
    }

    /// Returns its pages.
    #[must_use]
    pub const fn pages(self) -> VpnRange {
        self.pages
    }

    /// Returns how many slots it has.
    #[must_use]
    pub const fn n_slots<F: EntryFormat>(self) -> u64 {
        self.pages.n_pages() / F::ROOT.pages::<F>()
    }

    /// The first page of each slot.
    pub(super) fn slots<F: EntryFormat>(self) -> impl Iterator<Item = Vpn> {
        let start = self.pages.start.0;
        (0..self.n_slots::<F>()).map(move |slot| Vpn(start + slot * F::ROOT.pages::<F>()))
    }

    /// The same area, grown downwards until it has so many slots.
    pub(super) const fn grown_to<F: EntryFormat>(self, n_slots: u64) -> KernelArea {
        let start = self.pages.end.0 - n_slots * F::ROOT.pages::<F>();
        KernelArea { pages: VpnRange::new(Vpn(start), self.pages.end) }
    }

    /// So many slots right below it, one at least; otherwise how many there are.
    pub(super) fn next_below<F: EntryFormat>(self, n_slots: u64) -> Result<KernelArea, u64> {
        let room = VpnRange::new(F::KERNEL.start, self.pages.start);
        let n_left = room.n_pages() / F::ROOT.pages::<F>();
        let below = KernelArea { pages: VpnRange::new(room.end, room.end) };
        if n_slots == 0 || n_slots > n_left { Err(n_left) } else { Ok(below.grown_to::<F>(n_slots)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        addr::VirtAddr,
        arch::{alpha::Alpha, x86_64::X86_64},
    };

    const GIB: u64 = 1 << 30;

    #[test]
    fn alpha_has_8_to_2040_gib() {
        for (gib, n_slots, start) in [
            (8, 1, 0xffff_fffc_0000_0000),
            (9, 2, 0xffff_fffa_0000_0000),
            (16, 2, 0xffff_fffa_0000_0000),
            (2040, 255, 0xffff_fe00_0000_0000),
        ] {
            let area = KernelArea::of_size::<Alpha>(gib * GIB).expect("there are so many");
            assert_eq!(area.n_slots::<Alpha>(), n_slots);
            assert_eq!(area.pages().start.address::<Alpha>(), VirtAddr(start));
            // Below the self-map.
            assert_eq!(area.pages().end.address::<Alpha>(), VirtAddr(0xffff_fffe_0000_0000));
            assert_eq!(area.slots::<Alpha>().last().map(|page| page.index::<Alpha>(Alpha::ROOT)), Some(1022));
        }
        let least = 8 * GIB;
        assert_eq!(KernelArea::of_size::<Alpha>(7 * GIB), Err(AreaError::TooSmall { bytes: 7 * GIB, least }));
        let most = 2040 * GIB;
        assert_eq!(KernelArea::of_size::<Alpha>(2041 * GIB), Err(AreaError::TooLarge { bytes: 2041 * GIB, most }));
    }

    #[test]
    fn an_area_of_x86_64_lies_in_the_upper_half() {
        // Where Linux has its vmalloc area: 32 TiB from 0xffffc90000000000.
        let start = VirtAddr(0xffff_c900_0000_0000).page::<X86_64>();
        let area = KernelArea::at::<X86_64>(VpnRange::from_len(start, 32 << 28)).expect("it is the kernel's");
        assert_eq!(area.n_slots::<X86_64>(), 64);
        assert_eq!(area.slots::<X86_64>().next().map(|page| page.index::<X86_64>(X86_64::ROOT)), Some(402));
        for (pages, error) in [
            (VpnRange::from_len(Vpn(start.0 + 1), 1 << 27), AreaError::Misaligned as fn(VpnRange) -> AreaError),
            (VpnRange::from_len(start, 1 << 26), AreaError::Misaligned),
            (VpnRange::from_len(Vpn(0), 1 << 27), AreaError::NotTheKernels),
            (VpnRange::from_len(start, 0), AreaError::NotTheKernels),
        ] {
            assert_eq!(KernelArea::at::<X86_64>(pages), Err(error(pages)));
        }
    }
}
