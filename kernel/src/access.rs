//! What programs do: loads and stores through the tables, which may fault.

use shootdown::Vpn;

use crate::machine::Format;

unsafe extern "C" {
    // From `interrupt.s`.
    fn access_load(address: u64, value: &mut u64) -> bool;
    fn access_store(address: u64, value: u64) -> bool;
    fn access_faulted();
}

/// The word of this index in a page, of the loaded address space; or it is not mapped.
pub(crate) fn load(page: Vpn, index: u64) -> Option<u64> {
    let mut value = 0;
    // SAFETY: `user_address` is in the half where Rust has no memory, so the load reads a frame of the pool, or faults
    // and comes back by `way_out_of_a_fault`.
    unsafe { access_load(user_address(page, index), &mut value) }.then_some(value)
}

/// Stores to a page of the loaded address space; tells whether that was permitted.
pub(crate) fn store(page: Vpn, index: u64, value: u64) -> bool {
    // SAFETY: as in `load`; the frames of the pool are atomics to Rust.
    unsafe { access_store(user_address(page, index), value) }
}

fn user_address(page: Vpn, index: u64) -> u64 {
    let address = page.address::<Format>().0 + 8 * index;
    assert!(address < 1 << 47, "not a user address: {address:#x}");
    address
}

/// Where to go on after a page fault of this instruction, if it is one that may fault.
pub(crate) fn way_out_of_a_fault(instruction: u64) -> Option<u64> {
    // Both begin with the instruction that may fault.
    let may_fault = [access_load as *const () as u64, access_store as *const () as u64];
    may_fault.contains(&instruction).then_some(access_faulted as *const () as u64)
}
