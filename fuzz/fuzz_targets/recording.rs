//! Any bytes, as a file of whatever form they look like.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _told = shootdown_fuzz::read_of_bytes(input);
});
