//! Records on this machine, where it lets us, and replays what was recorded.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::{Command, Output},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use serde_json::Value;
use tempfile::TempDir;

fn shootdown(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shootdown")).args(arguments).output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A perf sees whom another one runs, and which of the two commands is meant only `shootdown record` knows.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Whether this machine can be recorded; says so, in one line that is easy to count, if it cannot.
fn can_record(test: &str) -> bool {
    let printed = text(&shootdown(&["record", "--print", "--", "true"]).stdout);
    let obstacles: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("# this machine: ")).collect();
    if !obstacles.is_empty() {
        static N_SKIPPED: AtomicUsize = AtomicUsize::new(0);
        let n_skipped = N_SKIPPED.fetch_add(1, Relaxed) + 1;
        // Not through the test harness, which would keep it to itself.
        writeln!(io::stderr(), "skipped: {n_skipped} recordings ({test}); {}", obstacles.join("; "))
            .expect("it prints");
    }
    obstacles.is_empty()
}

/// A workload with many processes, and with threads that share memory.
fn workload() -> String {
    let threads = std::env::current_exe().expect("this program is a file");
    let processes = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do ls / > /dev/null; done";
    format!("{processes}; {} --exact two_threads --ignored --quiet > /dev/null", threads.display())
}

/// One thread maps, touches and unmaps, and another runs meanwhile. It does not map anything itself: who waits for whom within a
/// call is not recorded.
#[test]
#[ignore = "a workload that the other tests record"]
fn two_threads() {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                std::hint::spin_loop();
            }
        });
        for _ in 0..200 {
            // So large that an allocator gives it back at once.
            let mut memory = vec![0_u8; 64 << 20];
            memory.iter_mut().step_by(4096).take(20).for_each(|byte| *byte = 1);
            assert!(std::hint::black_box(&memory).iter().take(1).all(|byte| *byte == 1));
        }
        is_over.store(true, Relaxed);
    });
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

fn replayed(file: &str) -> Value {
    let output = shootdown(&["replay", file, "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn total(counts: &Value, left_out: &[&str]) -> u64 {
    let counts = counts.as_object().expect("counts by cause");
    counts.iter().filter(|(cause, _)| !left_out.contains(&cause.as_str())).filter_map(|(_, n)| n.as_u64()).sum()
}

fn is_near(predicted: u64, recorded: u64, percent: u64, slack: u64) -> bool {
    let off_by = predicted.abs_diff(recorded);
    off_by * 100 <= recorded * percent || off_by <= slack
}

/// The bounds that the bundled recordings keep to.
fn assert_explained(report: &Value) {
    assert_eq!(report["lost_events"], 0);
    assert_eq!(report["stale_accesses"], 0);
    let of = |what: &str, side: &str, left_out: &[&str]| total(&report[what][side], left_out);
    let [predicted, recorded] = ["predicted", "recorded"].map(|side| of("flushes", side, &["exec", "exit"]));
    assert!(recorded > 300, "{recorded} flushes were recorded");
    assert!(is_near(predicted, recorded, 2, 0), "{predicted} flushes predicted, {recorded} recorded");
    let [remote, remote_recorded] = ["predicted", "recorded"].map(|side| of("remote", side, &[]));
    assert!(is_near(remote, remote_recorded, 10, 4), "{remote} remote requests predicted, {remote_recorded} recorded");
    let explained = report["residual"]["explained"].as_u64().expect("a number");
    let all = of("flushes", "recorded", &[]);
    assert!(explained * 100 >= all * 99, "{explained} of {all} explained");
}

#[test]
fn what_is_recorded_here_replays_as_the_bundled_recordings_do() {
    if !can_record("what_is_recorded_here_replays_as_the_bundled_recordings_do") {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().expect("a directory");
    let [recording, data] = ["work.tlbt.zst", "work.perf.data"].map(|name| path(&folder, name));
    let output =
        shootdown(&["record", "-o", &recording, "--perf-data", &data, "--json", "--", "sh", "-c", &workload()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(summary["tasks"].as_u64() > Some(20), "{summary}");
    let report = replayed(&recording);
    assert_explained(&report);
    assert_eq!(report["events"], summary["events"]);
    assert_eq!(report["recording"], "work");
    assert_eq!(replayed(&data)["flushes"], report["flushes"], "what perf wrote can be replayed as it is");

    let script = path(&folder, "work.txt");
    let fields = "comm,pid,tid,cpu,time,event,trace";
    let printed = Command::new("perf").args(["script", "--ns", "-i", &data, "-F", fields]).output().expect("perf runs");
    fs::write(&script, printed.stdout).expect("a file");
    let (of_text, of_data) = (events(&script), events(&data));
    assert!(of_data.len() > 1000 && of_text == of_data, "perf script prints what is in the file");

    let kept = zstd::decode_all(fs::File::open(&recording).expect("a file")).expect("compressed");
    for secret in ["two_threads", "perf-exec", "swapper"] {
        assert!(!contains(&kept, secret.as_bytes()), "{secret:?} is kept");
    }
    assert!(contains(&fs::read(&data).expect("a file"), b"two_threads"), "perf keeps the command line");
}

/// What the tasks of a recording did, without times. Text does not tell all kernel threads from others, nor who it was that is
/// gone for good by then, so switches are left out, and what they flush.
fn events(file: &str) -> Vec<String> {
    let output = shootdown(&["import", file, "-o", "-"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let fields = printed.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect::<Vec<_>>());
    let is_of_switch = |fields: &[&str]| fields[3] == "S" || fields[3..].starts_with(&["T", "0"]);
    fields.filter(|fields| fields[2] != "-2" && !is_of_switch(fields)).map(|fields| fields[1..].join(" ")).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_printed_commands_do_the_same_compressed_or_streamed() {
    if !can_record("the_printed_commands_do_the_same_compressed_or_streamed") {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().expect("a directory");
    let printed = text(&shootdown(&["record", "--print", "-o", "work.tlbt.zst", "--", "sh", "-c", &workload()]).stdout);
    let [perf, symbols, import] = ["perf ", "grep ", "shootdown import "].map(|start| {
        printed.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {printed}"))
    });
    run(symbols, folder.path());
    for (recorder, data) in [
        (perf.replacen("record", "record -z", 1), "work.perf.data"),
        (perf.replacen("-o work.perf.data", "-o -", 1) + " > stream.data", "stream.data"),
    ] {
        run(&recorder, folder.path());
        let import =
            import.replacen("shootdown", env!("CARGO_BIN_EXE_shootdown"), 1).replacen("work.perf.data", data, 1);
        run(&(import + " --force"), folder.path());
        assert_explained(&replayed(&path(&folder, "work.tlbt.zst")));
    }
}

fn run(command: &str, folder: &Path) {
    let output = Command::new("sh").args(["-c", command]).current_dir(folder).output().expect("a shell runs");
    assert!(output.status.success(), "{command}: {}", text(&output.stderr));
}

#[test]
fn what_cannot_be_recorded_is_said_before_anything_is_run() {
    let folder = tempfile::tempdir().expect("a directory");
    let (trace, output) = (path(&folder, "ran"), path(&folder, "work.tlbt.zst"));
    let without_perf = Command::new(env!("CARGO_BIN_EXE_shootdown"))
        .args(["record", "-o", &output, "--", "touch", &trace])
        .env("PATH", folder.path())
        .output()
        .expect("the command runs");
    assert_eq!(without_perf.status.code(), Some(2));
    let error = text(&without_perf.stderr);
    assert!(error.contains("perf is not installed") && error.contains("strace"), "{error}");
    fs::write(&output, "mine").expect("a file");
    for (output, expected) in [(output.as_str(), "--force"), ("work.txt", "NAME.tlbt.zst")] {
        let refused = shootdown(&["record", "-o", output, "--", "touch", &trace]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(expected), "{}", text(&refused.stderr));
    }
    let new = path(&folder, "new.tlbt.zst");
    let refused = shootdown(&["record", "-o", &new, "--perf-data", &output, "--", "touch", &trace]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("is there already"), "{}", text(&refused.stderr));
    assert!(!Path::new(&trace).exists(), "the command was run");
    assert_eq!(fs::read(&output).expect("a file"), b"mine");
}
