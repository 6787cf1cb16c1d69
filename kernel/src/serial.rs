//! The serial line, a line at a time.

use core::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering::*},
};

use crate::{cpu, port};

const DATA: u16 = 0x3f8;

static IS_BUSY: AtomicBool = AtomicBool::new(false);

struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the data register of the first serial port. QEMU's takes any number of bytes at once.
            unsafe { port::write_byte(DATA, byte) }
        }
        Ok(())
    }
}

/// Writes a piece of text whole, with respect to other CPUs and to handlers on this one.
pub(crate) fn write(text: fmt::Arguments<'_>) {
    let was = cpu::mask_interrupts();
    while IS_BUSY.swap(true, Acquire) {
        cpu::pause();
    }
    Serial.write_fmt(text).expect("the serial line takes everything");
    IS_BUSY.store(false, Release);
    cpu::restore_interrupts(was);
}

/// Lets a panic print that came while this or a CPU that is no more was printing.
pub(crate) fn break_lock() {
    IS_BUSY.store(false, Release);
}

macro_rules! println {
    ($($text:tt)*) => { $crate::serial::write(format_args!("{}\n", format_args!($($text)*))) };
}
macro_rules! print {
    ($($text:tt)*) => { $crate::serial::write(format_args!($($text)*)) };
}
pub(crate) use {print, println};
