//! The lines of a text behind a header that is right.

#![no_main]

use libfuzzer_sys::fuzz_target;

const HEADER: &[u8] = b"# tlbt-sample 1\n# workload: fuzz\n# root: 1000\n";

fuzz_target!(|input: &[u8]| {
    let _told = shootdown_fuzz::read_of_bytes(&[HEADER, input].concat());
});
