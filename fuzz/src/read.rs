//! Reading to the end, and what must be true whatever the input.

use std::sync::Arc;

use shootdown_recording::{Event, Header, ReadError, Recording};

use crate::memory::Bound;

/// What recordings are called here.
const NAME: &str = "fuzz.data";
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

/// Reads a file that is in memory; `None` if it is no recording at all.
#[must_use]
pub fn read_of_bytes(bytes: &[u8]) -> Option<Told> {
    let bytes: Arc<[u8]> = bytes.into();
    let (bound, n_kept) = (Bound::of(&bytes), bytes.len() / LEAST_EVENT_BYTES + 1);
    read(bound, n_kept, || Recording::from_bytes(NAME, bytes))
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
    assert!(text.starts_with(NAME), "no place: {text}");
    assert!(text.contains("expected "), "nothing is expected: {text}");
    text
}
