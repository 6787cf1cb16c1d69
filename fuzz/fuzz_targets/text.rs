//! The lines of a text behind a header that is right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shootdown_fuzz::{read_bytes, round_trip_as_text};

const HEADER: &[u8] = b"# tlbt-sample 1\n# workload: fuzz\n# root: 1000\n";

fuzz_target!(|input: &[u8]| {
    if let Some(told) = read_bytes(&[HEADER, input].concat()) {
        round_trip_as_text(&told);
    }
});
