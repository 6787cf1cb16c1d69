//! Columns behind a header that is right: as they are, or blocks whose lengths fit.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};
use shootdown_fuzz::{read_bytes, round_trip_as_text};

const HEADER: &[u8] = b"# tlbt-columns 1\n# workload: fuzz\n# root: 1000\n\n";
/// What an input begins with that is all there is behind the header.
const AS_IT_IS: u8 = 0;
const N_COLUMNS: usize = 17;

/// Some events, in as many bytes as they may need or not.
#[derive(Arbitrary, Debug)]
struct Block {
    n_events: u8,
    step: u64,
    columns: [Vec<u8>; N_COLUMNS],
}

impl Block {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_number(bytes, self.n_events.into());
        // Of 2^-16 ns, from 1 ns on.
        put_number(bytes, self.step.max(1 << 16));
        for column in &self.columns {
            put_number(bytes, column.len() as u64);
            bytes.extend(column);
        }
    }
}

/// Seven bits a byte, the lowest first.
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let mut bytes = HEADER.to_vec();
    match input.split_first() {
        Some((&AS_IT_IS, rest)) => bytes.extend(rest),
        Some((_, rest)) => match Vec::<Block>::arbitrary_take_rest(Unstructured::new(rest)) {
            Ok(blocks) => blocks.iter().for_each(|block| block.put(&mut bytes)),
            Err(_) => return Corpus::Reject,
        },
        None => return Corpus::Reject,
    }
    if let Some(told) = read_bytes(&bytes) {
        round_trip_as_text(&told);
    }
    Corpus::Keep
});
