//! A recording of any events, written in columns and read again.

#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::{Corpus, fuzz_target};
use shootdown_fuzz::{any_recording, round_trip_as_columns};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Ok(told) = any_recording(&mut Unstructured::new(input)) else {
        return Corpus::Reject;
    };
    round_trip_as_columns(&told);
    Corpus::Keep
});
