//! Traces and schedules as text.

use std::{
    env, fs,
    path::Path,
    sync::atomic::Ordering::{Acquire, Release},
};

use shootdown::{CpuId, CpuSet, Fix, Machine, Masked};
use shootdown_check::{
    Finding, FixSet, Scenario, Schedule,
    graph::{self, Limits},
    live::{self, ReplayError},
    scenarios,
};
use shootdown_sim::smp::Act;

/// Compares with a file, relative to this crate, or writes it if `UPDATE_EXPECT` is set.
fn assert_is_as_in(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().expect("it lies in a directory")).expect("the directory can be made");
        fs::write(&path, text).expect("the file can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{} differs; UPDATE_EXPECT=1 rewrites it. Now it is:\n{text}", path.display());
}

/// Line numbers change with every edit of the library; what the trace says does not.
fn without_line_numbers(trace: &str) -> String {
    let without = |line: &str| {
        let mut parts = line.split(".rs:");
        let first = parts.next().unwrap_or_default().to_owned();
        let rest = parts.map(|part| part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
        rest.fold(first, |line, part| line + ".rs" + part).trim_end().to_owned()
    };
    trace.lines().map(|line| without(line) + "\n").collect()
}

#[test]
fn the_shortest_trace_without_waiting_reads_as_it_did() {
    let report = graph::check(unmap_2cpu(), &[Fix::WaitForAcks], Limits::default());
    let finding = report.finding.expect("the fix is needed");
    assert!(finding.trace.to_string().contains("flush.rs:"), "each step has its place in the source");
    let text = without_line_numbers(&finding.trace.to_string());
    assert_is_as_in("tests/traces/unmap_2cpu-without-wait-for-acks.txt", &format!("{text}{}\n", finding.schedule));
}

/// Questions that are open elsewhere, answered for this library: the shortest way in which it goes wrong.
#[test]
fn the_traces_of_open_questions_are_as_documented() {
    for (name, fix) in [("unshare_lazy", Fix::FlushUnsharedAsFreed), ("unshare_walk_third", Fix::QuiesceForAllSharers)]
    {
        let scenario = scenarios::by_name(name).expect("the scenario exists");
        let finding = graph::check(scenario, &[fix], Limits::default()).finding.expect("the fix is needed");
        let text = without_line_numbers(&finding.trace.to_string());
        let file = format!("../../docs/traces/{name}-without-{}.txt", fix.name());
        assert_is_as_in(&file, &format!("{text}{}\n", finding.schedule));
    }
}

/// The shortest failing run of the base scenario without remote flushes.
fn finding() -> Finding {
    graph::check(unmap_2cpu(), &[Fix::FlushRemote], Limits::default()).finding.expect("the fix is needed")
}

fn unmap_2cpu() -> &'static Scenario {
    scenarios::by_name("unmap_2cpu").expect("the scenario exists")
}

#[test]
fn a_schedule_replays_from_its_string() {
    let recorded = live::search(unmap_2cpu(), &[Fix::FlushRemote], 1, 1_000).finding.expect("the fix is needed");
    for finding in [finding(), recorded] {
        let schedule: Schedule = finding.schedule.to_string().parse().expect("what was printed can be read");
        assert_eq!(schedule, finding.schedule);
        let left_out = schedule.left_out(unmap_2cpu()).expect("the fingerprint tells");
        assert_eq!(left_out, FixSet::from(&[Fix::FlushRemote][..]));
        let replayed = live::replay(unmap_2cpu(), &[Fix::FlushRemote], &schedule).expect("it replays");
        assert_eq!(replayed.failure, Some(finding.failure));
        assert_eq!(replayed.trace, finding.trace);
    }
}

#[test]
fn a_schedule_that_does_not_fit_is_refused() {
    let schedule = finding().schedule;
    let replay = |schedule: &Schedule| live::replay(unmap_2cpu(), &[Fix::FlushRemote], schedule);
    let with_acts = |acts: &[Act]| replay(&Schedule { acts: acts.to_vec(), ..schedule.clone() });

    let other = Schedule { scenario: "lazy".into(), ..schedule.clone() };
    assert_eq!(replay(&other), Err(ReplayError::OtherScenario("lazy".into())));
    assert_eq!(live::replay(unmap_2cpu(), &[], &schedule), Err(ReplayError::OtherSetting));

    let cannot_happen = |acts: &[Act]| match with_acts(acts) {
        Err(ReplayError::CannotHappen { act, index, possible }) => (act, index, possible),
        other => panic!("{other:?}"),
    };
    let kicked = Act::Interrupt { cpu: CpuId(1) };
    let (act, index, possible) = cannot_happen(&[schedule.acts[0], kicked]);
    assert_eq!((act, index), (kicked, 1), "it has no kick pending");
    assert!(possible.contains(&schedule.acts[1]) && !possible.contains(&kicked));
    let nobody = Act::Step { cpu: CpuId(2), outcome: 0 };
    assert_eq!(cannot_happen(&[nobody]).1, 0, "there is no such CPU");
    let one_more = [&schedule.acts[..], &[schedule.acts[0]]].concat();
    assert_eq!(cannot_happen(&one_more).2, [], "the run is over");

    // Fewer acts can all happen, but then it is not the run that the fingerprint is of.
    assert_eq!(with_acts(&schedule.acts[..4]), Err(ReplayError::OtherCode));
}

/// Each CPU masks interrupts, kicks the other and waits, deaf, for the other's handler.
static DEAF: Scenario = Scenario {
    name: "deaf",
    goal: "Two CPUs wait for each other's interrupt handlers.",
    method: "Both mask interrupts, kick the other, and wait without serving anything.",
    main: |m| {
        let other = 1 - m.cpu().0;
        let _masked = Masked::new(m);
        m.kick(&CpuSet::only(CpuId(other)));
        m.spin(|m| (m.scratch(usize::from(other)).load(m, Acquire) == 1).then_some(()));
    },
    handler: |m| m.scratch(usize::from(m.cpu().0)).store(m, 1, Release),
    ..Scenario::BLANK
};

#[test]
fn a_doomed_run_is_told_with_what_goes_on_forever() {
    let finding = graph::check(&DEAF, &[], Limits::default()).finding.expect("it is doomed");
    assert_eq!(finding.trace.n_acts_in_cycle(), 2, "each CPU looks again");
    assert_is_as_in("tests/traces/doomed.txt", &without_line_numbers(&finding.trace.to_string()));
}

#[test]
fn a_diagram_has_a_row_for_each_act_and_shows_the_failure() {
    for (scenario, left_out) in [(unmap_2cpu(), &[Fix::WaitForAcks][..]), (&DEAF, &[])] {
        let trace = graph::check(scenario, left_out, Limits::default()).finding.expect("it fails").trace;
        let svg = trace.to_svg();
        let n_marks = svg.matches("<circle ").count();
        assert_eq!(n_marks, trace.n_acts() + trace.n_acts_in_cycle());
        assert_eq!(svg.matches("class=\"violation\"").count(), 1, "the act that fails");
        assert_eq!(svg.matches("class=\"kick\"").count(), svg.matches("<title>kicks ").count());
    }
}
