//! A `perf.data` file: as it is behind the magic number, or built of what a recorder would write.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};
use shootdown_fuzz::{Bound, PerfFile, read_within, round_trip_as_text};

/// What an input begins with that is a file behind its magic number.
const AS_IT_IS: u8 = 0;

fuzz_target!(|input: &[u8]| -> Corpus {
    let (bytes, bound) = match input.split_first() {
        Some((&AS_IT_IS, rest)) => {
            let bytes = [b"PERFILE2", rest].concat();
            let bound = Bound::of(&bytes);
            (bytes, bound)
        }
        Some((_, rest)) => match PerfFile::arbitrary_take_rest(Unstructured::new(rest)) {
            Ok(file) => file.bytes(),
            Err(_) => return Corpus::Reject,
        },
        None => return Corpus::Reject,
    };
    if let Some(told) = read_within(bound, bytes) {
        round_trip_as_text(&told);
    }
    Corpus::Keep
});
