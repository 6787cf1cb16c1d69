//! A recording of any events, written in either form and read again.

#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::{Corpus, fuzz_target};
use shootdown_fuzz::{any_recording, round_trip_as_columns, round_trip_as_text};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((choice, rest)) = input.split_first() else {
        return Corpus::Reject;
    };
    let Ok(told) = any_recording(&mut Unstructured::new(rest)) else {
        return Corpus::Reject;
    };
    // Columns are compressed, and take many times as long.
    if choice % 8 == 0 {
        round_trip_as_columns(&told);
    } else {
        round_trip_as_text(&told);
    }
    Corpus::Keep
});
