//! Recorded syscalls as operations on an address space.

use shootdown::{Level, VirtAddr, Vpn, VpnRange, arch::x86_64::X86_64};
use shootdown_mm::{Access, Backing, Contents, FaultError, Keep, OutOfMemory, PageSize, Protection, Sharing, Vma};
use shootdown_sim::sequential::HUGE_LEVEL;

use crate::{process::place::Place, recording::syscall::Syscall};

/// A syscall that a task is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) call: Syscall,
    pub(crate) args: [u64; 6],
}

// Linux's numbers for x86-64, from its user-space headers.
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
const MADV_DONTNEED: u64 = 4;
const MADV_FREE: u64 = 8;
const MADV_COLD: u64 = 20;
const MADV_POPULATE_READ: u64 = 22;
const MADV_POPULATE_WRITE: u64 = 23;

/// Does what a successful call did.
pub(crate) fn perform(place: Place<'_>, Call { call, args }: Call, result: i64) -> Result<(), OutOfMemory> {
    let Place { machine, space, .. } = place;
    let [first, second, third, ..] = args;
    match call {
        Syscall::MMAP => return map(place, args, result as u64),
        Syscall::MUNMAP => space.unmap(machine, pages(first, second)),
        Syscall::MPROTECT | Syscall::PKEY_MPROTECT => space.protect(machine, pages(first, second), protection(third)),
        Syscall::MADVISE => return advise(place, pages(first, second), third),
        Syscall::MREMAP => return remap(place, args, result as u64),
        Syscall::BRK => space.set_brk(machine, VirtAddr(result as u64)),
        Syscall::MSYNC if third & MS_SYNC != 0 => {
            space.clean(machine, pages(first, second));
        }
        Syscall::SHMAT => attach(place, result as u64),
        Syscall::SHMDT => place.detach(VirtAddr(first).page::<X86_64>()),
        Syscall::MLOCK | Syscall::MLOCK2 => return lock(place, pages(first, second)),
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

/// The pages that hold `length` bytes from `address` on.
fn pages(address: u64, length: u64) -> VpnRange {
    let start = VirtAddr(address).page::<X86_64>();
    VpnRange::new(start, Vpn(address.saturating_add(length).div_ceil(PAGE)))
}

const PAGE: u64 = Level::LEAF.pages::<X86_64>() << <X86_64 as shootdown::EntryFormat>::PAGE_SHIFT;

fn protection(bits: u64) -> Protection {
    Protection { read: bits & PROT_READ != 0, write: bits & PROT_WRITE != 0, execute: bits & PROT_EXEC != 0 }
}

fn map(place: Place<'_>, args: [u64; 6], address: u64) -> Result<(), OutOfMemory> {
    let Place { machine, memory, space, .. } = place;
    let [_, length, prot, flags, _, offset] = args;
    let is_huge = flags & MAP_HUGETLB != 0;
    let (page_level, page_size) =
        if is_huge { (HUGE_LEVEL, PageSize::Large(HUGE_LEVEL)) } else { (Level::LEAF, PageSize::Base) };
    let mut range = pages(address, length);
    let unit = page_level.pages::<X86_64>();
    range.end = Vpn(range.end.0.next_multiple_of(unit));
    let sharing = if flags & MAP_TYPE == MAP_PRIVATE { Sharing::Private } else { Sharing::Shared };
    let backing = if flags & MAP_ANONYMOUS != 0 && sharing == Sharing::Private {
        Backing::Anonymous
    } else {
        // The recording does not say which file a descriptor stands for, so each mapping has its own.
        Backing::object(memory.new_object(machine), offset / PAGE, range.start)
    };
    space.map(machine, range, Vma { protection: protection(prot), sharing, backing, page_size });
    if flags & MAP_POPULATE != 0 {
        let access = if prot & PROT_WRITE != 0 { Access::Write } else { Access::Read };
        return populate(place, range, access);
    }
    Ok(())
}

/// A shared-memory segment. Its first page is there, and the others come with their faults.
fn attach(Place { machine, memory, segments, space }: Place<'_>, address: u64) {
    let range = pages(address, 1);
    let segment = memory.new_object(machine);
    segments.add(segment);
    let backing = Backing::object(segment, 0, range.start);
    let (protection, sharing) = (Protection::READ_WRITE, Sharing::Shared);
    space.map(machine, range, Vma { protection, sharing, backing, page_size: PageSize::Base });
}

/// Locking brings pages in, and private ones that may be written as if they were.
fn lock(place: Place<'_>, range: VpnRange) -> Result<(), OutOfMemory> {
    let vma = place.space.vma_at(place.machine, range.start).map(|(_, vma)| vma);
    let writes = vma.is_some_and(|vma| vma.protection.write && vma.sharing == Sharing::Private);
    populate(place, range, if writes { Access::Write } else { Access::Read })
}

fn populate(place: Place<'_>, range: VpnRange, access: Access) -> Result<(), OutOfMemory> {
    let Place { machine, memory, space, .. } = place;
    match space.populate(machine, memory, range, access) {
        Err(FaultError::OutOfMemory) => Err(OutOfMemory),
        // The kernel, too, populates as far as it gets.
        _ => Ok(()),
    }
}

fn advise(place: Place<'_>, range: VpnRange, advice: u64) -> Result<(), OutOfMemory> {
    let Place { machine, space, .. } = place;
    match advice {
        MADV_DONTNEED => space.discard(machine, range),
        MADV_FREE => space.age(machine, range, Contents::Droppable),
        MADV_COLD => space.age(machine, range, Contents::Kept),
        MADV_POPULATE_READ => return populate(place, range, Access::Read),
        MADV_POPULATE_WRITE => return populate(place, range, Access::Write),
        _ => {}
    }
    Ok(())
}

fn remap(Place { machine, space, .. }: Place<'_>, args: [u64; 6], address: u64) -> Result<(), OutOfMemory> {
    let [old_address, old_length, new_length, flags, ..] = args;
    let (old, new) = (pages(old_address, old_length), pages(address, new_length));
    if old.start == new.start {
        space.resize(machine, old, new.n_pages());
        return Ok(());
    }
    let keeping = if flags & MREMAP_DONTUNMAP != 0 { Keep::Mapping } else { Keep::Nothing };
    space.relocate(machine, old, new, keeping)
}
