//! A recording is the same in every form.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use shootdown_recording::{Event, Header, Recording, TextWriter};

fn bundled() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings");
    let paths: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the recordings are bundled")
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.to_string_lossy().ends_with(".tlbt.zst"))
        .collect();
    assert!(!paths.is_empty());
    paths
}

fn read(recording: Recording) -> (Header, Vec<Event>) {
    let header = recording.header().clone();
    let events = recording.map(|event| event.unwrap_or_else(|error| panic!("{error}"))).collect();
    (header, events)
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
