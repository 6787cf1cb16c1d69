//! Any bytes, as a file of whatever form they look like; and once more in small pieces, as a pipe would bring them.

#![no_main]

use std::io::{self, Cursor, Read};

use libfuzzer_sys::fuzz_target;
use shootdown_fuzz::{Bound, NAME, read, read_bytes, round_trip_as_text};
use shootdown_recording::Recording;

/// Gives a few bytes at a time.
struct Pipe(Cursor<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n_bytes = out.len().min(1 + self.0.position() as usize % 97);
        self.0.read(&mut out[..n_bytes])
    }
}

fuzz_target!(|input: &[u8]| {
    let told = read_bytes(input);
    let pipe = Pipe(Cursor::new(input.to_vec()));
    let n_kept = told.as_ref().map_or(0, |told| told.events.len());
    assert_eq!(read(Bound::of(input), n_kept, || Recording::from_reader(NAME, pipe)), told);
    if let Some(told) = told {
        round_trip_as_text(&told);
    }
});
