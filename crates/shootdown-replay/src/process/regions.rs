//! Where the pages of a recorded address space are on a machine that has fewer.
//!
//! Owns [`Regions`], which moves page *numbers*: one recorded page is one page of the machine, however large either is.
//! A recorded address space has 2^35 pages and uses a few regions of it, far apart: the image and the heap, mappings, the
//! stack, perhaps something low. Each region moves as a whole, by entries of the root table, so that the tables below are
//! what they would be; what is contiguous stays contiguous. Nothing is ever moved twice, and what cannot keep its
//! place beside its neighbours is an error.

use std::ops::Range;

use shootdown::EntryFormat;

/// A recorded address for which there is no room on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom {
    pub(crate) address: u64,
}

/// Recorded cells and where they are; a cell is what an entry of the machine's root table translates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Region {
    recorded: Range<u64>,
    first: u64,
}

impl Region {
    fn placed(&self) -> Range<u64> {
        self.first..self.first + (self.recorded.end - self.recorded.start)
    }

    /// The region with all cells up to `wanted` in it as well, if that is still on the machine.
    fn grown(&self, wanted: &Range<u64>, n_cells: u64) -> Option<Region> {
        let recorded = self.recorded.start.min(wanted.start)..self.recorded.end.max(wanted.end);
        let first = self.first.checked_sub(self.recorded.start - recorded.start)?;
        let grown = Region { recorded, first };
        (grown.placed().end <= n_cells).then_some(grown)
    }

    /// Whether no cell of one is, or is beside, a cell of the other, in the recording and on the machine: so whatever are
    /// neighbours on the machine are neighbours in the recording, and the other way round.
    fn is_apart_from(&self, other: &Region) -> bool {
        let are_apart = |one: &Range<u64>, other: &Range<u64>| one.end < other.start || other.end < one.start;
        are_apart(&self.recorded, &other.recorded) && are_apart(&self.placed(), &other.placed())
    }

    fn distance(&self, wanted: &Range<u64>) -> u64 {
        wanted.start.saturating_sub(self.recorded.end).max(self.recorded.start.saturating_sub(wanted.end))
    }
}

/// The regions of one address space.
#[derive(Clone, Debug)]
pub(crate) struct Regions {
    cell_pages: u64,
    n_cells: u64,
    regions: Vec<Region>,
}

impl Regions {
    /// Makes the empty address space of a machine with these tables.
    pub(crate) fn new<F: EntryFormat>() -> Self {
        let cell_pages = F::ROOT.pages::<F>();
        Regions { cell_pages, n_cells: F::REACH.n_pages() / cell_pages, regions: Vec::new() }
    }

    /// Returns where the first of these recorded pages is; the others follow it. Pages seen for the first time get their
    /// place, near what they are near to.
    pub(crate) fn place(&mut self, pages: Range<u64>) -> Option<u64> {
        let wanted = pages.start / self.cell_pages..pages.end.max(pages.start + 1).div_ceil(self.cell_pages);
        let cell_pages = self.cell_pages;
        let region = match self.regions.iter().position(|region| covers(&region.recorded, &wanted)) {
            Some(index) => &self.regions[index],
            None => self.extend(wanted)?,
        };
        Some(region.first * cell_pages + (pages.start - region.recorded.start * cell_pages))
    }

    /// Lets the nearest region that can grow so far have these cells, or begins a new one.
    #[cold]
    fn extend(&mut self, wanted: Range<u64>) -> Option<&Region> {
        let others = |index: usize| self.regions.iter().enumerate().filter(move |(other, _)| *other != index);
        let growing = self
            .regions
            .iter()
            .enumerate()
            .filter_map(|(index, region)| Some((index, region.distance(&wanted), region.grown(&wanted, self.n_cells)?)))
            .filter(|(index, _, grown)| others(*index).all(|(_, other)| grown.is_apart_from(other)))
            .min_by_key(|(_, distance, _)| *distance);
        if let Some((index, _, grown)) = growing {
            self.regions[index] = grown;
            return self.regions.get(index);
        }
        let new = Region { first: self.middle_of_largest_gap(wanted.end - wanted.start)?, recorded: wanted };
        if !self.regions.iter().all(|region| new.is_apart_from(region)) {
            return None;
        }
        self.regions.push(new);
        self.regions.last()
    }

    /// Where so many cells have the most room to grow both ways.
    fn middle_of_largest_gap(&self, length: u64) -> Option<u64> {
        let mut placed: Vec<Range<u64>> = self.regions.iter().map(Region::placed).collect();
        placed.push(self.n_cells..self.n_cells);
        placed.sort_by_key(|range| range.start);
        let mut end = 0;
        let mut largest = 0..0;
        for range in placed {
            if range.start - end > largest.end - largest.start {
                largest = end..range.start;
            }
            end = range.end;
        }
        let room = (largest.end - largest.start).checked_sub(length)?;
        Some(largest.start + room / 2)
    }
}

fn covers(range: &Range<u64>, other: &Range<u64>) -> bool {
    range.start <= other.start && other.end <= range.end
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shootdown::arch::alpha::Alpha;

    use super::*;

    /// Pages of an Alpha root entry: 8 GiB there, 4 GiB of a recording.
    const CELL: u64 = 1 << 20;
    const IMAGE: u64 = 0x5_5555_5554;
    const STACK: u64 = 0x7_ffff_fffe;

    fn placed(regions: &mut Regions, start: u64, n_pages: u64) -> u64 {
        regions.place(start..start + n_pages).expect("there is room")
    }

    #[test]
    fn distances_within_a_region_are_kept_and_regions_do_not_meet() {
        let mut regions = Regions::new::<Alpha>();
        let image = placed(&mut regions, IMAGE, 1);
        let stack = placed(&mut regions, STACK, 1);
        assert_eq!(placed(&mut regions, IMAGE + 3 * CELL, 7) - image, 3 * CELL, "the heap, after the image");
        assert_eq!(stack - placed(&mut regions, STACK - 9 * CELL, CELL), 9 * CELL, "mappings, below the stack");
        assert_eq!((placed(&mut regions, IMAGE, 1), placed(&mut regions, STACK, 1)), (image, stack), "nothing moves");
        assert_eq!(regions.regions.len(), 2);
        assert!(image.abs_diff(stack) > 100 * CELL);
        assert!(image.max(stack) + CELL < Alpha::REACH.n_pages());
    }

    #[test]
    fn a_page_keeps_its_place_in_the_tables_below_the_root() {
        let mut regions = Regions::new::<Alpha>();
        for page in [0x400, IMAGE, STACK, 0x7_1234_5678] {
            assert_eq!(placed(&mut regions, page, 1) % CELL, page % CELL);
        }
    }

    #[test]
    fn what_is_too_long_or_would_tear_neighbours_apart_is_refused() {
        let mut regions = Regions::new::<Alpha>();
        assert_eq!(regions.place(0..513 * CELL), None, "more than there is");
        assert_eq!(placed(&mut regions, 0, 512 * CELL), 0, "all there is");
        assert_eq!(regions.place(IMAGE..IMAGE + 1), None, "nothing is left");

        let mut regions = Regions::new::<Alpha>();
        let first = placed(&mut regions, 1000 * CELL, 1);
        assert_eq!(placed(&mut regions, 1000 * CELL - first, 1), 0, "down to the first page of the machine");
        assert_eq!(regions.place(1000 * CELL - first - 1..1000 * CELL), None, "its neighbour would be elsewhere");
        assert!(regions.place(0..1).is_some(), "something far away may be");
    }

    #[test]
    fn regions_that_grow_together_are_refused() {
        let mut regions = Regions::new::<Alpha>();
        // Too far from each other to be one, and then a mapping that spans what is between them.
        let (low, high) = (2_000 * CELL, 2_500 * CELL);
        placed(&mut regions, low, 1);
        placed(&mut regions, high, 1);
        assert_eq!(regions.regions.len(), 2);
        assert_eq!(regions.place(low..high + 1), None);
        assert!(regions.place(low..low + 1).is_some(), "what has a place keeps it");
    }

    /// Whatever is asked for: a cell has one place for ever, no two share one, and neighbours stay neighbours.
    #[test]
    fn places_are_kept_and_never_shared() {
        let mut random = 1_u64;
        let mut below = |end: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % end
        };
        let mut n_refused = 0;
        for _ in 0..50 {
            let mut regions = Regions::new::<Alpha>();
            let mut places = BTreeMap::new();
            for _ in 0..60 {
                let start = [0, 21_845, 31_000, 32_000][below(4) as usize] + below(300);
                let cells = start..start + 1 + below(20);
                let Some(first) = regions.place(cells.start * CELL..cells.end * CELL) else {
                    n_refused += 1;
                    continue;
                };
                for cell in cells.clone() {
                    let place = first / CELL + (cell - cells.start);
                    assert!(place < regions.n_cells);
                    assert_eq!(*places.entry(cell).or_insert(place), place, "it moved");
                }
            }
            let cells: BTreeMap<u64, u64> = places.iter().map(|(cell, place)| (*place, *cell)).collect();
            assert_eq!(cells.len(), places.len(), "two cells share a place");
            for (place, cell) in &cells {
                assert!(cells.get(&(place + 1)).is_none_or(|next| *next == cell + 1));
                assert!(places.get(&(cell + 1)).is_none_or(|next| *next == place + 1));
            }
        }
        assert!((1..1_500).contains(&n_refused), "{n_refused} of 3,000 were refused");
    }

    #[test]
    fn an_empty_range_is_where_its_start_is() {
        let mut regions = Regions::new::<Alpha>();
        let page = placed(&mut regions, IMAGE, 1);
        assert_eq!(regions.place(IMAGE..IMAGE), Some(page));
    }
}
