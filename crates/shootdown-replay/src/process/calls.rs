//! Recorded syscalls as operations on an address space.

use shootdown::{EntryFormat, Machine, Vpn, VpnRange, arch::x86_64::X86_64};
use shootdown_mm::{Access, Backing, Contents, FaultError, Keep, PageSize, Protection, Sharing, Vma};
use shootdown_sim::sequential::{Architecture, HUGE_LEVEL};

use shootdown_recording::Syscall;

use crate::{
    process::place::{PAGE, Place},
    process::regions::NoRoom,
    process::unplayable::Unplayable,
};

/// A syscall that a task is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) call: Syscall,
    pub(crate) args: [u64; 6],
}

// Linux's numbers for x86-64, from its user-space headers.
pub(crate) const MAP_FIXED: u64 = 0x10;
pub(crate) const MADV_DONTNEED: u64 = 4;
pub(crate) const MADV_FREE: u64 = 8;
pub(crate) const MADV_COLD: u64 = 20;
const PROT_READ: u64 = 1;
const PROT_WRITE: u64 = 2;
const PROT_EXEC: u64 = 4;
const MAP_TYPE: u64 = 0xf;
const MAP_PRIVATE: u64 = 2;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_POPULATE: u64 = 0x8000;
const MAP_HUGETLB: u64 = 0x4_0000;
const MREMAP_DONTUNMAP: u64 = 4;
const MS_SYNC: u64 = 4;
const MADV_POPULATE_READ: u64 = 22;
const MADV_POPULATE_WRITE: u64 = 23;

/// Does what a successful call did.
pub(crate) fn perform<A: Architecture>(
    place: Place<'_, A>,
    Call { call, args }: Call,
    result: i64,
) -> Result<(), Unplayable> {
    let Place { machine, memory, space, addresses, .. } = place;
    let [first, second, third, ..] = args;
    match call {
        Syscall::MMAP => return map(place, args, result as u64),
        Syscall::MUNMAP => space.unmap(machine, memory, addresses.pages(first, second)?),
        Syscall::MPROTECT | Syscall::PKEY_MPROTECT => {
            space.protect(machine, memory, addresses.pages(first, second)?, protection(third));
        }
        Syscall::MADVISE => return advise(place, addresses.pages(first, second)?, third),
        Syscall::MREMAP => return remap(place, args, result as u64),
        Syscall::BRK => space.set_brk(machine, memory, addresses.heap_end(result as u64)?.address::<A>()),
        Syscall::MSYNC if third & MS_SYNC != 0 => {
            // The files of a replay never fail.
            space.clean(machine, memory, addresses.pages(first, second)?).unwrap_or_default();
        }
        Syscall::SHMAT => attach(place, result as u64)?,
        Syscall::SHMDT => place.detach(addresses.page(first)?),
        Syscall::MLOCK | Syscall::MLOCK2 => return lock(place, addresses.pages(first, second)?),
        _ => {}
    }
    Ok(())
}

/// The address that a call is about, if it is about one.
pub(crate) fn address(Call { call, args }: Call, result: i64) -> Option<u64> {
    match call {
        Syscall::MMAP | Syscall::BRK | Syscall::SHMAT => Some(result as u64),
        Syscall::MUNMAP
        | Syscall::MPROTECT
        | Syscall::PKEY_MPROTECT
        | Syscall::MADVISE
        | Syscall::MREMAP
        | Syscall::MSYNC
        | Syscall::MLOCK
        | Syscall::MLOCK2
        | Syscall::SHMDT => Some(args[0]),
        _ => None,
    }
}

/// Base pages in a recorded huge page.
const HUGE_PAGES: u64 = HUGE_LEVEL.pages::<X86_64>();

/// What a huge page is on this machine.
const fn huge_page_size<F: EntryFormat>() -> PageSize {
    if HUGE_LEVEL.0 <= F::HIGHEST_LEAF.0 {
        PageSize::Large(HUGE_LEVEL)
    } else {
        PageSize::Run { n_pages: HUGE_PAGES as u16 }
    }
}

fn protection(bits: u64) -> Protection {
    Protection { read: bits & PROT_READ != 0, write: bits & PROT_WRITE != 0, execute: bits & PROT_EXEC != 0 }
}

fn map<A: Architecture>(place: Place<'_, A>, args: [u64; 6], address: u64) -> Result<(), Unplayable> {
    let Place { machine, memory, space, addresses, .. } = place;
    let [_, length, prot, flags, _, offset] = args;
    let (page_size, unit) =
        if flags & MAP_HUGETLB != 0 { (huge_page_size::<A>(), HUGE_PAGES * PAGE) } else { (PageSize::Base, PAGE) };
    // It is mapped to the end of its last page.
    let length = address.saturating_add(length).checked_next_multiple_of(unit).map_or(length, |end| end - address);
    let range = addresses.pages(address, length)?;
    let sharing = if flags & MAP_TYPE == MAP_PRIVATE { Sharing::Private } else { Sharing::Shared };
    let backing = if flags & MAP_ANONYMOUS != 0 && sharing == Sharing::Private {
        Backing::Anonymous
    } else {
        // The recording does not say which file a descriptor stands for, so each mapping has its own. Files of huge pages
        // are memory.
        let is_memory = flags & (MAP_ANONYMOUS | MAP_HUGETLB) != 0;
        let object = if is_memory { memory.new_object(machine) } else { memory.new_stored_object(machine) };
        Backing::object(object, offset / PAGE, range.start)
    };
    space.map(machine, memory, range, Vma { protection: protection(prot), sharing, backing, page_size });
    if flags & MAP_POPULATE != 0 {
        let access = if prot & PROT_WRITE != 0 { Access::Write } else { Access::Read };
        return populate(place, range, access);
    }
    Ok(())
}

/// A shared-memory segment. Its first page is there, and the others come with their faults.
fn attach<A: Architecture>(place: Place<'_, A>, address: u64) -> Result<(), NoRoom> {
    let Place { machine, memory, segments, space, addresses } = place;
    let range = addresses.pages(address, 1)?;
    let segment = memory.new_object(machine);
    segments.add(segment);
    let backing = Backing::object(segment, 0, range.start);
    let (protection, sharing) = (Protection::READ_WRITE, Sharing::Shared);
    space.map(machine, memory, range, Vma { protection, sharing, backing, page_size: PageSize::Base });
    Ok(())
}

/// Locking brings pages in, and private ones that may be written as if they were.
fn lock<A: Architecture>(place: Place<'_, A>, range: VpnRange) -> Result<(), Unplayable> {
    let vma = place.space.vma_at(place.machine, range.start).map(|(_, vma)| vma);
    let writes = vma.is_some_and(|vma| vma.protection.write && vma.sharing == Sharing::Private);
    populate(place, range, if writes { Access::Write } else { Access::Read })
}

fn populate<A: Architecture>(place: Place<'_, A>, range: VpnRange, access: Access) -> Result<(), Unplayable> {
    let Place { machine, memory, space, .. } = place;
    match space.populate(machine, memory, range, access) {
        Err(FaultError::OutOfMemory) => Err(Unplayable::OutOfMemory),
        Ok(()) => {
            if machine.has_listeners() {
                (range.start.0..range.end.0).for_each(|page| place.touch(Vpn(page), access));
            }
            Ok(())
        }
        // The kernel, too, populates as far as it gets.
        _ => Ok(()),
    }
}

fn advise<A: Architecture>(place: Place<'_, A>, range: VpnRange, advice: u64) -> Result<(), Unplayable> {
    let Place { machine, memory, space, .. } = place;
    match advice {
        MADV_DONTNEED => space.discard(machine, memory, range),
        MADV_FREE => space.age(machine, range, Contents::Droppable),
        MADV_COLD => space.age(machine, range, Contents::Kept),
        MADV_POPULATE_READ => return populate(place, range, Access::Read),
        MADV_POPULATE_WRITE => return populate(place, range, Access::Write),
        _ => {}
    }
    Ok(())
}

fn remap<A: Architecture>(place: Place<'_, A>, args: [u64; 6], address: u64) -> Result<(), Unplayable> {
    let Place { machine, memory, space, addresses, .. } = place;
    let [old_address, old_length, new_length, flags, ..] = args;
    let (old, new) = (addresses.pages(old_address, old_length)?, addresses.pages(address, new_length)?);
    if old.start == new.start {
        space.resize(machine, memory, old, new.n_pages());
        return Ok(());
    }
    let keeping = if flags & MREMAP_DONTUNMAP != 0 { Keep::Mapping } else { Keep::Nothing };
    Ok(space.relocate(machine, memory, old, new, keeping)?)
}
