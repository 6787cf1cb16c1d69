//! `shootdown boot` as a user runs it: the library on an emulated machine, with all fixes and without each of some.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write as _},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
};

use serde_json::Value;

/// Fixes whose absence programs in user mode find, by owners that are not theirs, or by the kernel's ruin. Seeds that were
/// tried took up to 200,000 operations.
const VISIBLE_TO_PROGRAMS: [&str; 8] = [
    "flush-before-free",
    "wait-for-acks",
    "flush-remote",
    "record-changes",
    "catch-up",
    "tell-lazy-of-tables",
    "record-unshared",
    "meet-leavers",
];

/// Fixes whose absence shows on QEMU, and the test that fails without. Walk caches and tags are not there, and what
/// depends on the order of memory operations does not happen on one thread. With so many operations, where a test does
/// any: what is seldom seen must not depend on the luck of one seed and one build.
const VISIBLE: [(&str, &str, &str); 9] = [
    ("flush-before-free", "stress", "100000"),
    ("wait-for-acks", "stress", "100000"),
    ("flush-remote", "stress", "100000"),
    ("drop-all-when-behind", "stress", "1000000"),
    ("atomic-unhook", "dirty", "1000000"),
    ("catch-up", "lazy", "100000"),
    ("tell-lazy-of-tables", "lazy_exit", "100000"),
    ("serve-while-waiting", "calls", "100000"),
    ("poll-on-exit", "lost_kicks", "100000"),
];

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shootdown"));
    command.arg("boot");
    command
}

/// Boots and returns what it prints, if it ends with this status. `None` where there is no QEMU.
fn boots(arguments: &[&str], status: i32) -> Option<String> {
    static N_SKIPPED: AtomicU32 = AtomicU32::new(0);
    if Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
        let n_skipped = N_SKIPPED.fetch_add(1, Relaxed) + 1;
        // Not by `eprintln`, which is shown only where a test fails.
        writeln!(io::stderr(), "boots skipped: {n_skipped}; there is no qemu-system-x86_64").expect("it prints");
        return None;
    }
    let output = command().args(arguments).output().expect("the command runs");
    let Output { status: ended, stdout, stderr } = output;
    let text = String::from_utf8(stdout).expect("it prints UTF-8");
    assert_eq!(ended.code(), Some(status), "{arguments:?}: {}{text}", String::from_utf8_lossy(&stderr));
    Some(text)
}

/// Asks wrongly: status 2, nothing on standard output, and an error that says all of `expected`.
fn refused(mut command: Command, expected: &[&str]) {
    let output = command.output().expect("the command runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{error}");
    for words in expected {
        assert!(error.contains(words), "no {words:?} in {error}");
    }
}

fn listed() -> Vec<String> {
    let output = command().arg("--list").output().expect("the command runs");
    let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "bench").map(str::to_owned).collect()
}

#[test]
fn every_test_passes_on_two_four_and_eight_cpus() {
    for cpus in ["2", "4", "8"] {
        let Some(text) = boots(&["--cpus", cpus], 0) else { return };
        assert!(text.starts_with(&format!("shootdown on {cpus} CPUs")), "{text}");
        // Of each that has begun the last line says whether it has passed.
        for name in listed() {
            assert!(text.contains(&format!("test {name} ...")), "{text}");
        }
        assert!(text.contains(" accesses looked at, 0 wrong\n"), "{text}");
        assert!(text.contains(" accesses looked at, 0 stale\n"), "{text}");
        assert!(text.ends_with(&format!("{} passed, 0 failed\n", listed().len())), "{text}");
    }
}

#[test]
fn a_fix_left_out_is_caught_by_the_test_that_passes_with_it() {
    for (fix, test, n_operations) in VISIBLE {
        assert!(listed().iter().any(|name| name == test));
        let Some(text) = boots(&["--icount", "--without", fix, "--test", test, "--operations", n_operations], 1) else {
            return;
        };
        assert!(text.contains(&format!("test {test} ... FAILED: ")), "{fix}: {text}");
        assert!(text.ends_with("0 passed, 1 failed\n"), "{fix}: {text}");
    }
}

#[test]
fn programs_find_out_that_a_fix_is_left_out() {
    // What is ruined may be what would say so. Then the machine goes on for ever, which proves nothing; another seed ruins
    // something else.
    const SEEDS: [&str; 4] = ["1", "2", "3", "4"];
    for fix in VISIBLE_TO_PROGRAMS {
        let arguments =
            ["--icount", "--without", fix, "--test", "user", "--operations", "1000000", "--time-limit", "60", "--seed"];
        let is_found = SEEDS.into_iter().any(|seed| {
            let text = boots(&[&arguments[..], &[seed]].concat(), 1);
            text.is_none_or(|text| !text.contains("did not end within"))
        });
        assert!(is_found, "{fix}: no seed of {SEEDS:?} ends");
    }
}

#[test]
fn without_the_flush_the_control_reads_the_old_frame_for_ever() {
    let Some(text) = boots(&["--without", "flush-remote", "--test", "control"], 1) else { return };
    assert!(text.contains("go on reading the old frame"), "{text}");
}

#[test]
fn counting_instructions_a_seed_repeats_its_interleaving() {
    let run = |seed: &str| boots(&["--icount", "--test", "stress", "--operations", "20000", "--seed", seed], 0);
    let (Some(one), Some(again), Some(other)) = (run("7"), run("7"), run("8")) else { return };
    assert_eq!(one, again);
    // The number of accesses depends on what the CPUs find.
    assert_ne!(one.lines().nth_back(1), other.lines().nth_back(1));
}

#[test]
fn two_cpus_at_the_same_time_use_nothing_stale_but_without_waiting_for_each_other() {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return;
    }
    let stress = ["--cpus", "2", "--parallel", "--test", "stress"];
    let Some(text) = boots(&stress, 0) else { return };
    assert!(text.contains(" accesses looked at, 0 stale\n"), "{text}");
    boots(&[&stress[..], &["--without", "wait-for-acks"]].concat(), 1);
}

#[test]
fn json_says_what_came_of_each_test() {
    let Some(text) = boots(&["--test", "lazy", "--without", "catch-up", "--json"], 1) else { return };
    let outcome: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!((outcome["verdict"].as_str(), outcome["without"].as_str()), (Some("violation"), Some("catch-up")));
    assert_eq!((outcome["passed"].as_u64(), outcome["failed"].as_u64()), (Some(0), Some(1)));
    assert_eq!(outcome["tests"][0]["test"], "lazy");
    assert!(outcome["tests"][0]["reason"].as_str().is_some_and(|reason| reason.contains("stale")), "{text}");
}

/// The bench's outcome.
fn bench() -> Option<Value> {
    boots(&["--test", "bench", "--icount", "--json"], 0).map(|text| serde_json::from_str(&text).expect("it is JSON"))
}

#[test]
fn the_bench_repeats_to_the_instruction_and_a_target_takes_at_most_200() {
    let (Some(one), Some(again)) = (bench(), bench()) else { return };
    assert_eq!((&one["bench"], &one["programs"]), (&again["bench"], &again["programs"]));
    assert_eq!(one["bench"].as_array().map(Vec::len), Some(4), "0 to 3 targets: {one}");
    for meanwhile in ["spinning", "halted"] {
        let took = |n_targets: usize| one["bench"][n_targets][meanwhile].as_u64().expect("a number");
        let a_target = (took(3) - took(1)) / 2;
        assert!(a_target <= 200, "{a_target} for a target that is {meanwhile}");
    }
    let took = |readers| rows(&one["programs"])[&format!("mmap + touch + munmap, 1 page, {readers}")].0;
    let a_target = (took("3 readers") - took("1 reader")) / 2;
    assert!(a_target <= 200, "{a_target} for a target in user mode");
}

/// Instructions and interrupts of each operation.
fn rows(operations: &Value) -> BTreeMap<String, (u64, f64)> {
    let rows = operations.as_array().expect("there are rows").iter().map(|row| {
        let name = row["operation"].as_str().expect("it has a name").to_owned();
        (name, (row["instructions"].as_u64().expect("a number"), row["interrupts"].as_f64().expect("a number")))
    });
    rows.collect()
}

#[test]
fn programs_raise_no_more_interrupts_than_on_linux() {
    let Some(ours) = bench() else { return };
    let linux: Value = serde_json::from_str(include_str!("../../../kernel/linux.json")).expect("it is JSON");
    let (ours, linux) = (rows(&ours["programs"]), rows(&linux["operations"]));
    assert!(ours.keys().eq(linux.keys()), "other operations: {:?}, {:?}", ours.keys(), linux.keys());
    for (name, (instructions, interrupts)) in &ours {
        let (instructions_there, interrupts_there) = linux[name];
        assert!(*interrupts <= interrupts_there, "{name}: {interrupts}, and {interrupts_there} on Linux");
        assert!(*instructions < instructions_there, "{name}: {instructions}, and {instructions_there} on Linux");
    }
}

#[test]
fn linux_runs_the_same_program() {
    let Some(image) = env::var_os("SHOOTDOWN_VMLINUZ") else {
        writeln!(io::stderr(), "boots skipped: 1; SHOOTDOWN_VMLINUZ names no Linux kernel").expect("it prints");
        return;
    };
    let image = image.to_str().expect("a path in UTF-8");
    let Some(text) = boots(&["--linux", image, "--icount", "--json"], 0) else { return };
    let measured: Value = serde_json::from_str(&text).expect("it is JSON");
    assert!(measured["kernel"].as_str().is_some_and(|kernel| kernel.starts_with("Linux ")), "{text}");
    assert_eq!(rows(&measured["operations"]).len(), 22, "{text}");
}

#[test]
fn a_machine_that_takes_too_long_is_ended() {
    let arguments = ["--time-limit", "1", "--test", "stress", "--operations", "1000000000"];
    let Some(text) = boots(&arguments, 1) else { return };
    assert!(text.ends_with("the machine did not end within 1 s\n"), "{text}");
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    let mut unknown = command();
    unknown.args(["--test", "strss"]);
    refused(unknown, &["there is no test \"strss\"", "near names: stress", "--list"]);
    let mut by_time = command();
    by_time.args(["--test", "bench"]);
    refused(by_time, &["--icount"]);
    let mut without_qemu = command();
    without_qemu.env("PATH", "/nonexistent");
    refused(without_qemu, &["qemu-system-x86_64", "install the package qemu-system-x86"]);
    // Before anything is built, or a QEMU looked for.
    let mut nothing = command();
    nothing.env("PATH", "/nonexistent");
    nothing.args(["--icount", "--linux", "/nonexistent/vmlinuz"]);
    refused(nothing, &["there is no kernel image /nonexistent/vmlinuz"]);
    let mut by_time = command();
    by_time.args(["--linux", "vmlinuz"]);
    refused(by_time, &["--icount"]);
    for of_ours in ["--seed", "--operations"] {
        let mut other = command();
        other.args(["--icount", "--linux", "vmlinuz", of_ours, "7"]);
        refused(other, &["--linux", of_ours]);
    }
    let mut alone = command();
    alone.args(["--cpus", "1"]);
    refused(alone, &["2..=64"]);
}
