//! Recordings on another machine than the one that was recorded.

use std::{fs, io::Cursor, path::PathBuf};

use shootdown::Fix;
use shootdown_recording::Recording;
use shootdown_replay::{Cause, Grouping, Hardware, Options, Placement, ReplayError, Report, replay};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../recordings")
}

fn alpha() -> Options {
    Options { machine: Hardware::Alpha, ..Options::default() }
}

fn run(name: &str, options: &Options) -> Report {
    let recording = Recording::open(folder().join(format!("{name}.tlbt.zst"))).expect("a bundled recording");
    replay(recording, options, |_| {}).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Plays lines of `CPU TASK KIND ARGUMENTS`, a millisecond apart; task 1000 begins on CPU 0.
fn play(lines: &str, options: &Options) -> Result<Report, ReplayError> {
    let mut text = String::from("# tlbt-sample 0\n# workload: rule\n# root: 1000\n");
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text += &format!("1000000\t{}\n", line.replace(' ', "\t"));
    }
    replay(Recording::from_reader("rule.tlbt", Cursor::new(text)).expect("a whole header"), options, |_| {})
}

fn total(report: &Report, counter: &str) -> u64 {
    report.by.iter().filter_map(|group| group.counters.get(counter)).sum()
}

#[test]
fn every_bundled_recording_runs_on_alpha_and_nothing_stale_is_used() {
    let index = fs::read_to_string(folder().join("index.tsv")).expect("the recordings are there");
    let names: Vec<&str> = index.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(names.len(), 14);
    for name in names {
        let report = run(name, &alpha());
        assert_eq!((report.stale_accesses, report.violations.len()), (0, 0), "{name}");
        assert!(report.flushes.predicted.total() > 0 && report.pages_freed > 0, "{name}");
        assert_eq!((report.machine, report.recorded_machine), ("alpha", "x86-64"));
    }
}

#[test]
fn what_is_left_out_is_found_on_alpha() {
    for name in ["gitscript", "java", "jemalloc", "redis"] {
        let report = run(name, &Options { without: vec![Fix::FlushBeforeFree], ..alpha() });
        assert!(report.stale_accesses > 0 && !report.violations.is_empty(), "{name}");
    }
    for fix in [Fix::FlushRemote, Fix::WaitForAcks] {
        assert!(run("java", &Options { without: vec![fix], ..alpha() }).stale_accesses > 0, "{}", fix.name());
    }
}

/// With one CPU, so that every flush is the issuer's own.
#[test]
fn no_flush_is_ranged_on_alpha() {
    for name in ["gcc", "java", "mprot2"] {
        let options = Options { placement: Placement::Spread { n_cpus: 1 }, by: vec![Grouping::Call], ..alpha() };
        let report = run(name, &options);
        assert!(total(&report, "flushes") > 0, "{name}");
        assert_eq!(total(&report, "full-flushes"), total(&report, "flushes"), "{name}");
        let report = run(name, &Options { machine: Hardware::X86_64, ..options });
        assert!(total(&report, "full-flushes") < total(&report, "flushes"), "{name}");
    }
}

/// A private huge page is one page on x86-64; on Alpha it is 512 of them, which come with one fault and go with one flush.
#[test]
fn a_huge_page_is_a_run_of_base_pages_on_alpha() {
    const LINES: &str = "
        0 1000 E 9 0 200000 3 40022 ffffffff 0
        0 1000 X 9 7f0000000000
        0 1000 F 7f0000001000 6
        0 1000 F 7f0000002000 6
        0 1000 E 11 7f0000000000 200000
        0 1000 X 11 0
    ";
    for (machine, n_pages) in [(Hardware::X86_64, 1), (Hardware::Alpha, 512)] {
        let report = play(LINES, &Options { machine, ..Options::default() }).expect("it fits");
        assert_eq!(report.pages_freed, n_pages, "{}", machine.name());
        assert_eq!(report.flushes.predicted[Cause::Munmap], 1);
        assert_eq!(report.stale_accesses, 0);
    }
}

/// The heap may grow out of the root entry that it began in, and shrink back.
#[test]
fn a_heap_stays_in_one_piece_on_alpha() {
    let report = play(
        "0 1000 E 12 0
        0 1000 X 12 555fff000000
        0 1000 E 12 556001000000
        0 1000 X 12 556001000000
        0 1000 F 555fffffe000 6
        0 1000 F 556000000000 6
        0 1000 F 7fff00000000 6
        0 1000 E 12 555fff000000
        0 1000 X 12 555fff000000",
        &alpha(),
    )
    .expect("it fits");
    assert_eq!((report.flushes.predicted[Cause::Brk], report.pages_freed), (1, 2));
}

/// 2 TiB of 4 KiB pages are as many pages as the user half of an Alpha has.
#[test]
fn what_does_not_fit_is_an_error_with_file_line_and_address() {
    let map = |address: &str, length: &str| format!("0 1000 E 9 0 {length} 3 22\n0 1000 X 9 {address}\n");
    assert!(play(&map("100000000000", "20000000000"), &alpha()).is_ok());
    let too_long = map("100000000000", "20000001000");
    assert!(play(&too_long, &Options::default()).is_ok(), "x86-64 has room");
    let error = play(&too_long, &alpha()).expect_err("more than there is").to_string();
    assert!(error.starts_with("rule.tlbt, line 5: no room for address 0x100000000000 on alpha"), "{error}");
    assert!(error.contains("expected") && error.contains("--machine x86-64"), "{error}");
    // Two that fit alone.
    let both = map("100000000000", "18000000000") + &map("700000000000", "18000000000");
    let error = play(&both, &alpha()).expect_err("not both").to_string();
    assert!(error.starts_with("rule.tlbt, line 7: no room for address 0x700000000000"), "{error}");
    // Far apart at first, and then one mapping from one to the other.
    let across = map("200000000000", "1000") + &map("220000000000", "1000") + &map("200000000000", "20000001000");
    let error = play(&across, &alpha()).expect_err("one of the two would have to move").to_string();
    assert!(error.starts_with("rule.tlbt, line 9: no room for address 0x200000000000"), "{error}");
}
