//! What is read can be written, and is read again as it was.

use std::io::Cursor;

use shootdown_recording::{ColumnWriter, Header, Interpretation, Recording, TextWriter};

use crate::read::{NAME, Told};

/// The longest line that the text form has.
const LONGEST_LINE_BYTES: usize = 4096;

/// Writes a recording as text and reads that.
///
/// # Panics
/// If what is read is anything else.
pub fn round_trip_as_text(told: &Told) {
    compare(told, write_as_text(told));
}

/// Writes a recording as text.
///
/// # Panics
/// If its header is longer than any that was read.
#[must_use]
pub fn write_as_text(told: &Told) -> Vec<u8> {
    let mut writer = TextWriter::new(Vec::new(), &told.header).expect("a header that can be read");
    for event in &told.events {
        writer.write(event).expect("memory does not fail");
    }
    writer.finish()
}

/// Writes a recording in columns and reads them.
///
/// # Panics
/// If what is read is anything else.
pub fn round_trip_as_columns(told: &Told) {
    let mut writer = ColumnWriter::new(Vec::new(), &told.header).expect("a header that can be read");
    for event in &told.events {
        writer.write(event).expect("memory does not fail");
    }
    compare(told, writer.finish().expect("memory does not fail"));
}

fn compare(told: &Told, written: Vec<u8>) {
    let written = Recording::from_seekable(NAME, Cursor::new(written), &Interpretation::default());
    let written = written.unwrap_or_else(|error| panic!("{:?} is written as what is none: {error}", told.header));
    let header = written.header().clone();
    assert_eq!((header.root, header.detail), (told.header.root, told.header.detail));
    if is_plain(&told.header) {
        assert_eq!(header, told.header);
    }
    let events: Vec<_> = written.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(events, told.events);
}

/// Whether each text fits a line as it is.
fn is_plain(header: &Header) -> bool {
    let fits = |name: &str, text: &str| {
        let is_short = "# : ".len() + name.len() + text.len() <= LONGEST_LINE_BYTES;
        is_short && !name.contains(char::is_control) && !text.contains(char::is_control)
    };
    fits("workload", &header.workload) && header.notes.iter().all(|(name, text)| fits(name, text))
}
