//! The reverse map: which ranges of which address spaces map an object.
//!
//! It is kept in step with the layouts. An area is in it before one of its pages can be mapped, and leaves it when the flush
//! for the last of them is complete. Who walks it holds its lock until he is done with what he found, so no address space
//! goes away meanwhile.

use alloc::collections::{BTreeMap, btree_map::Entry};
use core::ops::Range;

use shootdown::{EntryFormat, Level, Mutex, MutexGuard, OneMemory, SpaceId, Vpn, VpnRange};

use crate::{
    address_space::Layout,
    storage::{ObjectId, ObjectPage},
    vma::{Backing, Protection, Sharing, Vma},
};

/// What must be known of an area to find a page of its object there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    // The page after its last.
    end: u64,
    origin: Vpn,
    level: Level,
    sharing: Sharing,
    // Kept in step where tables may be shared. None while they are being left: then nobody takes one in.
    protection: Option<Protection>,
}

impl Area {
    /// The pages that page `index` of the object would be mapped at.
    fn place<F: EntryFormat>(&self, index: u64) -> Range<u64> {
        let n_pages = self.level.pages::<F>();
        let first = self.origin.0.wrapping_add(index.wrapping_mul(n_pages));
        first..first.saturating_add(n_pages)
    }
}

/// Where a page of an object may be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) space: SpaceId,
    pub(crate) page: Vpn,
    pub(crate) sharing: Sharing,
}

/// The address space and the first page of an area.
type Key = (SpaceId, u64);

/// Areas by object and address space. Nearly all of them come and go as they are; to look at the neighbours each time and
/// join them, as a map of ranges does, made forks slower.
#[derive(Debug, Default)]
pub(crate) struct ReverseMap {
    // No area overlaps another of the same address space; no object is here without one.
    objects: BTreeMap<ObjectId, BTreeMap<Key, Area>>,
}

impl ReverseMap {
    /// Returns where `page` may be mapped.
    pub(crate) fn places<F: EntryFormat>(&self, page: ObjectPage) -> impl Iterator<Item = Place> {
        let areas = self.objects.get(&page.object).into_iter().flatten();
        areas.filter_map(move |((space, start), area)| {
            let place = area.place::<F>(page.index);
            let is_there = place.start < area.end && *start < place.end;
            is_there.then_some(Place { space: *space, page: Vpn(place.start), sharing: area.sharing })
        })
    }

    /// Returns where an object is mapped with pages larger than base pages, if it is.
    pub(crate) fn large_area(&self, object: ObjectId) -> Option<Vpn> {
        let mut areas = self.objects.get(&object).into_iter().flatten();
        areas.find(|(_, area)| area.level > Level::LEAF).map(|((_, start), _)| Vpn(*start))
    }

    /// Returns where else there may be a table that is right for the pages of `table`, which lie in an area of `space`: an area
    /// has all of it, from the same part of the same object, and allows the same.
    #[doc(alias = "page_table_shareable")]
    pub(crate) fn tables_like(&self, space: SpaceId, table: VpnRange, vma: &Vma) -> impl Iterator<Item = Place> {
        let Vma { protection, sharing, .. } = *vma;
        let (level, n_pages) = (vma.level(), table.n_pages());
        let wanted = vma.backing.in_object(table.start);
        let areas = wanted.and_then(|(object, offset)| Some((self.objects.get(&object)?, offset)));
        areas.into_iter().flat_map(move |(areas, offset)| {
            areas.iter().filter_map(move |((other, start), area)| {
                let first = area.origin.0.wrapping_add(offset);
                let is_whole =
                    *start <= first && first.is_multiple_of(n_pages) && first.checked_add(n_pages)? <= area.end;
                let is_alike = (area.level, area.sharing, area.protection) == (level, sharing, Some(protection));
                let is_it = (*other, first) == (space, table.start.0);
                (is_whole && is_alike && !is_it).then_some(Place { space: *other, page: Vpn(first), sharing })
            })
        })
    }

    fn add(&mut self, space: SpaceId, range: Range<u64>, vma: &Vma) {
        self.put(space, range, vma, Some(vma.protection));
    }

    fn put(&mut self, space: SpaceId, range: Range<u64>, vma: &Vma, protection: Option<Protection>) {
        if let Backing::Object { object, origin } = vma.backing {
            let area = Area { end: range.end, origin, level: vma.level(), sharing: vma.sharing, protection };
            self.objects.entry(object).or_default().insert((space, range.start), area);
        }
    }

    /// Says that nobody may take in a table of this part of an area, until it is [offered](Self::offer) again.
    pub(crate) fn withhold(&mut self, space: SpaceId, range: VpnRange, vma: &Vma) {
        self.replace(space, range, vma, None);
    }

    /// Says that an area is what `vma` says, and that its tables may be taken in.
    pub(crate) fn offer(&mut self, space: SpaceId, range: VpnRange, vma: &Vma) {
        self.replace(space, range, vma, Some(vma.protection));
    }

    fn replace(&mut self, space: SpaceId, range: VpnRange, vma: &Vma, protection: Option<Protection>) {
        let range = range.start.0..range.end.0;
        if let Some(object) = vma.object() {
            self.remove(space, range.clone(), object);
            self.put(space, range, vma, protection);
        }
    }

    fn remove(&mut self, space: SpaceId, range: Range<u64>, object: ObjectId) {
        if let Entry::Occupied(mut areas) = self.objects.entry(object) {
            remove(areas.get_mut(), space, range);
            if areas.get().is_empty() {
                areas.remove();
            }
        }
    }
}

/// Takes a range out of what an object is mapped at.
fn remove(areas: &mut BTreeMap<Key, Area>, space: SpaceId, range: Range<u64>) {
    if let Entry::Occupied(area) = areas.entry((space, range.start))
        && area.get().end == range.end
    {
        area.remove();
        return;
    }
    // From the last that begins before the end of the range on down; what they have outside of it stays.
    let up_to_end = || (space, 0)..(space, range.end);
    while let Some((key, area)) = areas.range(up_to_end()).next_back().map(|(key, area)| (*key, *area))
        && area.end > range.start
    {
        areas.remove(&key);
        if area.end > range.end {
            areas.insert((space, range.end), area);
        }
        if key.1 < range.start {
            areas.insert(key, Area { end: range.start, ..area });
        }
    }
}

/// The reverse map and its lock.
pub(crate) struct Areas<M: OneMemory> {
    map: Mutex<M, ReverseMap>,
}

impl<M: OneMemory> Areas<M> {
    pub(crate) const fn new() -> Self {
        Areas { map: Mutex::new(ReverseMap { objects: BTreeMap::new() }) }
    }

    pub(crate) fn lock<'a>(&'a self, m: &'a M) -> MutexGuard<'a, M, ReverseMap> {
        self.map.lock(m)
    }

    /// Notes an area that is new in `space`, if an object is mapped there.
    pub(crate) fn add(&self, m: &M, space: SpaceId, range: VpnRange, vma: &Vma) {
        if vma.object().is_some() {
            self.lock(m).add(space, range.start.0..range.end.0, vma);
        }
    }

    /// Notes all areas of `space`, which is new.
    pub(crate) fn add_all(&self, m: &M, space: SpaceId, layout: &Layout) {
        let mut map = self.lock(m);
        layout.areas.iter().for_each(|(range, vma)| map.add(space, range.clone(), vma));
    }

    /// Forgets what `layout`, of `space`, has in `range`.
    pub(crate) fn remove(&self, m: &M, space: SpaceId, layout: &Layout, range: VpnRange) {
        let mut map = None;
        for (area, vma) in layout.areas.overlapping(range.start.0..range.end.0) {
            if let Some(object) = vma.object() {
                let map = map.get_or_insert_with(|| self.lock(m));
                map.remove(space, area.start.max(range.start.0)..area.end.min(range.end.0), object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shootdown::arch::x86_64::X86_64;

    use super::*;
    use crate::vma::{PageSize, Protection};

    const OBJECT: ObjectId = ObjectId(3);

    fn vma(first: u64, at: u64, page_size: PageSize) -> Vma {
        let backing = Backing::object(OBJECT, first, Vpn(at));
        Vma { backing, sharing: Sharing::Shared, page_size, ..Vma::anonymous(Protection::READ_WRITE) }
    }

    fn places(map: &ReverseMap, index: u64) -> [Option<(u32, u64)>; 3] {
        let mut places = map.places::<X86_64>(ObjectPage { object: OBJECT, index }).map(|at| (at.space.0, at.page.0));
        [places.next(), places.next(), places.next()]
    }

    #[test]
    fn a_page_is_found_wherever_its_object_is_mapped() {
        let mut map = ReverseMap::default();
        map.add(SpaceId(1), 0x100..0x110, &vma(0x20, 0x100, PageSize::Base));
        map.add(SpaceId(1), 0x110..0x120, &vma(0x20, 0x110, PageSize::Base));
        map.add(SpaceId(0), 0x50..0x51, &vma(0x25, 0x50, PageSize::Base));
        assert_eq!(places(&map, 0x25), [Some((0, 0x50)), Some((1, 0x105)), Some((1, 0x115))]);
        map.remove(SpaceId(1), 0x105..0x106, OBJECT);
        map.remove(SpaceId(0), 0x50..0x51, OBJECT);
        assert_eq!(places(&map, 0x25), [Some((1, 0x115)), None, None]);
        assert_eq!(places(&map, 0x30), [None; 3]);
    }

    #[test]
    fn a_table_is_looked_for_where_all_of_it_is_mapped_alike() {
        const TABLE: u64 = 0x4_0000;
        let shared = |first, at| vma(first, at, PageSize::Large(Level(2)));
        let mut map = ReverseMap::default();
        // Whole; not from its beginning; not to its end; at other entries of the table; with other permissions.
        map.add(SpaceId(1), 3 * TABLE..5 * TABLE, &shared(0, 3 * TABLE));
        map.add(SpaceId(2), 3 * TABLE + 0x200..5 * TABLE, &shared(0x200, 3 * TABLE + 0x200));
        map.add(SpaceId(3), 3 * TABLE..4 * TABLE - 0x200, &shared(0, 3 * TABLE));
        map.add(SpaceId(4), 3 * TABLE..5 * TABLE, &shared(0x200, 3 * TABLE));
        let read_only = Protection { write: false, ..Protection::READ_WRITE };
        map.add(SpaceId(5), 3 * TABLE..5 * TABLE, &Vma { protection: read_only, ..shared(0, 3 * TABLE) });
        map.add(SpaceId(6), 0..2 * TABLE, &shared(0, 0));
        let asks = shared(0, 7 * TABLE);
        let places = |map: &ReverseMap, space, table: u64| -> alloc::vec::Vec<(u32, u64)> {
            let table = VpnRange::from_len(Vpn(table * TABLE), TABLE);
            map.tables_like(space, table, &asks).map(|at| (at.space.0, at.page.0 / TABLE)).collect()
        };
        assert_eq!(places(&map, SpaceId(9), 7), [(1, 3), (6, 0)]);
        assert_eq!(places(&map, SpaceId(9), 8), [(1, 4), (2, 4), (6, 1)]);
        map.withhold(SpaceId(1), VpnRange::from_len(Vpn(3 * TABLE), 0x200), &shared(0, 3 * TABLE));
        map.add(SpaceId(9), 7 * TABLE..9 * TABLE, &asks);
        assert_eq!(places(&map, SpaceId(9), 7), [(6, 0)], "not the place that asks, nor one that is being left");
        assert_eq!(places(&map, SpaceId(9), 8), [(1, 4), (2, 4), (6, 1)]);
        map.offer(SpaceId(1), VpnRange::new(Vpn(3 * TABLE), Vpn(5 * TABLE)), &shared(0, 3 * TABLE));
        assert_eq!(places(&map, SpaceId(9), 7), [(1, 3), (6, 0)]);
    }

    #[test]
    fn a_large_page_is_found_where_part_of_it_is_mapped() {
        let mut map = ReverseMap::default();
        map.add(SpaceId(7), 0x300..0x600, &vma(0, 0x200, PageSize::Large(Level(2))));
        assert_eq!(places(&map, 0), [Some((7, 0x200)), None, None]);
        assert_eq!(places(&map, 1), [Some((7, 0x400)), None, None]);
        assert_eq!(places(&map, 2), [None; 3]);
    }
}
