//! What a CPU remembers of the tables: translations of pages, and pointers to tables.
//!
//! For each page there is a set of translations, and for each root entry a set of tables. Where fills are explicit
//! ([`TlbModel::Fills`]) a set has what the TLB holds: one table, one translation of each size. Where it is only known
//! what may have been filled ([`TlbModel::MaySets`]) it has every member that the TLB may hold.
//!
//! A large translation is kept page by page, and each page's may come and go without the other's, as if each were an
//! entry of its own: CPUs may have several for one large page (SDM 3A §4.10.2.3, rev 75). One entry for both does nothing
//! that two cannot do, which come one right after the other. Only invalidations find them together, whatever page they
//! name (§4.10.4.1).

use std::hash::{Hash, Hasher};

use shootdown::{EntryFormat, Invalidate, Pfn, Vpn, arch::tiny::Tiny};

use super::{
    ENTRIES, FRAMES, PAGES,
    act::Evicted,
    config::TlbModel,
    frame::MaybeFrame,
    pack::{NO_TRANSLATION, pack_translation, read_byte, unpack_translation},
};

/// A translation in a TLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Translation {
    /// Where the page was when a walk read its entry.
    pub frame: Pfn,
    /// The entry was a leaf above level 1, and this is its part for one page.
    pub is_large: bool,
    /// Stores were allowed.
    pub is_writable: bool,
    /// The dirty bit was set, so that stores need not set it.
    pub is_dirty: bool,
    /// Whether it may still be used.
    pub standing: Standing,
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

const PRESENT: u16 = 1 << 15;
const WRITABLE: u16 = 1 << 14;
const DIRTY: u16 = 1 << 13;
const LARGE: u16 = 1 << 12;
const STANDING_SHIFT: u32 = 8;
const FRAME: u16 = 0xff;

impl Translation {
    /// Tells whether everything that goes through this one goes through `other` too, without a trace that `other` would
    /// leave. Its size is nothing that it permits.
    pub(super) fn is_within(&self, other: &Translation) -> bool {
        self.frame == other.frame && (!self.is_writable || (other.is_writable && (!self.is_dirty || other.is_dirty)))
    }

    /// All of it in 16 bits, never 0.
    const fn bits(self) -> u16 {
        let Translation { frame, is_large, is_writable, is_dirty, standing } = self;
        PRESENT
            | if is_writable { WRITABLE } else { 0 }
            | if is_dirty { DIRTY } else { 0 }
            | if is_large { LARGE } else { 0 }
            | (standing as u16) << STANDING_SHIFT
            | frame.0 as u16
    }

    const fn from_bits(bits: u16) -> Option<Self> {
        if bits & PRESENT == 0 {
            return None;
        }
        let standing = match bits >> STANDING_SHIFT & 3 {
            0 => Standing::Good,
            1 => Standing::Revoked,
            _ => Standing::Freed,
        };
        Some(Translation {
            frame: Pfn((bits & FRAME) as u64),
            is_large: bits & LARGE != 0,
            is_writable: bits & WRITABLE != 0,
            is_dirty: bits & DIRTY != 0,
            standing,
        })
    }
}

/// Translations of one page there is room for: a frame's own, clean and dirty, and those of one before it.
const MAX_TRANSLATIONS: usize = 4;

/// Some translations of one page.
///
/// # Invariants
/// Sorted, without repetition, and empty places come last: equal sets are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Translations([u16; MAX_TRANSLATIONS]);

impl Translations {
    const EMPTY: Translations = Translations([0; MAX_TRANSLATIONS]);

    fn is_empty(&self) -> bool {
        self.0[0] == 0
    }

    fn iter(&self) -> impl Iterator<Item = Translation> + use<> {
        self.0.into_iter().map_while(Translation::from_bits)
    }

    fn insert(&mut self, translation: Translation) {
        // Descending, so that empty places, which are 0, come last.
        let bits = translation.bits();
        let place = self.0.iter().position(|other| *other <= bits);
        if place.is_some_and(|place| self.0[place] == bits) {
            return;
        }
        let place = place.filter(|_| self.0[MAX_TRANSLATIONS - 1] == 0);
        let place = place.expect("a may-set has no room for so many translations of one page");
        self.0[place..].rotate_right(1);
        self.0[place] = bits;
    }

    fn map(&mut self, change: impl Fn(Translation) -> Translation) {
        self.filter_map(|translation| Some(change(translation)));
    }

    fn retain(&mut self, is_kept: impl Fn(&Translation) -> bool) {
        self.filter_map(|translation| Some(translation).filter(&is_kept));
    }

    fn filter_map(&mut self, change: impl Fn(Translation) -> Option<Translation>) {
        let changed = self.iter().filter_map(change);
        *self = changed.fold(Self::EMPTY, |mut set, translation| {
            set.insert(translation);
            set
        });
    }

    fn bits(self) -> u64 {
        const { assert!(MAX_TRANSLATIONS == 4) };
        self.0.into_iter().fold(0, |bits, translation| bits << 16 | u64::from(translation))
    }
}

/// A set of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FrameSet(u8);

const _: () = assert!(FRAMES <= 8);

impl FrameSet {
    const EMPTY: FrameSet = FrameSet(0);

    const fn of(frame: Pfn) -> Self {
        FrameSet(1 << frame.0)
    }

    const fn contains(self, frame: Pfn) -> bool {
        self.0 & Self::of(frame).0 != 0
    }

    fn iter(self) -> impl Iterator<Item = Pfn> {
        (0..FRAMES as u64).map(Pfn).filter(move |frame| self.contains(*frame))
    }
}

/// A set of pages. A page that there is not is in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PageSet(u8);

const _: () = assert!(PAGES <= 4);

impl PageSet {
    const EMPTY: PageSet = PageSet(0);

    const fn of(page: Vpn) -> Self {
        PageSet(if page.0 < PAGES as u64 { 1 << page.0 } else { 0 })
    }

    const fn contains(self, page: Vpn) -> bool {
        self.0 & Self::of(page).0 != 0
    }

    const fn insert(&mut self, page: Vpn) {
        self.0 |= Self::of(page).0;
    }

    const fn remove(&mut self, page: Vpn) {
        self.0 &= !Self::of(page).0;
    }
}

/// What one CPU remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tlb {
    pages: [Translations; PAGES],
    /// Those that are remembered to be absent. It grants nothing, so no law is about it.
    absent: PageSet,
    /// For each root entry.
    tables: [FrameSet; ENTRIES],
    /// Ghost: one of them that was given back while its tag was not loaded.
    freed_table: MaybeFrame,
}

impl Hash for Tlb {
    /// As few words as there can be: every state is hashed, and most sets are small.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        const { assert!(PAGES <= 4 && ENTRIES <= 2) };
        let firsts = self.pages.iter().fold(0, |bits, set| bits << 16 | u64::from(set.0[0]));
        let tables = self.tables.iter().fold(0, |bits, set| bits << 8 | u64::from(set.0));
        let tables = tables | u64::from(self.freed_table.byte()) << 48 | u64::from(self.absent.0) << 40;
        let larger = (0..).zip(&self.pages).filter(|(_, set)| set.0[1] != 0);
        hasher.write_u64(firsts);
        // What follows begins with which pages have more, so that no two states write the same.
        hasher.write_u64(larger.clone().fold(tables, |bits, (page, _)| bits | 1 << (32 + page)));
        larger.for_each(|(_, set)| hasher.write_u64(set.bits()));
    }
}

impl Tlb {
    pub(super) const EMPTY: Tlb = Tlb {
        pages: [Translations::EMPTY; PAGES],
        absent: PageSet::EMPTY,
        tables: [FrameSet::EMPTY; ENTRIES],
        freed_table: MaybeFrame::NONE,
    };

    /// See [`Hardware::pack`](super::Hardware::pack).
    pub(super) fn pack(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.tables.map(|set| set.0));
        const { assert!(FRAMES < 1 << 4) };
        bytes.push(self.freed_table.byte() | self.absent.0 << 4);
        for set in self.pages {
            bytes.extend(set.iter().map(pack_translation));
            bytes.push(NO_TRANSLATION);
        }
    }

    pub(super) fn unpack(&mut self, bytes: &mut &[u8]) {
        self.tables = [(); ENTRIES].map(|()| FrameSet(read_byte(bytes)));
        let byte = read_byte(bytes);
        (self.freed_table, self.absent) = (MaybeFrame::from_byte(byte & 0xf), PageSet(byte >> 4));
        self.pages = [(); PAGES].map(|()| {
            let mut set = Translations::EMPTY;
            while let Some(translation) = unpack_translation(read_byte(bytes)) {
                set.insert(translation);
            }
            set
        });
    }

    /// The translations that it has for `page`.
    pub(super) fn of_page(&self, page: Vpn) -> impl Iterator<Item = Translation> + use<> {
        self.pages.get(page.0 as usize).map_or(Translations::EMPTY, |set| *set).iter()
    }

    /// All translations that it has.
    pub(super) fn translations(&self) -> impl Iterator<Item = (Vpn, Translation)> + '_ {
        let pages = (0..PAGES as u64).map(Vpn);
        pages.flat_map(|page| self.of_page(page).map(move |translation| (page, translation)))
    }

    /// Tells whether it has one for `page` that is not of this one's size.
    pub(super) fn has_other_size(&self, page: Vpn, translation: Translation) -> bool {
        self.of_page(page).any(|other| other.is_large != translation.is_large)
    }

    /// The tables that it has pointers to from this root entry.
    pub(super) fn tables(&self, index: usize) -> impl Iterator<Item = Pfn> + use<> {
        self.tables[index].iter()
    }

    /// Tells whether it has a pointer to `table` from this root entry.
    pub(super) fn has_table(&self, index: usize, table: Pfn) -> bool {
        self.tables[index].contains(table)
    }

    /// Tells whether it has a pointer to `table` from anywhere.
    pub(super) fn points_at(&self, table: Pfn) -> bool {
        self.tables.iter().any(|set| set.contains(table))
    }

    pub(super) fn is_empty(&self) -> bool {
        // Asked of each one of each state, and the first of a set says whether there is another.
        let firsts = self.pages.iter().fold(0, |bits, set| bits | set.0[0]);
        let others = self.tables.iter().fold(self.absent.0 | self.freed_table.byte(), |bits, set| bits | set.0);
        firsts == 0 && others == 0
    }

    /// Tells whether no access and no walk gets anywhere by it.
    pub(super) fn leads_nowhere(&self) -> bool {
        Tlb { absent: PageSet::EMPTY, ..*self }.is_empty()
    }

    /// Tells whether it has it that nothing is at `page`.
    pub(super) fn knows_absent(&self, page: Vpn) -> bool {
        self.absent.contains(page)
    }

    /// A table that it points at and that was given back.
    pub(super) fn freed_table(&self) -> Option<Pfn> {
        self.freed_table.get()
    }

    /// Remembers that `table` was given back, if it points there.
    pub(super) fn mark_freed_table(&mut self, table: Pfn) {
        if self.points_at(table) {
            self.freed_table = MaybeFrame::of(table);
        }
    }

    /// Remembers a translation, in place of what was there of its size if that is how the model is. What was there of
    /// another size stays: an access may use either (SDM 3A §4.10.2.3, rev 75).
    pub(super) fn remember(&mut self, model: TlbModel, page: Vpn, translation: Translation) {
        let set = &mut self.pages[page.0 as usize];
        if model == TlbModel::Fills {
            set.retain(|other| other.is_large != translation.is_large);
            self.absent.remove(page);
        }
        set.insert(translation);
    }

    /// Remembers that nothing is at `page`, in place of what was there if that is how the model is.
    pub(super) fn remember_absent(&mut self, model: TlbModel, page: Vpn) {
        if model == TlbModel::Fills {
            self.pages[page.0 as usize] = Translations::EMPTY;
        }
        self.absent.insert(page);
    }

    /// Remembers a pointer, in place of what was there if that is how the model is.
    pub(super) fn remember_table(&mut self, model: TlbModel, index: usize, table: Pfn) {
        let set = &mut self.tables[index];
        match model {
            TlbModel::Fills => *set = FrameSet::of(table),
            TlbModel::MaySets => set.0 |= FrameSet::of(table).0,
        }
    }

    /// Forgets the pointers from this root entry.
    pub(super) fn forget_tables(&mut self, index: usize) {
        self.tables[index] = FrameSet::EMPTY;
    }

    /// Remembers that `frame` was given back under its translations.
    pub(super) fn mark_freed(&mut self, frame: Pfn) {
        for set in &mut self.pages {
            set.map(|to| if to.frame == frame { Translation { standing: Standing::Freed, ..to } } else { to });
        }
    }

    /// Remembers that somebody promised that some translations of `page` were gone.
    pub(super) fn mark_revoked(&mut self, page: Vpn, is_revoked: impl Fn(&Translation) -> bool) {
        self.pages[page.0 as usize].map(|to| match to.standing {
            Standing::Good if is_revoked(&to) => Translation { standing: Standing::Revoked, ..to },
            _ => to,
        });
    }

    pub(super) fn evict(&mut self, what: Evicted) {
        match what {
            Evicted::Translation(page) => {
                self.pages[page.0 as usize] = Translations::EMPTY;
                self.absent.remove(page);
            }
            Evicted::Pointer(index) => self.forget_tables(index),
        }
    }

    /// What could be evicted.
    pub(super) fn evictable(&self) -> impl Iterator<Item = Evicted> + '_ {
        let pages = (0..PAGES as u64).map(Vpn);
        let pages = pages.filter(|page| !self.pages[page.0 as usize].is_empty() || self.knows_absent(*page));
        let pointers = (0..ENTRIES).filter(|index| self.tables[*index].0 != 0);
        pages.map(Evicted::Translation).chain(pointers.map(Evicted::Pointer))
    }

    pub(super) fn forget(&mut self, what: Invalidate) {
        // The hint does not matter here: whatever translates the page goes, of either size.
        match what {
            Invalidate::Leaf(page, _) => self.forget_page(page),
            Invalidate::Walk(page, _) => self.forget_path(page),
            Invalidate::All | Invalidate::EveryTag => *self = Self::EMPTY,
        }
    }

    /// Forgets what translates `page`, and of what is large all of it; or that nothing does, of this page only.
    pub(super) fn forget_page(&mut self, page: Vpn) {
        self.absent.remove(page);
        let same_entry = Tiny::ROOT.span::<Tiny>(page);
        for (other, set) in (0..).map(Vpn).zip(&mut self.pages).filter(|(other, _)| same_entry.contains(*other)) {
            set.retain(|translation| other != page && !translation.is_large);
        }
    }

    pub(super) fn forget_path(&mut self, page: Vpn) {
        self.forget_page(page);
        self.forget_tables(page.index::<Tiny>(Tiny::ROOT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translation(frame: u64, is_writable: bool, standing: Standing) -> Translation {
        Translation { frame: Pfn(frame), is_large: false, is_writable, is_dirty: false, standing }
    }

    #[test]
    fn a_translation_is_what_its_bits_say() {
        for standing in [Standing::Good, Standing::Revoked, Standing::Freed] {
            for (is_writable, is_large) in [(false, false), (false, true), (true, false), (true, true)] {
                let to = Translation { is_large, ..translation(7, is_writable, standing) };
                assert_eq!(Translation::from_bits(to.bits()), Some(to));
            }
        }
        assert_eq!(Translation::from_bits(0), None);
    }

    #[test]
    fn a_set_does_not_depend_on_the_order_of_its_making() {
        let members = [(1, false), (1, true), (4, false)].map(|(frame, bit)| translation(frame, bit, Standing::Good));
        let make = |order: [usize; 4]| {
            let mut set = Translations::EMPTY;
            order.into_iter().for_each(|index| set.insert(members[index]));
            set
        };
        assert_eq!(make([0, 1, 2, 0]), make([2, 1, 1, 0]));
        assert_eq!(make([0, 1, 2, 0]).iter().count(), 3);
    }

    #[test]
    fn members_that_become_equal_are_one() {
        let mut tlb = Tlb::EMPTY;
        for standing in [Standing::Good, Standing::Revoked] {
            tlb.remember(TlbModel::MaySets, Vpn(1), translation(3, true, standing));
        }
        assert_eq!(tlb.of_page(Vpn(1)).count(), 2);
        tlb.mark_freed(Pfn(3));
        assert!(tlb.translations().eq([(Vpn(1), translation(3, true, Standing::Freed))]));
    }

    #[test]
    fn a_fill_takes_the_place_of_what_has_its_size() {
        let (small, large) = (
            translation(1, false, Standing::Good),
            Translation { is_large: true, ..translation(2, false, Standing::Good) },
        );
        let mut tlb = Tlb::EMPTY;
        for to in [small, large, Translation { frame: Pfn(3), ..small }, Translation { frame: Pfn(4), ..large }] {
            tlb.remember(TlbModel::Fills, Vpn(0), to);
        }
        assert_eq!(
            tlb.of_page(Vpn(0)).map(|to| (to.frame.0, to.is_large)).collect::<Vec<_>>(),
            [(4, true), (3, false)]
        );
    }

    #[test]
    fn a_page_is_present_or_absent_and_in_a_may_set_both() {
        for (model, n_kept) in [(TlbModel::Fills, 0), (TlbModel::MaySets, 1)] {
            let mut tlb = Tlb::EMPTY;
            tlb.remember_absent(model, Vpn(0));
            assert!(tlb.knows_absent(Vpn(0)) && tlb.leads_nowhere() && !tlb.is_empty());
            tlb.remember(model, Vpn(0), translation(1, false, Standing::Good));
            assert_eq!(tlb.knows_absent(Vpn(0)), n_kept == 1, "{model:?}");
            tlb.remember_absent(model, Vpn(0));
            assert_eq!((tlb.knows_absent(Vpn(0)), tlb.of_page(Vpn(0)).count()), (true, n_kept), "{model:?}");
            tlb.evict(Evicted::Translation(Vpn(0)));
            assert!(tlb.is_empty());
        }
    }

    #[test]
    fn what_is_remembered_to_be_absent_tells_tlbs_apart() {
        let all = |absent: u8, freed_table: MaybeFrame, page: Option<u64>| {
            let mut tlb = Tlb { absent: PageSet(absent), freed_table, ..Tlb::EMPTY };
            let good = translation(1, false, Standing::Good);
            page.into_iter().for_each(|page| tlb.remember(TlbModel::MaySets, Vpn(page), good));
            tlb
        };
        let tlbs: Vec<Tlb> = (0..1 << PAGES)
            .flat_map(|absent| [MaybeFrame::NONE, MaybeFrame::of(Pfn(FRAMES as u64 - 1))].map(|freed| (absent, freed)))
            .flat_map(|(absent, freed)| [None, Some(0), Some(3)].map(|page| all(absent, freed, page)))
            .collect();
        let packed = |tlb: &Tlb| {
            let mut bytes = Vec::new();
            tlb.pack(&mut bytes);
            bytes
        };
        for tlb in &tlbs {
            let mut other = Tlb::EMPTY;
            other.unpack(&mut &packed(tlb)[..]);
            assert_eq!(other, *tlb);
            assert_eq!(tlbs.iter().filter(|other| packed(other) == packed(tlb)).count(), 1);
            assert_eq!(tlbs.iter().filter(|other| words(other) == words(tlb)).count(), 1);
        }
    }

    /// What is hashed.
    fn words(tlb: &Tlb) -> Vec<u64> {
        struct Words(Vec<u64>);
        impl std::hash::Hasher for Words {
            fn write(&mut self, _: &[u8]) {
                unreachable!("words only")
            }
            fn write_u64(&mut self, word: u64) {
                self.0.push(word);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut words = Words(Vec::new());
        tlb.hash(&mut words);
        words.0
    }

    #[test]
    fn only_a_may_set_keeps_what_was_there() {
        for (model, n_kept) in [(TlbModel::Fills, 1), (TlbModel::MaySets, 2)] {
            let mut tlb = Tlb::EMPTY;
            for frame in [1, 2] {
                tlb.remember(model, Vpn(0), translation(frame, false, Standing::Good));
                tlb.remember_table(model, 1, Pfn(frame));
            }
            assert_eq!((tlb.of_page(Vpn(0)).count(), tlb.tables(1).count()), (n_kept, n_kept), "{model:?}");
        }
    }
}
