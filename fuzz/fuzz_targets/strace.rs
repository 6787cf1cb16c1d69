//! Lines of strace behind one that begins like it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shootdown_fuzz::{read_bytes, round_trip_as_text};

const BEGINNING: &[u8] = b"7 1700000000.000001 execve(\"/bin/sh\", [\"sh\"], 0x7f00 /* 3 vars */) = 0 <0.000100>\n";

fuzz_target!(|input: &[u8]| {
    if let Some(told) = read_bytes(&[BEGINNING, input].concat()) {
        round_trip_as_text(&told);
    }
});
