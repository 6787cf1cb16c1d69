//! Panics.

use core::panic::PanicInfo;

use crate::{serial, tests};

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    serial::break_lock();
    tests::end_in_panic(information)
}
