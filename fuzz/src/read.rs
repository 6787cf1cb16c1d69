//! Reading to the end, and what must be true whatever the input.

use std::io::Cursor;

use shootdown_recording::{Event, Header, Interpretation, ReadError, Recording};

use crate::memory::Bound;

/// What recordings are called here.
pub const NAME: &str = "fuzz.data";
/// No event of a file that is not compressed takes fewer bytes.
const LEAST_EVENT_BYTES: usize = 8;

/// What a recording told before its end or its first error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it said of itself.
    pub header: Header,
    /// Its first events.
    pub events: Vec<Event>,
    /// Why there were no more.
    pub error: Option<String>,
}

/// Reads a file that is in memory, of which nothing is known; `None` if it is no recording at all.
#[must_use]
pub fn read_bytes(bytes: &[u8]) -> Option<Told> {
    read_within(Bound::of(bytes), bytes.to_vec())
}

/// Reads a file that is in memory; `None` if it is no recording at all.
#[must_use]
pub fn read_within(bound: Bound, bytes: Vec<u8>) -> Option<Told> {
    let n_kept = bytes.len() / LEAST_EVENT_BYTES + 1;
    let bytes = Cursor::new(bytes);
    read(bound, n_kept, || Recording::from_seekable(NAME, bytes, &Interpretation::default()))
}

/// Reads to the end or to the first error, and keeps the first events.
///
/// # Panics
/// If it takes more memory than the bound, if an error does not say where and what was expected, or if something follows it.
pub fn read(bound: Bound, n_kept: usize, open: impl FnOnce() -> Result<Recording, ReadError>) -> Option<Told> {
    let mut events = Vec::with_capacity(n_kept);
    let (header, error) = bound.hold(|| match open() {
        Err(error) => (None, Some(message(&error))),
        Ok(mut recording) => {
            let mut error = None;
            for read in recording.by_ref() {
                match read {
                    Ok(event) if events.len() < n_kept => events.push(event),
                    Ok(_) => {}
                    Err(failure) => error = Some(message(&failure)),
                }
            }
            assert!(recording.next().is_none(), "something follows the end");
            (Some(recording.header().clone()), error)
        }
    });
    Some(Told { header: header?, events, error })
}

fn message(error: &ReadError) -> String {
    let text = error.to_string();
    assert!(text.contains(NAME), "no place: {text}");
    assert!(text.contains("expected "), "nothing is expected: {text}");
    text
}
