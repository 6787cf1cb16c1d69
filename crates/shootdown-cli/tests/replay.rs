//! `shootdown replay` as a user runs it: what it prints, and with which status it ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const HEADER: &str = "# tlbt-sample 0\n# workload: tiny\n# root: 1000\n";

fn shootdown(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shootdown")).arg("replay").args(arguments).output().expect("the command runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it prints UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it prints UTF-8")
}

fn json(arguments: &[&str]) -> Vec<Value> {
    let output = shootdown(&[arguments, &["--json"]].concat());
    stdout(&output).lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

/// Writes a file of this test's own.
fn file(name: &str, contents: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, contents).expect("the temporary folder can be written");
    path
}

/// Replays a bad file: status 2, nothing on standard output, and an error that says all of `expected`.
fn refused(name: &str, contents: &[u8], expected: &[&str]) {
    let path = file(name, contents);
    let output = shootdown(&[path.to_str().expect("a UTF-8 path")]);
    assert_eq!(output.status.code(), Some(2), "{name}");
    assert_eq!(stdout(&output), "", "{name}: half a recording is not the recording");
    let error = stderr(&output);
    for words in ["error: ", name, "expected"].iter().chain(expected) {
        assert!(error.contains(words), "{name}: no {words:?} in {error}");
    }
}

fn bundled(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings");
    fs::read(folder.join(format!("{name}.tlbt.zst"))).expect("a bundled recording")
}

#[test]
fn the_bundled_postgresql_recording_is_the_default() {
    let output = shootdown(&[]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for words in ["pgbig: 301,645 events", "flushes: predicted", "munmap", "M events/s", "stale accesses: 0"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

#[test]
fn json_has_the_fields_of_its_schema() {
    let reports = json(&["java", "jemalloc"]);
    assert_eq!(reports.len(), 2);
    let report = &reports[0];
    assert_eq!(report["schema"], 1);
    assert_eq!((report["recording"].as_str(), report["profile"].as_str()), (Some("java"), Some("linux-6.18")));
    assert_eq!((report["machine"].as_str(), report["recorded_machine"].as_str()), (Some("x86-64"), Some("x86-64")));
    assert_eq!(report["cpus"], 2);
    for field in ["events", "tasks", "pages_freed", "tables_freed"] {
        assert!(report[field].as_u64().is_some_and(|number| number > 0), "{field}");
    }
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds > 1.0));
    for compared in ["flushes", "remote"] {
        assert!(report[compared]["predicted"]["fault"].as_u64().is_some_and(|number| number > 0));
        assert!(report[compared]["recorded"]["fault"].as_u64().is_some_and(|number| number > 0));
    }
    assert!(report["table_syncs"]["predicted"].is_u64() && report["table_syncs"]["recorded"].is_u64());
    assert_eq!((report["stale_accesses"].as_u64(), report["violations"].as_array().map(Vec::len)), (Some(0), Some(0)));
}

#[test]
fn a_violation_is_told_and_gives_status_1() {
    for arguments in [["--without", "flush-before-free"], ["--without", "flush-remote"]] {
        let output = shootdown(&[&["java"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(stdout(&output).contains("while cached: CPU 1, address space"), "{}", stdout(&output));
        let report = &json(&[&["java"], &arguments[..]].concat())[0];
        assert!(report["stale_accesses"].as_u64().is_some_and(|number| number > 0));
        assert_eq!(report["without"][0], arguments[1]);
    }
}

#[test]
fn what_is_left_out_is_shown_before_and_after() {
    let text = stdout(&shootdown(&["java", "--without", "flush-remote"]));
    for words in ["kept  left out", "remote requests      37         0", "stale accesses        0"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    assert!(!text.contains("\n table syncs"), "java shares no tables: {text}");
    let text = stdout(&shootdown(&["pmdshare", "--without", "quiesce-once"]));
    for words in ["table syncs        100     6,400", "table syncs 6,400 predicted, 96 recorded"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

#[test]
fn a_profile_can_be_chosen_and_listed() {
    let remote = |profile| json(&["gcc", "--profile", profile])[0]["remote"]["predicted"]["exit"].as_u64();
    assert_eq!(remote("linux-6.12"), Some(0));
    assert!(remote("linux-6.18") > Some(20));
    let list = stdout(&shootdown(&["--profile", "list"]));
    assert!(list.contains("linux-6.18\n  Linux since 6.14") && list.contains("linux-6.12\n"), "{list}");
}

#[test]
fn two_profiles_can_be_shown_side_by_side() {
    let output = shootdown(&["gcc", "--versus", "linux-6.12"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for words in ["linux-6.18  linux-6.12\n flushes ", " cause ", "one by one: "] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    let reports = json(&["gcc", "--versus", "linux-6.12"]);
    let profiles: Vec<&str> = reports.iter().filter_map(|report| report["profile"].as_str()).collect();
    assert_eq!(profiles, ["linux-6.18", "linux-6.12"]);
    assert_eq!(reports[1], json(&["gcc", "--profile", "linux-6.12"])[0]);
    let refused = shootdown(&["gcc", "--versus", "linux-6.12", "--without", "flush-remote"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("cannot be used with"), "{}", stderr(&refused));
}

#[test]
fn costs_are_estimated_by_prices_with_sources() {
    let text = stdout(&shootdown(&["java", "--cost", "kvm-guest"]));
    for words in ["estimate by the prices of kvm-guest: 0.0", " % of the ", " estimate         count  ns each"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    let report = &json(&["java", "--cost", "kvm-guest", "--by", "cpu"])[0];
    let cost = &report["cost"];
    assert_eq!((cost["label"].as_str(), cost["model"].as_str()), (Some("estimate"), Some("kvm-guest")));
    let mut sum = 0.0;
    for part in cost["parts"].as_array().expect("parts") {
        let counter = part["counter"].as_str().expect("a counter");
        let by_cpu = report["by"].as_array().into_iter().flatten();
        let count: u64 = by_cpu.filter_map(|group| group["counters"][counter].as_u64()).sum();
        assert_eq!(part["count"].as_u64(), Some(count), "{counter}");
        sum += count as f64 * part["ns_each"].as_f64().expect("a price") / 1e9;
        assert!(part["source"].as_str().is_some_and(|source| source.contains("measured")), "{counter}");
    }
    assert!(sum > 0.0 && (cost["seconds"].as_f64().expect("a sum") - sum).abs() < 1e-12);
    let recorded = cost["recorded_cpu_seconds"].as_f64().expect("it was recorded who ran when");
    assert!(recorded > 0.5 && recorded < 2.0 * report["seconds"].as_f64().expect("a time"), "{recorded}");
    assert!(json(&["java"])[0].get("cost").is_none(), "no times unless prices are given");
    let text = stdout(&shootdown(&["gcc", "--versus", "linux-6.12", "--cost", "bare-metal"]));
    assert!(text.contains("\n us of CPU time (estimate)"), "{text}");
    let list = stdout(&shootdown(&["--cost", "list"]));
    for words in ["bare-metal\n", "kvm-guest\n", "  flushes: 76.9 ns, ", "    I. Molnar, "] {
        assert!(list.contains(words), "no {words:?} in {list}");
    }
}

#[test]
fn a_cost_model_is_a_file_and_refused_with_the_line_if_it_is_wrong() {
    let good = "name = \"mine\"\nclock_ghz = 2.5\n[price.remote-requests]\ncycles = 5000\nsource = \"a manual\"\n";
    let cost = |name: &str, text: &str| {
        let path = file(name, text.as_bytes());
        shootdown(&["java", "--cost", path.to_str().expect("a UTF-8 path")])
    };
    let output = cost("mine.toml", good);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(text.contains("remote-requests     37     2000  0.000074"), "{text}");
    for (found, instead, line, words) in [
        ("remote-requests", "remote-request", "line 3", "near names: remote-requests"),
        ("source = \"a manual\"", "", "line 3", "has no source"),
        ("5000", "-1", "line 4", "cycles of remote-requests is -1; expected a number from 0 to 1e12"),
        ("5000", "inf", "line 4", "is inf; expected"),
        ("cycles", "cycle", "line 4", "unknown field `cycle`, expected"),
    ] {
        let output = cost("wrong.toml", &good.replace(found, instead));
        let error = stderr(&output);
        assert_eq!((output.status.code(), &*stdout(&output)), (Some(2), ""), "{error}");
        for words in ["wrong.toml: ", line, words] {
            assert!(error.contains(words), "no {words:?} in {error}");
        }
    }
    let unknown = shootdown(&["java", "--cost", "bare-metl"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("no cost model \"bare-metl\"; near names: bare-metal;"), "{}", stderr(&unknown));
    let binary = file("binary.toml", b"\xff\xfe");
    let error = stderr(&shootdown(&["java", "--cost", binary.to_str().expect("a UTF-8 path")]));
    assert!(error.contains("binary.toml: ") && error.contains("expected a cost model"), "{error}");
}

#[test]
fn a_machine_can_be_chosen_and_listed() {
    let output = shootdown(&["java", "--machine", "alpha"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for words in ["on 2 alpha CPUs", "recorded is x86-64's, another machine", "on x86-64", "stale accesses: 0"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    for words in ["off by", "one by one"] {
        assert!(!text.contains(words), "{words:?} would compare two machines: {text}");
    }
    assert_eq!(json(&["java", "--machine", "alpha"])[0]["machine"], "alpha");
    let list = stdout(&shootdown(&["--machine", "list"]));
    assert!(list.contains("x86-64\n  4 levels") && list.contains("alpha\n  3 levels"), "{list}");
    let output = shootdown(&["java", "--machine", "alpha", "--without", "flush-before-free"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_top_offenders_are_named() {
    for (whom, name) in
        [("process", "process 1000"), ("call", "madvise"), ("range", "process 1000, 0x"), ("cpu", "CPU 1")]
    {
        assert!(stdout(&shootdown(&["jemalloc", "--by", whom])).contains(&format!(" {name}")), "{whom}");
        let report = &json(&["jemalloc", "--by", whom])[0];
        assert!(report["by"][0]["counters"]["flushes"].as_u64() > Some(0), "{whom}");
        assert_eq!(report["by"][0]["grouping"], whom);
    }
    let text = stdout(&shootdown(&["jemalloc", "--by", "call", "--by", "process"]));
    assert!(text.contains(" madvise") && text.contains(" process 1000"), "{text}");
    let report = &json(&["jemalloc", "--by", "call", "--by", "process"])[0];
    let groupings: Vec<&str> =
        report["by"].as_array().into_iter().flatten().filter_map(|group| group["grouping"].as_str()).collect();
    assert_eq!(groupings.first(), Some(&"call"));
    assert_eq!(groupings.last(), Some(&"process"));
}

#[test]
fn a_timeline_is_told_when_asked_for() {
    let report = &json(&["java", "--timeline"])[0];
    for (kind, cpu) in [("flushes", 0), ("remote", 1)] {
        for side in ["predicted", "recorded"] {
            let bins = report["timeline"]["cpus"][cpu][kind][side].as_array().expect("bins");
            assert!(bins.len() > 100 && bins.iter().any(|bin| bin.as_u64() > Some(0)), "{kind} {side}");
        }
    }
    assert!(report["timeline"]["bin_ns"].as_u64() > Some(0));
    assert!(json(&["java"])[0].get("timeline").is_none());
    assert!(stderr(&shootdown(&["java", "--timeline"])).contains("--json"), "text has no place for it");
}

#[test]
fn a_device_can_be_attached_and_what_it_is_told_is_counted() {
    let output = shootdown(&["java", "--device", "iommu"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for words in ["iommu told: less  more  ended", "stale accesses: 0\nstale DMA: 0; device stuck: 0; "] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    let report = &json(&["java", "--device", "iommu"])[0];
    assert_eq!((report["schema"].as_u64(), report["device"]["name"].as_str()), (Some(1), Some("iommu")));
    for kind in ["less", "more", "ended"] {
        assert!(report["device"][kind]["fault"].is_u64(), "{kind}");
    }
    assert_eq!((report["device"]["stale_dma"].as_u64(), report["device"]["stuck"].as_u64()), (Some(0), Some(0)));
    // Without one nothing is said of it.
    assert!(json(&["java"])[0].get("device").is_none());
    let text = stdout(&shootdown(&["java"]));
    assert!(!text.contains("iommu") && !text.contains("DMA"), "{text}");
}

#[test]
fn stale_dma_is_told_and_gives_status_1() {
    for (name, fix, words) in [
        ("java", "tell-devices", "operation returned while cached: device, address space 1"),
        ("java", "end-devices", "table freed while cached: device, address space 1"),
        ("msync", "tell-of-permissions", "less cached than permitted: device, address space 1"),
    ] {
        let output = shootdown(&[name, "--device", "iommu", "--without", fix]);
        assert_eq!(output.status.code(), Some(1), "{fix}");
        let text = stdout(&output);
        for words in [words, "stale DMA", "device told", "stale accesses: 0"] {
            assert!(text.contains(words), "{fix}: no {words:?} in {text}");
        }
        let report = &json(&[name, "--device", "iommu", "--without", fix])[0];
        assert!(report["violations"][0].get("cpu").is_none(), "{fix}");
        assert_eq!(report["stale_accesses"], 0, "{fix}");
        assert_eq!(shootdown(&[name, "--without", fix]).status.code(), Some(0), "{fix}: no CPU is concerned");
    }
}

#[test]
fn calls_only_are_said_to_give_an_upper_bound() {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shootdown-recording/tests/fixtures/java.strace.txt.zst");
    let path = fixture.to_str().expect("a UTF-8 path");
    let output = shootdown(&[path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for words in [
        "java: 1,095 events of 20 tasks",
        "on 20 x86-64 CPUs, each task on one of its own",
        "\nupper bound: calls only were recorded",
        " cause     flushes: at most  remote: a CPU a task\n",
        "stale accesses: 0",
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    let told = text.replace("calls only were recorded", "");
    for words in ["recorded", "off by", "predicted", "one by one"] {
        assert!(!told.contains(words), "{words:?} would be about counts that nobody took: {text}");
    }
    let text = stdout(&shootdown(&[path, "--cpus", "2", "--machine", "alpha"]));
    assert!(text.contains("upper bound") && text.contains("on 2 alpha CPUs, tasks spread"), "{text}");
    assert!(!text.contains("on x86-64"), "{text}");
    assert_eq!(json(&[path])[0]["detail"], "calls");
}

#[test]
fn what_the_recorder_lost_or_left_out_is_said() {
    let contents = "# tlbt-sample 1\n# workload: tiny\n# root: 1000\n# missing: csd:csd_queue_cpu: nobody knows\n\
                    0\t0\t-2\tS\t1000\tR\n5\t0\t-2\tL\t12\n5\t0\t1000\tF\t7f0000001000\t6\n7\t1\t-2\tL\t1000\n";
    let path = file("incomplete.tlbt", contents.as_bytes());
    let path = path.to_str().expect("a UTF-8 path");
    let text = stdout(&shootdown(&[path]));
    for words in
        ["the recorder lost 1,012 events: nothing below is exact", "not recorded: csd:csd_queue_cpu: nobody knows"]
    {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    let report = &json(&[path])[0];
    assert_eq!(
        (&report["lost_events"], &report["missing"][0]),
        (&1012.into(), &"csd:csd_queue_cpu: nobody knows".into())
    );
    let whole = stdout(&shootdown(&["gcc"]));
    assert!(!whole.contains("lost") && !whole.contains("\nnot recorded:"), "{whole}");
}

#[test]
fn what_is_not_explained_is_said() {
    assert!(stdout(&shootdown(&[])).contains("one by one: 58,376 flushes explained; unexplained: 2 munmap, 4 fault;"));
    let residual = &json(&["gcc"])[0]["residual"];
    assert_eq!(residual["explained"], 4604);
    assert_eq!((residual["reclaim"].as_u64(), residual["outside"].as_u64()), (Some(0), Some(0)));
}

#[test]
fn cpus_can_be_chosen_and_are_said_to_be_a_model() {
    let output = shootdown(&["jemalloc", "--cpus", "64"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("on 64 x86-64 CPUs, tasks spread: model output"), "{}", stdout(&output));
    assert_eq!(json(&["jemalloc", "--cpus", "8"])[0]["cpus"], 8);
}

#[test]
fn the_list_names_every_bundled_recording() {
    let text = stdout(&shootdown(&["--list"]));
    assert!(text.contains("pgbig") && text.contains("PostgreSQL") && text.contains("make -j2"), "{text}");
    let names: Vec<Value> = json(&["--list"]).into_iter().map(|entry| entry["recording"].clone()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings");
    for file in fs::read_dir(folder).expect("the recordings are there") {
        let file = file.expect("readable").file_name().into_string().expect("UTF-8");
        if let Some(name) = file.strip_suffix(".tlbt.zst") {
            assert!(names.contains(&name.into()), "{name} is not listed");
        }
    }
    assert_eq!(names.len(), 14);
}

#[test]
fn wrong_questions_are_answered_with_status_2() {
    for (arguments, words) in [
        (&["--cpus", "0"][..], "0 is not in 1..=256"),
        (&["--cpus", "257"], "257 is not in 1..=256"),
        (&["--cpus", "many"], "invalid digit"),
        (&["--without", "gravity"], "possible values: flush-before-free"),
        (&["--profile", "linux-2.4"], "possible values: linux-6.18, linux-6.12, list"),
        (&["--machine", "alhpa"], "no machine \"alhpa\"; near names: alpha (see `shootdown replay --machine list`)"),
        (&["--machine", "pdp-11"], "no machine \"pdp-11\" (see"),
        (&["--device", "gpu"], "possible values: iommu"),
        (&["--device", "iommu", "--list"], "cannot be used with"),
        (&["--device", "iommu", "--machine", "alpha"], "alpha has no device that translates through page tables"),
        (&["--by", "luck"], "possible values: process, call, range, cpu"),
        (&["--frobnicate"], "unexpected argument"),
        (&["nowhere"], "nowhere: no such file; expected a recording"),
        (&["nowhere.tlbt.zst"], "nowhere.tlbt.zst: no such file; expected a recording"),
    ] {
        let output = shootdown(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(words), "no {words:?} in {}", stderr(&output));
    }
    assert!(stderr(&shootdown(&["nowhere"])).contains("or the name of a bundled recording"));
}

#[test]
fn unusable_recordings_are_refused_with_the_line_and_what_was_expected() {
    let tiny = |line: &str| format!("{HEADER}0\t0\t1000\tE\t11\t1000\t1000\n{line}\n").into_bytes();
    refused("empty.tlbt", b"", &["line 1", "empty"]);
    let whole = bundled("jemalloc");
    refused("truncated.tlbt.zst", &whole[..whole.len() / 2], &["line ", "cut short"]);
    refused("foreign.txt", b"hello\n", &["line 1", "not a recording", "hello"]);
    refused("unknown-kind.tlbt", &tiny("5\t0\t1000\tZ"), &["line 5", "unknown kind `Z`"]);
    refused("broken.strace", b"1 1.0 brk(NULL) = 0x1000 <0.1>\n1 1.1 brk(\n", &["line 2", "not a line of strace: ``"]);
    refused("too-few-fields.tlbt", &tiny("5\t0\t1000\tF"), &["line 5", "too few fields"]);
    refused("short.perf.data", b"PERFILE2\x68\0\0\0\0\0\0\0", &["byte 0", "the header", "expected the whole file"]);
    refused("foreign.perf.data", b"2ELIFREP\0\0\0\0\0\0\0\x68", &["byte 0", "expected a recording of a little-endian"]);
    refused("too-large.tlbt", &tiny("5\t70000\t1000\tC"), &["line 5", "`70000`"]);
    refused("not-a-number.tlbt", &tiny("x\t0\t1000\tC"), &["line 5", "`x`"]);
    refused("unknown-task.tlbt", &tiny("5\t0\t1001\tC"), &["line 5", "`1001`", "never created"]);
}

#[test]
fn help_has_examples() {
    let text = stdout(&shootdown(&["--help"]));
    for words in ["Examples:", "--cpus", "--without", "--device iommu", "Exit status:"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}
