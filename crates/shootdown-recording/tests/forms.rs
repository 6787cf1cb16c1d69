//! A recording is the same in every form.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use shootdown_recording::{ColumnWriter, Detail, Event, Header, Interpretation, Recording, Root, TaskId, TextWriter};

fn bundled() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings");
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the recordings are bundled")
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.to_string_lossy().ends_with(".tlbt.zst"))
        .collect();
    assert!(!paths.is_empty());
    paths.sort();
    paths
}

fn read(recording: Recording) -> (Header, Vec<Event>) {
    let header = recording.header().clone();
    let events = recording.map(|event| event.unwrap_or_else(|error| panic!("{error}"))).collect();
    (header, events)
}

fn columns(header: &Header, events: &[Event]) -> Vec<u8> {
    let mut writer = ColumnWriter::new(Vec::new(), header).expect("memory does not fail");
    for event in events {
        writer.write(event).expect("memory does not fail");
    }
    writer.finish().expect("memory does not fail")
}

#[test]
fn what_is_written_as_text_is_read_as_it_was() {
    for path in bundled() {
        let (header, events) = read(Recording::open(&path).expect("a valid header"));
        let mut writer = TextWriter::new(Vec::new(), &header).expect("memory does not fail");
        for event in &events {
            writer.write(event).expect("memory does not fail");
        }
        let written = Recording::from_reader("written", Cursor::new(writer.finish())).expect("a valid header");
        assert_eq!(read(written), (header, events), "{}", path.display());
    }
}

/// Bytes an event that all bundled recordings come to together, and PostgreSQL's.
const SMALL: f64 = 1.68;
const SMALL_POSTGRESQL: f64 = 1.91;

/// With `--nocapture`, shows how small each is.
#[test]
fn what_is_written_as_columns_is_read_as_it_was_and_is_small() {
    let (mut n_events, mut n_bytes) = (0, 0);
    for path in bundled() {
        let (header, events) = read(Recording::open(&path).expect("a valid header"));
        let bytes = columns(&header, &events);
        let size = bytes_an_event(&header.workload, bytes.len(), events.len());
        assert!(header.workload != "pgbig" || size < SMALL_POSTGRESQL, "{size} bytes an event");
        n_events += events.len();
        n_bytes += bytes.len();
        let written = Recording::from_reader("written", Cursor::new(bytes)).expect("a valid header");
        // Not `assert_eq`: nobody wants to see all events.
        assert!(read(written) == (header, events), "{}", path.display());
    }
    let size = bytes_an_event("all", n_bytes, n_events);
    assert!(size < SMALL, "{size} bytes an event");
}

fn bytes_an_event(name: &str, n_bytes: usize, n_events: usize) -> f64 {
    let size = n_bytes as f64 / n_events as f64;
    println!("{name:12} {n_events:9} events {n_bytes:9} bytes {size:6.3} bytes an event");
    size
}

#[test]
fn what_leaves_nothing_open_needs_no_interpretation() {
    for path in bundled().into_iter().take(1) {
        let interpretation = Interpretation { root: Some(Root::Process(7)), ..Interpretation::default() };
        let error = Recording::open_as(&path, &interpretation).expect_err("there is one tree only").to_string();
        assert!(error.contains("expected neither --root nor --symbols"), "{error}");
    }
}

/// Other forms have room for more than a line of text.
#[test]
fn a_note_that_is_too_long_for_a_line_is_cut() {
    let notes = vec![("kernel".to_owned(), "6.18 \u{e9}".repeat(1000)), ("cpus".to_owned(), "2".to_owned())];
    let header = Header { workload: "w".repeat(5000), root: TaskId::FIRST, detail: Detail::Full, notes };
    let (read_as_columns, _) = read(open(columns(&header, &[])));
    assert_eq!(read_as_columns, header);
    let written = TextWriter::new(Vec::new(), &header).expect("memory does not fail").finish();
    let (read_as_text, _) = read(open(written));
    assert!(header.workload.starts_with(&read_as_text.workload) && read_as_text.workload.len() > 4000);
    assert!(header.notes[0].1.starts_with(&read_as_text.notes[0].1) && read_as_text.notes[0].1.len() > 4000);
    assert_eq!(read_as_text.notes[1], header.notes[1]);
}

/// With a space in its place the rest of such a name would be taken for a note of that name, or for the root.
#[test]
fn a_control_character_in_a_note_makes_no_other_note_of_it() {
    let notes = vec![("root:\u{8}8".to_owned(), "line\nbreak".to_owned())];
    let header = Header { workload: "w".to_owned(), root: TaskId::FIRST, detail: Detail::Full, notes };
    let written = TextWriter::new(Vec::new(), &header).expect("memory does not fail").finish();
    for bytes in [written, columns(&header, &[])] {
        let (header, _) = read(open(bytes));
        assert_eq!(header.notes, [("root:\u{fffd}8".to_owned(), "line\u{fffd}break".to_owned())]);
    }
}

#[test]
fn a_header_that_nobody_would_read_is_not_written() {
    let note = ("kernel".to_owned(), "6.18".repeat(500));
    let header =
        Header { workload: "w".to_owned(), root: TaskId::FIRST, detail: Detail::Full, notes: vec![note; 1000] };
    let error = TextWriter::new(Vec::new(), &header).expect_err("2 MB").to_string();
    assert!(error.contains("expected at most 1048576"), "{error}");
}

fn open(bytes: Vec<u8>) -> Recording {
    Recording::from_reader("written", Cursor::new(bytes)).unwrap_or_else(|error| panic!("{error}"))
}
