//! `shootdown check` as a user runs it: what it prints, and with which status it ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const WITHOUT_WAIT: [&str; 3] = ["unmap_2cpu", "--without", "wait-for-acks"];

fn shootdown(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shootdown")).arg("check").args(arguments).output().expect("the command runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it prints UTF-8")
}

/// Runs it and returns what it prints, if it ends with this status.
fn prints(arguments: &[&str], status: i32) -> String {
    let output = shootdown(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {errors}{}", stdout(&output));
    stdout(&output)
}

/// Asks wrongly: status 2, nothing on standard output, and an error that says all of `expected`.
fn refused(arguments: &[&str], expected: &[&str]) {
    let output = shootdown(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stdout(&output));
    assert_eq!(stdout(&output), "", "{arguments:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    for words in ["error: "].iter().chain(expected) {
        assert!(error.contains(words), "{arguments:?}: no {words:?} in {error}");
    }
}

fn object(arguments: &[&str], status: i32) -> Value {
    let text = prints(&[arguments, &["--json"]].concat(), status);
    assert_eq!(text.lines().count(), 1, "one object a line: {text}");
    serde_json::from_str(&text).expect("it is JSON")
}

fn schedule(verdict: &Value) -> String {
    verdict["violation"]["schedule"].as_str().expect("there is a schedule").to_owned()
}

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn a_scenario_passes_with_all_fixes_and_says_what_was_not_explored() {
    let text = prints(&["unmap_2cpu"], 0);
    for words in ["all fixes kept", "(all there are)", "not explored: ", "hash collision", "as expected: no violation"]
    {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

#[test]
fn a_fix_left_out_is_told_as_a_timeline() {
    let text = prints(&WITHOUT_WAIT, 0);
    for words in ["CPU 0 ", "CPU 1 ", "flush.rs:", "kicks CPU 1", "=> frame 1 is freed while CPU 1 still translates"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    assert!(text.contains("as expected: stale-at-free"), "{text}");
}

#[test]
fn json_has_the_fields_of_its_schema() {
    let verdict = object(&WITHOUT_WAIT, 0);
    let fields: Vec<&str> = verdict.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected = [
        "scenario",
        "cpus",
        "machine",
        "without",
        "model",
        "expected",
        "verdict",
        "violation",
        "states",
        "transitions",
        "seconds",
        "exhaustive",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    assert_eq!((verdict["scenario"].as_str(), verdict["cpus"].as_u64()), (Some("unmap_2cpu"), Some(2)));
    assert_eq!(verdict["without"], serde_json::json!(["wait-for-acks"]));
    assert_eq!((verdict["expected"].as_str(), verdict["verdict"].as_str()), (Some("violation"), Some("violation")));
    let violation = &verdict["violation"];
    assert_eq!((violation["kind"].as_str(), violation["invariant"].as_str()), (Some("stale-at-free"), Some("I1")));
    assert!(violation["steps"].as_u64() > Some(0) && verdict["states"].as_u64() > Some(0));

    let pass = object(&["unmap_2cpu"], 0);
    assert_eq!((pass["verdict"].as_str(), &pass["violation"]), (Some("pass"), &Value::Null));
    assert_eq!((pass["exhaustive"].as_bool(), pass["model"].as_bool()), (Some(true), Some(false)));
}

#[test]
fn a_printed_schedule_replays_to_the_same_trace() {
    let told = prints(&WITHOUT_WAIT, 0);
    let verdict = object(&WITHOUT_WAIT, 0);
    let schedule = schedule(&verdict);
    let (_, trace) = told.split_once("at most\n\n").expect("a summary, an empty line, the trace");
    let (trace, _) = trace.split_once("replay: ").expect("the trace, the command that replays it");
    // What was left out the schedule knows.
    let replayed = prints(&["unmap_2cpu", "--replay", &schedule], 0);
    assert!(replayed.starts_with(trace), "{replayed}\nis not\n{trace}");
    assert_eq!(prints(&["--replay", &schedule], 0), replayed, "the name it knows too");
    assert_eq!(prints(&[&WITHOUT_WAIT[..], &["--replay", &schedule]].concat(), 0), replayed);
    assert_eq!(object(&["--replay", &schedule], 0)["violation"], verdict["violation"]);
}

#[test]
fn a_schedule_that_does_not_fit_is_refused_with_its_reason() {
    let schedule = schedule(&object(&WITHOUT_WAIT, 0));
    let (prefix, acts) = schedule.rsplit_once(':').expect("it has three parts");
    let replay = |schedule: &str, expected: &[&str]| refused(&["unmap_2cpu", "--replay", schedule], expected);
    replay("unmap_2cpu", &["NAME:FINGERPRINT:HEX"]);
    replay("unmap_2cpu:12:00", &["16 hexadecimal digits"]);
    replay(&format!("{prefix}:0"), &["two hexadecimal digits"]);
    replay(&format!("{prefix}:00ff"), &["act 1, ff"]);
    replay(&format!("{prefix}:000028"), &["act 2 ", "CPU 1 takes a kick", "what can: CPU 0 steps"]);
    replay(&format!("{prefix}:{}", &acts[..8]), &["fingerprint", "the code has changed"]);
    replay(&format!("unmap_2cpu:0000000000000000:{acts}"), &["fingerprint", "--without"]);
    refused(&["unmap_3cpu", "--replay", &schedule], &["unmap_2cpu"]);
    refused(&["unmap_2cpu", "--without", "flush-remote", "--replay", &schedule], &["without wait-for-acks"]);
    refused(&["--replay", &schedule.replace("unmap_2cpu", "unmap_2cp")], &["near names: unmap_2cpu"]);
}

#[test]
fn unknown_names_are_answered_with_near_ones() {
    refused(&["unmap-2cpu"], &["unmap-2cpu", "near names: unmap_2cpu", "--list"]);
    refused(&["unmap_2cpu", "--without", "wait-for-ack"], &["wait-for-acks"]);
    refused(&["unmap_2cpu", "--cpus", "9"], &["unmap_2cpu (2 CPUs)", "unmap_3cpu (3 CPUs)"]);
    assert_eq!(object(&["unmap", "--cpus", "3"], 0)["scenario"], "unmap_3cpu");
}

#[test]
fn options_without_effect_are_refused() {
    refused(&["--without", "flush-remote"], &["NAME"]);
    refused(&["unmap_2cpu", "--seed", "1"], &["--driver live"]);
    refused(&["unmap_2cpu", "--driver", "live", "--max-states", "5"], &["--driver graph"]);
    refused(&["unmap_2cpu", "--driver", "live", "--max-memory", "5"], &["--driver graph"]);
    refused(&["unmap_2cpu", "--max-memory", "0"], &["--max-memory"]);
    refused(&["--list", "unmap_2cpu"], &["--list"]);
}

#[test]
fn a_search_that_is_cut_is_not_what_was_expected() {
    let text = prints(&["unmap_2cpu", "--max-states", "50"], 1);
    assert!(text.contains("cut at the limit of 50 states"), "{text}");
    assert_eq!(object(&["unmap_2cpu", "--max-states", "50"], 1)["exhaustive"], false);
    let text = prints(&["unmap_tables_3cpu", "--max-memory", "1"], 1);
    assert!(text.contains("cut at the limit of 1 MiB"), "{text}");
    assert!(text.contains("NOT AS EXPECTED: cut at 1 MiB"), "{text}");
    assert_eq!(object(&["unmap_tables_3cpu", "--max-memory", "1"], 1)["exhaustive"], false);
}

#[test]
fn the_live_driver_finds_shrinks_and_repeats_itself() {
    let arguments = [&WITHOUT_WAIT[..], &["--driver", "live", "--seed", "5"]].concat();
    let text = prints(&arguments, 0);
    assert!(
        text.contains("seed 5") && text.contains("a sample and no proof") && text.contains("then shrunk"),
        "{text}"
    );
    assert_eq!(prints(&arguments, 0), text);
    let verdict = object(&arguments, 0);
    assert_eq!((&verdict["states"], verdict["exhaustive"].as_bool()), (&Value::Null, Some(false)));
    prints(&["--replay", &schedule(&verdict)], 0);
}

#[test]
fn a_soak_finds_what_is_left_out_and_nothing_otherwise() {
    let text = prints(&["--soak", "3000", "--seed", "3"], 0);
    assert!(text.contains("seed 3") && text.contains("0 violations; a sample and no proof"), "{text}");
    let verdict = object(&["--soak", "100000", "--without", "flush-remote"], 0);
    assert_eq!((&verdict["verdict"], verdict["without"][0].as_str()), (&"violation".into(), Some("flush-remote")));
    // The schedule says what every CPU chose to do.
    prints(&["--replay", &schedule(&verdict)], 0);
    assert!(prints(&["soak_kernel", "--soak", "3000"], 0).contains("on 8 CPUs"));
    refused(&["--soak", "3000", "unmap_2cpu"], &["unmap_2cpu", "soak_kernel"]);
    refused(&["soak"], &["--soak"]);
}

#[test]
fn a_counterexample_can_be_drawn() {
    let file = temporary("check.svg");
    prints(&[&WITHOUT_WAIT[..], &["--svg", file.to_str().expect("a UTF-8 path")]].concat(), 0);
    let svg = fs::read_to_string(&file).expect("the file is there");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    for words in ["CPU 0", "class=\"kick\"", "class=\"violation\"", "frame 1 is freed"] {
        assert!(svg.contains(words), "no {words:?} in {svg}");
    }
    refused(&[&WITHOUT_WAIT[..], &["--svg", "/nowhere/x.svg"]].concat(), &["/nowhere/x.svg"]);
}

#[test]
fn the_list_tells_what_each_scenario_shows() {
    let text = prints(&["--list"], 0);
    for words in ["unmap_2cpu: 2 CPUs", "proves: flush-before-free, wait-for-acks", "incidents: R-FREE, M1"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    let incidents = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../INCIDENTS.md"));
    assert_eq!(prints(&["--list", "--markdown"], 0), incidents.expect("the file is there"));
    for line in prints(&["--list", "--json"], 0).lines() {
        let object: Value = serde_json::from_str(line).expect("one object a line");
        assert!(object["scenario"].is_string() && object["goal"].is_string() && object["proves"].is_array(), "{line}");
    }
}

#[test]
fn a_weaker_order_is_told_as_a_timeline_that_replays() {
    let text = prints(&["lazy", "--orders"], 0);
    let (_, told) = text.split_once("needed: lazy stale-at-free\n\n").expect("the mark of a lazy CPU must not be late");
    let (trace, rest) = told.split_once("replay: shootdown check ").expect("the trace, the command that replays it");
    let command: Vec<&str> = rest.lines().next().expect("a line").split(' ').collect();
    assert_eq!(prints(&command, 0), trace);
    refused(&["lazy", "--orders", "--without", "flush-remote"], &["--orders"]);
}

#[test]
fn help_has_examples() {
    let text = prints(&["--help"], 0);
    for words in ["Examples:", "shootdown check unmap_2cpu --without", "Exit status: 0"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}
