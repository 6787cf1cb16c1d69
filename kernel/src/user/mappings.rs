//! Calls that change what is mapped: `mmap` and those that go with it.

use core::sync::atomic::Ordering::*;

use shootdown::{EntryFormat as _, Level, Vpn, VpnRange};
use shootdown_mm::{Access, Backing, Keep, PageSize, Protection, Sharing, Vma};

use super::{
    errors::Errno,
    files::{self, File, Object},
    numbers::{
        advice,
        map::{ANONYMOUS, FIXED, HUGE, NO_RESERVE, POPULATE, PRIVATE, SHARED},
        protection, remap,
    },
    process::{MEMORY, Process},
};
use crate::machine::{Format, Metal};

const PAGE: u64 = 1 << Format::PAGE_SHIFT;
const LARGE: Level = Level(2);

/// Where programs may have something: not the first pages, and not the last one, behind which SYSCALL would return to an
/// address that is none.
const ALLOWED: VpnRange = VpnRange::new(Vpn(16), Vpn((1 << 35) - 1));
/// Where it goes if they do not say: as long as there is room, where the stack has tables already.
const ANYWHERE: [VpnRange; 2] =
    [VpnRange::new(Vpn((1 << 35) - (1 << 18)), super::image::STACK.start), VpnRange::new(Vpn(1 << 32), Vpn(1 << 34))];

/// What `map` may be told.
const KNOWN: u64 = SHARED | PRIVATE | FIXED | ANONYMOUS | NO_RESERVE | POPULATE | HUGE;

/// The process that calls, with its arguments looked at.
pub(crate) struct Mappings<'p> {
    pub(crate) m: &'p Metal,
    pub(crate) process: &'p Process,
}

impl Mappings<'_> {
    pub(crate) fn map(&self, [address, length, protection, flags, file, offset]: [u64; 6]) -> Result<i64, Errno> {
        if flags & !KNOWN != 0
            || !matches!(flags & (SHARED | PRIVATE), SHARED | PRIVATE)
            || !offset.is_multiple_of(PAGE)
        {
            return Err(Errno::INVALID);
        }
        let protection = protection_of(protection)?;
        let sharing = if flags & SHARED != 0 { Sharing::Shared } else { Sharing::Private };
        let (object, level) = self.object(flags, file)?;
        let page_pages = level.pages::<Format>();
        let n_pages = length.div_ceil(PAGE).next_multiple_of(page_pages);
        if length == 0 || length > 1 << 47 || !(offset / PAGE).is_multiple_of(page_pages) {
            return Err(Errno::INVALID);
        }
        let vma = |at: Vpn| Vma {
            protection,
            sharing,
            backing: object.map_or(Backing::Anonymous, |object| Backing::object(object, offset / PAGE, at)),
            page_size: if level == Level::LEAF { PageSize::Base } else { PageSize::Large(level) },
        };
        if level > Level::LEAF {
            // Before they are there. Another thread of the process sees it when it has seen them.
            self.process.has_large_pages.store(true, Release);
        }
        let space = &self.process.space;
        let range = if flags & FIXED != 0 {
            let range = self.range(address, n_pages * PAGE)?;
            if !range.start.0.is_multiple_of(page_pages) {
                return Err(Errno::INVALID);
            }
            space.map(self.m, &MEMORY, range, vma(range.start));
            range
        } else {
            self.map_anywhere(n_pages, page_pages, vma)?
        };
        if flags & POPULATE != 0 {
            let access = if protection.write { Access::Write } else { Access::Read };
            // What cannot be brought in now faults later.
            space.populate(self.m, &MEMORY, range, access).unwrap_or_default();
        }
        Ok((range.start.0 * PAGE) as i64)
    }

    fn map_anywhere(&self, n_pages: u64, alignment: u64, vma: impl Fn(Vpn) -> Vma) -> Result<VpnRange, Errno> {
        let map = |within| self.process.space.map_anywhere(self.m, &MEMORY, within, (n_pages, alignment), &vma);
        ANYWHERE.into_iter().find_map(map).ok_or(Errno::NO_MEMORY)
    }

    /// What is to be mapped, if it is an object, and by leaves of which level.
    fn object(&self, flags: u64, file: u64) -> Result<(Option<shootdown_mm::ObjectId>, Level), Errno> {
        if flags & ANONYMOUS == 0 {
            let file = files::get(self.m, self.process, file)?;
            return match &*file {
                File::Memory(object) => Ok((Some(object.id), object.level)),
                File::Text { .. } => Err(Errno::INVALID),
            };
        }
        let level = if flags & HUGE != 0 { LARGE } else { Level::LEAF };
        if flags & SHARED == 0 {
            return Ok((None, level));
        }
        // Open until the process ends, and those it has forked: longer than it is mapped.
        let object = Object::new(self.m, level);
        let id = object.id;
        files::add(self.m, self.process, File::Memory(object));
        Ok((Some(id), level))
    }

    pub(crate) fn unmap(&self, address: u64, length: u64) -> Result<i64, Errno> {
        let range = self.range(address, length)?;
        self.process.space.unmap(self.m, &MEMORY, range);
        Ok(0)
    }

    pub(crate) fn protect(&self, address: u64, length: u64, protection: u64) -> Result<i64, Errno> {
        let protection = protection_of(protection)?;
        let range = self.range(address, length)?;
        self.process.space.protect(self.m, &MEMORY, range, protection);
        Ok(0)
    }

    pub(crate) fn advise(&self, address: u64, length: u64, advice: u64) -> Result<i64, Errno> {
        let range = self.range(address, length)?;
        let space = &self.process.space;
        match advice {
            advice::DONT_NEED => space.discard(self.m, &MEMORY, range),
            // There are none that nobody has asked for.
            advice::NO_HUGE_PAGES => {}
            advice::POPULATE_READ => space.populate(self.m, &MEMORY, range, Access::Read)?,
            advice::POPULATE_WRITE => space.populate(self.m, &MEMORY, range, Access::Write)?,
            _ => return Err(Errno::INVALID),
        }
        Ok(0)
    }

    /// `mremap`: shrinks in place, and moves otherwise.
    pub(crate) fn remap(&self, [address, old_length, new_length, flags, target]: [u64; 5]) -> Result<i64, Errno> {
        use remap::{DONT_UNMAP, MAY_MOVE, TO_TARGET};
        let old = self.range(address, old_length)?;
        let (area, vma) = self.process.space.vma_at(self.m, old.start).ok_or(Errno::FAULT)?;
        if !area.covers(old) {
            return Err(Errno::FAULT);
        }
        let space = &self.process.space;
        let keep = if flags & DONT_UNMAP != 0 { Keep::Mapping } else { Keep::Nothing };
        let new = if flags & TO_TARGET != 0 {
            let new = self.range(target, new_length)?;
            if flags & MAY_MOVE == 0 || !new.intersection(old).is_empty() {
                return Err(Errno::INVALID);
            }
            new
        } else if new_length <= old_length {
            let n_pages = new_length.div_ceil(PAGE);
            self.range(address, n_pages * PAGE)?;
            space.resize(self.m, &MEMORY, old, n_pages);
            return Ok(address as i64);
        } else if flags & MAY_MOVE != 0 {
            let n_pages = new_length.div_ceil(PAGE);
            let alignment = level_of(&vma).pages::<Format>();
            // Taken before it is moved there, so that nobody else finds the same hole.
            self.map_anywhere(n_pages, alignment, |_| Vma::anonymous(Protection::NONE))?
        } else {
            return Err(Errno::NO_MEMORY);
        };
        space.relocate(self.m, &MEMORY, old, new, keep)?;
        Ok((new.start.0 * PAGE) as i64)
    }

    /// The pages of an address and a length, of which no large one is cut in two.
    fn range(&self, address: u64, length: u64) -> Result<VpnRange, Errno> {
        let range = VpnRange::from_len(Vpn(address / PAGE), length.div_ceil(PAGE));
        if !address.is_multiple_of(PAGE) || length == 0 || length > 1 << 47 || !ALLOWED.covers(range) {
            return Err(Errno::INVALID);
        }
        if !self.process.has_large_pages.load(Relaxed) {
            return Ok(range);
        }
        let is_cut = |page: Vpn| {
            !page.0.is_multiple_of(LARGE.pages::<Format>())
                && self.process.space.vma_at(self.m, page).is_some_and(|(area, vma)| {
                    area.start != page && !page.0.is_multiple_of(level_of(&vma).pages::<Format>())
                })
        };
        if is_cut(range.start) || is_cut(range.end) {
            return Err(Errno::INVALID);
        }
        Ok(range)
    }
}

const fn level_of(vma: &Vma) -> Level {
    match vma.page_size {
        PageSize::Large(level) => level,
        _ => Level::LEAF,
    }
}

fn protection_of(bits: u64) -> Result<Protection, Errno> {
    use protection::{EXECUTE, READ, WRITE};
    if bits & !(READ | WRITE | EXECUTE) != 0 {
        return Err(Errno::INVALID);
    }
    Ok(Protection { read: bits & READ != 0, write: bits & WRITE != 0, execute: bits & EXECUTE != 0 })
}
