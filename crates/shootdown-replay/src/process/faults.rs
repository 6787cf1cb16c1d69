//! Recorded page faults, and what they say about mappings that the recording does not show.
//!
//! The image, the interpreter and the stack of a program are mapped by the kernel inside `execve`. Their pages become known
//! one by one, as they fault.

use shootdown::{Vpn, VpnRange};
use shootdown_mm::{Access, FaultError, OutOfMemory, Protection, Vma};
use shootdown_sim::sequential::Architecture;

use shootdown_recording::{FaultAccess, Mode};

use crate::{
    process::place::{Place, USER_END},
    process::unplayable::Unplayable,
};

/// A page nobody mapped that the recording saw: private, and not known to be more. Instruction fetches count as reads.
pub(crate) const UNSEEN: Vma = Vma::anonymous(Protection::READ_WRITE);

/// Plays a fault at `address`.
///
/// Faults that change no page table, since the program gets a signal, are left out.
pub(crate) fn resolve<A: Architecture>(
    place: Place<'_, A>,
    address: u64,
    access: FaultAccess,
) -> Result<(), Unplayable> {
    if address >= USER_END || access.protection && !access.write {
        return Ok(());
    }
    let page = place.addresses.page(address)?;
    if access.protection && place.space.translate(place.machine, page).is_none() {
        // The page was there and could not be written: the kernel had put it there without a fault, beside one that
        // faulted or when it made the program.
        fault(place, page, Access::Read)?;
    }
    Ok(fault(place, page, if access.write { Access::Write } else { Access::Read })?)
}

/// Plays one access.
pub(crate) fn fault<A: Architecture>(place: Place<'_, A>, page: Vpn, access: Access) -> Result<(), OutOfMemory> {
    let Place { machine, memory, space, .. } = place;
    match space.fault(machine, memory, page, access) {
        Err(FaultError::NoMapping(_)) => {
            if !place.grow_segment(page) {
                space.map(machine, memory, VpnRange::from_len(page, 1), UNSEEN);
            }
            fault(place, page, access)
        }
        Err(FaultError::OutOfMemory) => Err(OutOfMemory),
        Ok(_) => {
            place.touch(page, access);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Tells whether a fault in the middle of `execve` is the kernel's first store to the new program's stack.
pub(crate) fn begins_new_stack(from: Mode, access: FaultAccess) -> bool {
    from == Mode::Kernel && access.write
}
