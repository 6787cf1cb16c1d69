//! Traces and schedules as text.

use std::{env, fs, path::Path};

use shootdown::Fix;
use shootdown_check::{
    Schedule,
    graph::{self, Limits},
    live::{self, ReplayError},
    scenarios,
};

/// Compares with a file beside this one, or writes it if `UPDATE_EXPECT` is set.
fn assert_is_as_in(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(file);
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().expect("it lies in a directory")).expect("the directory can be made");
        fs::write(&path, text).expect("the file can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{} differs; UPDATE_EXPECT=1 rewrites it. Now it is:\n{text}", path.display());
}

/// Line numbers change with every edit of the library; what the trace says does not.
fn without_line_numbers(trace: &str) -> String {
    let without = |line: &str| match line.rsplit_once(".rs:") {
        Some((line, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("{line}.rs"),
        _ => line.trim_end().to_owned(),
    };
    trace.lines().map(|line| without(line) + "\n").collect()
}

#[test]
fn the_shortest_trace_without_waiting_reads_as_it_did() {
    let scenario = scenarios::by_name("unmap_2cpu").expect("the scenario exists");
    let report = graph::check(scenario, &[Fix::WaitForAcks], Limits::default());
    let finding = report.finding.expect("the fix is needed");
    assert!(finding.trace.to_string().contains("flush.rs:"), "each step has its place in the source");
    let text = without_line_numbers(&finding.trace.to_string());
    assert_is_as_in("unmap_2cpu-without-wait-for-acks.txt", &format!("{text}{}\n", finding.schedule));
}

#[test]
fn a_schedule_replays_from_its_string() {
    let scenario = scenarios::by_name("unmap_2cpu").expect("the scenario exists");
    let finding = live::search(scenario, &[Fix::FlushRemote], 1, 1_000).finding.expect("the fix is needed");
    let schedule: Schedule = finding.schedule.to_string().parse().expect("what was printed can be read");
    assert_eq!(schedule, finding.schedule);
    let replayed = live::replay(scenario, &[Fix::FlushRemote], &schedule).expect("it replays");
    assert_eq!(replayed.failure, Some(finding.failure));
    assert_eq!(replayed.trace, finding.trace);
}

#[test]
fn a_schedule_without_acts_comes_to_the_end() {
    let scenario = scenarios::by_name("unmap_2cpu").expect("the scenario exists");
    let nothing = Schedule { scenario: scenario.name.into(), acts: Vec::new() };
    let replayed = live::replay(scenario, &[], &nothing).expect("it replays");
    assert_eq!(replayed.failure, None);
}

#[test]
fn a_schedule_that_does_not_fit_is_refused() {
    let scenario = scenarios::by_name("unmap_2cpu").expect("the scenario exists");
    let replay = |text: &str| live::replay(scenario, &[], &text.parse().expect("it is a schedule"));
    assert_eq!(replay("lazy:00"), Err(ReplayError::OtherScenario("lazy".into())));
    // CPU 1 has no kick pending.
    assert!(matches!(replay("unmap_2cpu:0048"), Err(ReplayError::CannotHappen { index: 1, .. })));
    // There is no CPU 2 here.
    assert!(matches!(replay("unmap_2cpu:10"), Err(ReplayError::CannotHappen { index: 0, .. })));
}
