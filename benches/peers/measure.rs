//! What every crate is asked to do, and how long it takes.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Consecutive pages of 4 KiB, which are mapped to consecutive frames.
#[derive(Clone, Copy)]
pub(crate) struct Pages {
    pub(crate) first: u64,
    pub(crate) n_pages: u64,
}

/// The first page of all, where tables of three levels begin.
const FIRST: u64 = 0x10_0000_0000 >> 12;
/// The frame for it. Nobody looks into the frames, so there need not be any.
const FIRST_FRAME: u64 = 0x100_0000_0000 >> 12;
/// Where few pages are mapped: in a table that always has one page, the last one, and so stays.
const FEW: u64 = FIRST + 510 * 512;
const ALWAYS_MAPPED: Pages = Pages { first: FEW + 511, n_pages: 1 };
/// The most pages that are mapped.
pub(crate) const MAX_PAGES: u64 = 100_000;

impl Pages {
    pub(crate) const fn iter(self) -> std::ops::Range<u64> {
        self.first..self.first + self.n_pages
    }

    pub(crate) const fn first_frame(self) -> u64 {
        frame_of(self.first)
    }

    /// The first byte's address.
    pub(crate) const fn start(self) -> usize {
        (self.first << 12) as usize
    }

    pub(crate) const fn n_bytes(self) -> usize {
        (self.n_pages << 12) as usize
    }

    /// The first frame's address.
    pub(crate) const fn frames_start(self) -> usize {
        (self.first_frame() << 12) as usize
    }
}

pub(crate) const fn frame_of(page: u64) -> u64 {
    page - FIRST + FIRST_FRAME
}

/// A crate with page tables of its own.
pub(crate) trait Peer {
    /// Maps these pages, writable by user mode.
    fn map(&mut self, pages: Pages);

    /// Unmaps them.
    fn unmap(&mut self, pages: Pages);

    /// Ends, untimed, what `unmap` began for so many pages, and looks whether all of it was done.
    fn finish(&mut self, n_pages: u64) {
        let _ = n_pages;
    }

    /// Returns the frame that a page is mapped to.
    fn find(&self, page: u64) -> Option<u64>;
}

/// Makes the tables for whatever will be mapped.
pub(crate) fn prepare(peer: &mut impl Peer) {
    peer.map(ALWAYS_MAPPED);
    for n_pages in [MAX_PAGES, 1] {
        map(peer, n_pages, 1);
    }
}

/// How long it takes to map `n_pages` pages, in all of `n_times` times.
pub(crate) fn map(peer: &mut impl Peer, n_pages: u64, n_times: u64) -> Duration {
    time(peer, n_pages, n_times).0
}

/// How long it takes to unmap them.
pub(crate) fn unmap(peer: &mut impl Peer, n_pages: u64, n_times: u64) -> Duration {
    time(peer, n_pages, n_times).1
}

/// Few pages are mapped in many places one after the other, so that reading the clock does not count.
fn places(n_pages: u64) -> impl Iterator<Item = Pages> + Clone {
    const DISTANCE: u64 = 32;
    let (first, n_places) = if n_pages <= DISTANCE / 2 { (FEW, 512 / DISTANCE) } else { (FIRST, 1) };
    (0..n_places).map(move |place| Pages { first: first + DISTANCE * place, n_pages })
}

fn time(peer: &mut impl Peer, n_pages: u64, n_times: u64) -> (Duration, Duration) {
    let places = places(n_pages);
    let n_places = places.clone().count();
    let (mut mapping, mut unmapping) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..n_times {
        let start = Instant::now();
        places.clone().for_each(|pages| peer.map(black_box(pages)));
        mapping += start.elapsed();
        places.clone().for_each(|pages| look(peer, pages, |page| Some(frame_of(page))));

        let start = Instant::now();
        places.clone().for_each(|pages| peer.unmap(black_box(pages)));
        unmapping += start.elapsed();
        peer.finish(n_pages * n_places as u64);
        places.clone().for_each(|pages| look(peer, pages, |_| None));
    }
    (mapping / n_places as u32, unmapping / n_places as u32)
}

/// Makes sure that some of these pages are mapped as they should be.
fn look(peer: &impl Peer, pages: Pages, expected: impl Fn(u64) -> Option<u64>) {
    for nth in [0, pages.n_pages / 2, pages.n_pages - 1] {
        let page = pages.first + nth;
        assert_eq!(peer.find(page), expected(page), "page {page:#x}");
    }
    assert!(peer.find(ALWAYS_MAPPED.first).is_some());
}
