//! Whole replays of the bundled recordings: how near they come to the kernel, and that they find what is left out.

use std::{
    fs::{self, File},
    io::{Cursor, Read},
    path::PathBuf,
};

use shootdown::Fix;
use shootdown_recording::Recording;
use shootdown_replay::{
    ByCause, Cause, Compared, CpuTimeline, Grouping, Offender, Options, Placement, Profile, Report, Residual, Timeline,
    replay,
};

/// Lock contention decides when its flushes happen, and no recording shows that.
const CONTENDED: [&str; 1] = ["munmap2"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../recordings")
}

fn open(name: &str) -> Recording {
    Recording::open(folder().join(format!("{name}.tlbt.zst"))).expect("a bundled recording")
}

fn run(name: &str, options: &Options) -> Report {
    replay(open(name), options, |_| {}).expect("a bundled recording can be replayed")
}

fn without(fix: Fix) -> Options {
    Options { without: vec![fix], ..Options::default() }
}

fn spread(n_cpus: u16) -> Options {
    Options { placement: Placement::Spread { n_cpus }, ..Options::default() }
}

fn all_names() -> Vec<String> {
    let files = fs::read_dir(folder()).expect("the recordings are there");
    let mut names: Vec<String> = files
        .filter_map(|file| file.expect("readable").file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".tlbt.zst").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// `execve` costs a constant, and exits flush nothing locally, so both would only flatter.
fn without_exec_and_exit(flushes: &ByCause<u64>) -> u64 {
    flushes.total() - flushes[Cause::Exec] - flushes[Cause::Exit]
}

/// Whether `predicted` is off by at most this many percent, or by at most `slack`.
fn is_near(predicted: u64, recorded: u64, percent: u64, slack: u64) -> bool {
    let off_by = predicted.abs_diff(recorded);
    off_by * 100 <= recorded * percent || off_by <= slack
}

#[test]
fn flushes_and_remote_requests_come_near_what_the_kernel_did() {
    println!("{:<10} {:>10} {:>9} {:>8} {:>9}", "", "flushes", "recorded", "remote", "recorded");
    let mut n_compared = 0;
    for name in all_names() {
        let report = run(&name, &Options::default());
        let [predicted, recorded] = [&report.flushes.predicted, &report.flushes.recorded].map(without_exec_and_exit);
        let [remote, remote_recorded] = [&report.remote.predicted, &report.remote.recorded].map(ByCause::total);
        println!("{name:<10} {predicted:>10} {recorded:>9} {remote:>8} {remote_recorded:>9}");
        n_compared += 1;
        assert!(recorded > 300, "{name}: the recording holds {recorded} flushes");
        assert!(is_near(predicted, recorded, 2, 0), "{name}: {predicted} flushes predicted, {recorded} recorded");
        let percent = if CONTENDED.contains(&&*name) { 40 } else { 10 };
        assert!(
            is_near(remote, remote_recorded, percent, 4),
            "{name}: {remote} remote requests predicted, {remote_recorded} recorded"
        );
        assert_one_by_one(&report);
        // Where a page of shared memory was stored to without a fault.
        let in_munmap = if name == "pgbig" { 2 } else { 0 };
        let unexplained = &report.residual.unexplained;
        assert_eq!(unexplained[Cause::Munmap], in_munmap, "{name}");
        assert_eq!(unexplained.total(), unexplained[Cause::Munmap] + unexplained[Cause::Fault], "{name}");
    }
    assert_eq!(n_compared, 14);
}

/// Sums may agree by accident; so nearly every single flush must be explained by its own fault or call.
fn assert_one_by_one(report: &Report) {
    let Residual { explained, unexplained, not_recorded, .. } = report.residual;
    let (recorded, predicted) = (report.flushes.recorded.total(), report.flushes.predicted.total());
    assert_eq!(explained + unexplained.total(), recorded, "{}", report.recording);
    assert_eq!(explained + not_recorded.total(), predicted, "{}", report.recording);
    assert!(explained * 100 >= recorded * 99, "{}: {explained} of {recorded} explained", report.recording);
}

/// Before 6.14 a CPU left the mask when it switched away: the numbers are those of a model of that rule made from the
/// same recordings independently of this one, since no such kernel was recorded.
#[test]
fn an_older_kernels_rule_gives_the_older_kernels_numbers() {
    for (name, expected) in [("gitscript", 390), ("gcc", 0), ("pgbig", 0)] {
        let report = run(name, &Options { profile: Profile::LINUX_6_12, ..Options::default() });
        let remote = report.remote.predicted.total();
        assert!(is_near(remote, expected, 10, 5), "{name}: {remote}, expected about {expected}");
        assert_eq!(report.profile, "linux-6.12");
        assert_eq!(report.stale_accesses, 0);
    }
}

#[test]
fn every_bundled_recording_runs_to_its_end_and_nothing_stale_is_used() {
    let names = all_names();
    assert_eq!(names.len(), 14);
    for name in names {
        let n_events = open(&name).inspect(|event| assert!(event.is_ok())).count() as u64;
        let report = run(&name, &Options::default());
        assert_eq!(report.events, n_events, "{name}");
        assert_eq!((report.stale_accesses, report.violations.len()), (0, 0), "{name}");
        assert!(report.flushes.predicted.total() > 0, "{name}");
    }
}

#[test]
fn freeing_before_the_flush_is_found_on_every_recording() {
    for name in all_names() {
        let report = run(&name, &without(Fix::FlushBeforeFree));
        assert!(report.stale_accesses > 0, "{name}");
        assert!(!report.violations.is_empty(), "{name}");
    }
}

/// Where no other CPU has the address space loaded, as in programs of one thread on two CPUs, there is nobody to tell; so
/// those are spread over more.
#[test]
fn flushing_only_at_home_is_found_where_anybody_else_had_to_be_told() {
    for (name, options) in [
        ("gitscript", Options::default()),
        ("java", Options::default()),
        ("pynumpy", Options::default()),
        ("jemalloc", Options::default()),
        ("gcc", spread(8)),
        ("pgbig", spread(8)),
    ] {
        let kept = run(name, &options);
        assert!(kept.remote.predicted.total() > 0, "{name}");
        assert_eq!(kept.stale_accesses, 0, "{name}");
        for fix in [Fix::FlushRemote, Fix::WaitForAcks] {
            let left_out = run(name, &Options { without: vec![fix], ..options.clone() });
            assert!(left_out.stale_accesses > 0, "{name} without {}", fix.name());
        }
    }
}

#[test]
fn equal_inputs_give_equal_reports_on_any_number_of_cpus() {
    for n_cpus in [2, 8, 64] {
        let report = run("java", &spread(n_cpus));
        assert_eq!(report, run("java", &spread(n_cpus)));
        assert_eq!(report.cpus, usize::from(n_cpus));
        assert_eq!(report.stale_accesses, 0);
    }
    let remote = |n_cpus| run("java", &spread(n_cpus)).remote.predicted.total();
    assert!(remote(64) > remote(2), "more CPUs, more to tell");
}

/// Interrupts so that walks end, when shared tables are left to one address space.
#[test]
fn table_syncs_come_near_what_the_kernel_did() {
    for name in all_names() {
        let Compared { predicted, recorded } = run(&name, &Options::default()).table_syncs;
        let expected = match &*name {
            "pgbig" => (4, 4),
            // Of two children that have begun to exit the CPU was taken before they had left their tables, and twice two
            // others came and went: those were not the last. When in an exit that happens is not recorded.
            "pmdshare" => (100, 96),
            _ => (0, 0),
        };
        assert_eq!((predicted, recorded), expected, "{name}");
    }
}

/// As it was before Linux 8ce720d5bd91: one for each of 64 tables of 100 children, and two for nearly each connection.
#[test]
fn one_table_sync_for_each_table_is_what_the_fixes_spare() {
    let without = vec![Fix::QuiesceOnce, Fix::QuiesceForLastOnly];
    for (name, expected) in [("pmdshare", 6400), ("pgbig", 243)] {
        let report = run(name, &Options { without: without.clone(), ..Options::default() });
        assert_eq!((report.table_syncs.predicted, report.stale_accesses), (expected, 0), "{name}");
    }
}

/// The kernel's own counts are compared with and never used: without them the prediction is the same, to the byte.
#[test]
fn the_recorded_truth_does_not_influence_the_prediction() {
    for name in all_names() {
        let stripped = Cursor::new(without_truth(&text(&name)));
        let recording = Recording::from_reader(&name, stripped).expect("its header is whole");
        let blind = replay(recording, &Options::default(), |_| {}).expect("it is whole");
        let seeing = run(&name, &Options::default());
        assert_eq!(blind.flushes.recorded.total() + blind.remote.recorded.total(), 0, "{name}: nothing was stripped");
        assert!(seeing.flushes.recorded.total() > 0, "{name}");
        assert_eq!(predictions(&blind), predictions(&seeing), "{name}");
    }
}

fn predictions(report: &Report) -> String {
    let Report { flushes, remote, table_syncs, gathers, pages_freed, tables_freed, stale_accesses, .. } = report;
    let predicted = (&flushes.predicted, &remote.predicted, table_syncs.predicted);
    let counted = (gathers, pages_freed, tables_freed, stale_accesses, report.tasks, report.address_spaces);
    serde_json::to_string(&(predicted, counted)).expect("numbers serialise")
}

fn text(name: &str) -> String {
    let file = File::open(folder().join(format!("{name}.tlbt.zst"))).expect("a bundled recording");
    let mut text = String::new();
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(file).expect("a zstd file");
    decoder.read_to_string(&mut text).expect("it is whole");
    text
}

/// Takes the `T` and `I` lines out; their time goes to the line after them, so that all others happen when they did.
fn without_truth(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut owed_ns = 0;
    for line in text.lines() {
        let mut fields = line.splitn(5, '\t');
        let (Some(dt_ns), Some(_), Some(_), Some(kind)) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            kept += &format!("{line}\n");
            continue;
        };
        let dt_ns: u64 = dt_ns.parse().expect("the first field is a number");
        if kind == "T" || kind == "I" {
            owed_ns += dt_ns;
        } else {
            kept += &format!("{}{}\n", dt_ns + owed_ns, &line[line.find('\t').expect("it has fields")..]);
            owed_ns = 0;
        }
    }
    kept
}

#[test]
fn a_recorded_cpu_beyond_the_machine_is_an_error() {
    let text = "# tlbt-sample 0\n# workload: big\n# root: 1000\n0\t300\t1000\tE\t11\t1000\t1000\n";
    let recording = Recording::from_reader("big.tlbt", Cursor::new(text)).expect("its header is whole");
    let error = replay(recording, &Options::default(), |_| {}).expect_err("there is no CPU 300");
    assert!(error.to_string().contains("CPU 300; expected a CPU below 256"), "{error}");
    let recording = Recording::from_reader("big.tlbt", Cursor::new(text)).expect("its header is whole");
    assert!(replay(recording, &spread(4), |_| {}).is_ok(), "spread tasks do not run where they were recorded");
}

#[test]
fn groups_add_up_to_the_whole_for_each_grouping_at_once() {
    let report = run("jemalloc", &Options { by: Grouping::ALL.to_vec(), ..Options::default() });
    for grouping in Grouping::ALL {
        let by: Vec<Offender> = report.by.iter().filter(|offender| offender.grouping == grouping).cloned().collect();
        let sum = |counter: &str| -> u64 { by.iter().filter_map(|group| group.counters.get(counter)).sum() };
        assert_eq!(sum("remote-requests"), report.remote.predicted.total(), "{}", grouping.name());
        assert_eq!(sum("gathers"), report.gathers, "{}", grouping.name());
        assert!(by.len() > 1, "{}", grouping.name());
        let alone = run("jemalloc", &Options { by: vec![grouping], ..Options::default() });
        assert_eq!(alone.by, by, "{}: what else is tallied makes no difference", grouping.name());
    }
    assert!(run("jemalloc", &Options::default()).by.is_empty());
}

/// Adds up all bins of all CPUs.
fn sum<'a>(bins: impl Iterator<Item = &'a Vec<u64>>) -> u64 {
    bins.flatten().sum()
}

fn assert_bins_add_up(report: &Report) {
    let Timeline { bin_ns, cpus } = report.timeline.as_ref().expect("it was asked for");
    for (kind, of, total) in [
        ("flushes", (|cpu| &cpu.flushes) as fn(&CpuTimeline) -> &Compared<Vec<u64>>, &report.flushes),
        ("remote", |cpu| &cpu.remote, &report.remote),
    ] {
        let name = &report.recording;
        assert_eq!(sum(cpus.iter().map(|cpu| &of(cpu).predicted)), total.predicted.total(), "{name}: {kind}");
        assert_eq!(sum(cpus.iter().map(|cpu| &of(cpu).recorded)), total.recorded.total(), "{name}: {kind}");
        for bins in cpus.iter().flat_map(|cpu| [&of(cpu).predicted, &of(cpu).recorded]) {
            let covered = (bins.len() - 1) as f64..bins.len() as f64;
            let n_bins = report.seconds * 1e9 / *bin_ns as f64;
            assert!(bins.len() <= 240 && covered.contains(&n_bins), "{name}: {n_bins} in {} bins", bins.len());
        }
    }
}

#[test]
fn a_timeline_adds_up_to_the_totals_of_every_recording() {
    for name in all_names() {
        let report = run(&name, &Options { timeline: true, ..Options::default() });
        assert_bins_add_up(&report);
        let n_cpus = report.timeline.as_ref().map_or(0, |timeline| timeline.cpus.len());
        assert_eq!(n_cpus, report.cpus, "{name}");
    }
    let report = run("gcc", &Options { timeline: true, ..spread(256) });
    assert_bins_add_up(&report);
    assert_eq!(report.timeline.map_or(0, |timeline| timeline.cpus.len()), 256);
    assert_eq!(run("jemalloc", &Options::default()).timeline, None);
}

#[test]
fn a_timeline_tells_predictions_when_and_where_the_kernel_flushed() {
    let report = run("pgbig", &Options { timeline: true, ..Options::default() });
    for cpu in &report.timeline.expect("it was asked for").cpus {
        let pairs = cpu.flushes.predicted.iter().zip(&cpu.flushes.recorded);
        let n_astray: u64 = pairs.map(|(predicted, recorded)| predicted.abs_diff(*recorded)).sum();
        let n_recorded: u64 = cpu.flushes.recorded.iter().sum();
        // Whatever a bin's edge falls between is in two bins: a call and its flush, a fault and its flush.
        assert!(n_recorded > 20_000 && n_astray * 50 < n_recorded, "CPU {}: {n_astray} of {n_recorded}", cpu.cpu);
    }
}
