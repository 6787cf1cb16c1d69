//! A file of kernel symbols, for a recording that calls functions by their addresses.

#![no_main]

use std::{fs, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use shootdown_fuzz::{Bound, NAME, read};
use shootdown_recording::{Interpretation, Recording};
use tempfile::TempDir;

const RECORDING: &str = "sh-7 [000] 1.000000: sched_switch: a:7 [120] S ==> perf-exec:8 [120]\n\
    perf-exec-8 [000] 2.0: csd_queue_cpu: cpu=1 callsite=x+0x1 func=0xffffffff813424a0 csd=0x1\n\
    perf-exec-8 [000] 3.0: csd_queue_cpu: cpu=1 callsite=x+0x1 func=0xffffffff81342000 csd=0x1\n";

/// Only files are read as symbols.
static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("room for two files");
    fs::write(directory.path().join(NAME), RECORDING).expect("room for the recording");
    directory
});

fuzz_target!(|input: &[u8]| {
    let symbols = DIRECTORY.path().join("symbols");
    fs::write(&symbols, input).expect("room for the symbols");
    let recording = DIRECTORY.path().join(NAME);
    let interpretation = Interpretation { symbols: Some(symbols), ..Interpretation::default() };
    let bound = Bound::of_unpacked(input.len() as u64 + RECORDING.len() as u64);
    let _told = read(bound, 4, || Recording::open_as(recording, &interpretation));
});
