//! What is taken to have been touched, where a recording has calls and no faults.
//!
//! Whether a call has anything to flush depends on which pages are there, and only faults tell that. Here all that could be is:
//! before a call takes effect that takes translations away or restricts them, one page has been touched in each mapping of
//! its range that may be accessed, and written if it may be. So each such call flushes as if its pages had been used since
//! the call before: an upper bound. One page is enough for that and costs the same for a mapping of any size.
//!
//! A store to a page that fork has left with two owners would flush, which no call did: another page is taken then. A call that
//! succeeded, and that needs mappings, shows that there are some; programs have those that the kernel made in `execve`.
//!
//! Fork flushes if there is anything to protect, and there always is: [`before_fork`]. Exec and exit need nothing. They flush
//! nothing on their own CPU, and every CPU that has the address space loaded lazily is told once, of the tables that go or else of
//! the root.

use shootdown::{EntryFormat, Vpn, VpnRange};
use shootdown_mm::{Access, OutOfMemory, PageSize, Sharing, Vma};
use shootdown_recording::Syscall;
use shootdown_sim::sequential::Architecture;

use crate::process::{
    calls::{Call, MADV_COLD, MADV_DONTNEED, MADV_FREE, MAP_FIXED},
    faults::{self, UNSEEN},
    place::{Place, USER_END},
    regions::NoRoom,
    unplayable::Unplayable,
};

/// How many pages of a mapping are looked at for one that can be stored to without a copy.
const MAX_LOOKED_AT: usize = 64;

/// All pages there are.
const EVERYTHING: VpnRange = VpnRange::new(Vpn(0), Vpn(u64::MAX));

/// Touches what a successful call is about to take away or to restrict.
pub(crate) fn before_call<A: Architecture>(
    place: Place<'_, A>,
    Call { call, args }: Call,
    result: i64,
) -> Result<(), Unplayable> {
    let [first, second, third, fourth, ..] = args;
    match call {
        Syscall::MUNMAP | Syscall::MPROTECT | Syscall::PKEY_MPROTECT | Syscall::MSYNC => {
            used(place, user_pages(place, first, second)?)?;
        }
        Syscall::MADVISE if matches!(third, MADV_DONTNEED | MADV_FREE | MADV_COLD) => {
            used(place, user_pages(place, first, second)?)?;
        }
        Syscall::MREMAP => {
            let (old, new) = (user_pages(place, first, second)?, user_pages(place, result as u64, third)?);
            let kept = VpnRange::from_len(old.start, old.n_pages().min(new.n_pages()));
            // What is cut off goes by itself.
            used(place, VpnRange::new(kept.end, old.end))?;
            if new.start != old.start {
                used(place, kept)?;
                known(place, new)?;
            }
        }
        Syscall::MMAP if fourth & MAP_FIXED != 0 => known(place, user_pages(place, result as u64, second)?)?,
        Syscall::BRK => {
            let end = place.addresses.heap_end(result as u64)?;
            if let Some((heap, vma)) = place.space.vma_at(place.machine, end) {
                touch(place, VpnRange::new(end, heap.end), &vma)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The pages of a range that a program can have: a damaged recording may name others.
fn user_pages<A: Architecture>(place: Place<'_, A>, address: u64, length: u64) -> Result<VpnRange, NoRoom> {
    let address = address.min(USER_END);
    place.addresses.pages(address, length.min(USER_END - address))
}

/// Touches a page that fork will protect.
pub(crate) fn before_fork<A: Architecture>(place: Place<'_, A>) -> Result<(), OutOfMemory> {
    let mut left = EVERYTHING;
    while let Some((area, vma)) = place.space.first_vma_in(place.machine, left) {
        let is_protected = vma.sharing == Sharing::Private && vma.protection.write;
        // After a fork a page stays protected until the child has ended or left it.
        if is_protected && page_without_copy(place, area, &vma).is_some() {
            return touch(place, area, &vma);
        }
        left.start = area.end;
    }
    Ok(())
}

/// Touches what is mapped in a range, all of which was.
fn used<A: Architecture>(place: Place<'_, A>, range: VpnRange) -> Result<(), OutOfMemory> {
    let mut left = range;
    while !left.is_empty() {
        let next = place.space.first_vma_in(place.machine, left);
        let (start, end) = next.map_or((left.end, left.end), |(area, _)| (area.start, area.end));
        if start > left.start {
            let unseen = VpnRange::new(left.start, start);
            place.space.map(place.machine, place.memory, unseen, UNSEEN);
        }
        left.start = end.min(left.end);
    }
    known(place, range)
}

/// Touches what is mapped in a range, as far as that is known.
fn known<A: Architecture>(place: Place<'_, A>, range: VpnRange) -> Result<(), OutOfMemory> {
    let mut left = range;
    while let Some((area, vma)) = place.space.first_vma_in(place.machine, left) {
        touch(place, area.intersection(range), &vma)?;
        left.start = area.end.min(left.end);
    }
    Ok(())
}

/// Touches one page of a part of a mapping.
fn touch<A: Architecture>(place: Place<'_, A>, part: VpnRange, vma: &Vma) -> Result<(), OutOfMemory> {
    let access = match vma.protection {
        protection if protection.allows(Access::Write) => Access::Write,
        protection if protection.allows(Access::Read) => Access::Read,
        _ => return Ok(()),
    };
    let page = if access == Access::Write { page_without_copy(place, part, vma) } else { Some(part.start) };
    // Where every page would be copied, every page is there.
    page.map_or(Ok(()), |page| faults::fault(place, page, access))
}

/// A page of a part of a mapping that can be stored to without a copy, which would flush.
fn page_without_copy<A: Architecture>(place: Place<'_, A>, part: VpnRange, vma: &Vma) -> Option<Vpn> {
    let pages = (part.start.0..part.end.0).step_by(step::<A>(vma.page_size)).take(MAX_LOOKED_AT).map(Vpn);
    pages.into_iter().find(|page| !place.space.copies_on_write(place.machine, *page))
}

/// How many base pages come in at once.
fn step<F: EntryFormat>(size: PageSize) -> usize {
    match size {
        PageSize::Base => 1,
        PageSize::Large(level) => level.pages::<F>() as usize,
        PageSize::Run { n_pages } => usize::from(n_pages.max(1)),
    }
}
