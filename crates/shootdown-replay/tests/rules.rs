//! One short recording for each rule that decides a number, so that each decision is pinned by itself.
//!
//! A line is `CPU TASK KIND ARGUMENTS`; before each, some milliseconds pass. Task 1000 begins on CPU 0.

use std::io::Cursor;

use shootdown_recording::Recording;
use shootdown_replay::{Cause, Grouping, Options, Profile, Report, replay};

/// Between two events, if nothing is said.
const STEP_NS: u64 = 1_000_000;

/// `mmap(NULL, 16 pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS)`, at 0x7f0000000000.
const MAP: &str = "0 1000 E 9 0 10000 3 22 ffffffff 0\n0 1000 X 9 7f0000000000\n";

fn text(lines: &str) -> String {
    let mut text = String::from("# tlbt-sample 0\n# workload: rule\n# root: 1000\n");
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (dt_ns, event) = match line.strip_prefix('+') {
            Some(later) => {
                let (seconds, event) = later.split_once(' ').expect("an event after the time");
                ((seconds.parse::<f64>().expect("a time in seconds") * 1e9) as u64, event)
            }
            None => (STEP_NS, line),
        };
        text += &format!("{dt_ns}\t{}\n", event.replace(' ', "\t"));
    }
    text
}

fn play_as(profile: Profile, lines: &str) -> Report {
    let options = Options { profile, by: vec![Grouping::Call], ..Options::default() };
    let recording = Recording::from_reader("rule.tlbt", Cursor::new(text(lines))).expect("a whole header");
    let report = replay(recording, &options, |_| {}).expect("a whole recording");
    assert_eq!(report.stale_accesses, 0);
    report
}

fn play(lines: &str) -> Report {
    play_as(Profile::LINUX_6_18, lines)
}

fn counter(report: &Report, group: &str, counter: &str) -> u64 {
    let group = report.by.iter().find(|offender| offender.name == group);
    group.and_then(|offender| offender.counters.get(counter)).copied().unwrap_or_default()
}

fn touch(n_pages: u64) -> String {
    (0..n_pages).map(|page| format!("0 1000 F {:x} 6\n", 0x7f00_0000_0000_u64 + page * 4096)).collect()
}

/// A thread 1001 of the process ran on CPU 1 and then something else did.
const LEFT_CPU_1: &str = "
    0 1000 E 56 50f00
    0 1000 N 1001 50f00
    0 1000 X 56 1001
    1 0 S 1001 R
    1 1001 F 7f0000000000 4
    1 1001 S -2 S
";

/// The same, and CPU 1 is idle.
const IDLE_CPU_1: &str = "
    0 1000 E 56 50f00
    0 1000 N 1001 50f00
    0 1000 X 56 1001
    1 0 S 1001 R
    1 1001 F 7f0000000000 4
    1 1001 S 0 S
";

const DISCARD: &str = "0 1000 E 28 7f0000000000 10000 4\n0 1000 X 28 0\n";

#[test]
fn a_cpu_that_left_is_told_once_the_address_space_is_a_second_old() {
    let early = play(&format!("{MAP}{LEFT_CPU_1}{}{DISCARD}", touch(1)));
    assert_eq!(early.remote.predicted[Cause::Madvise], 0);
    let late = play(&format!("{MAP}{LEFT_CPU_1}{}+1.1 0 1000 F 7f0000001000 6\n{DISCARD}", touch(1)));
    assert_eq!(late.remote.predicted[Cause::Madvise], 1);
    // Rid of its bit, it is not told again; and only a second later is the mask trimmed again.
    let again = play(&format!(
        "{MAP}{LEFT_CPU_1}{}+1.1 0 1000 F 7f0000001000 6\n{DISCARD}
        1 0 S 1001 R
        1 1001 S -2 S
        {}{DISCARD}+1.0 0 1000 F 7f0000001000 6\n{DISCARD}",
        touch(1),
        touch(1),
    ));
    assert_eq!(again.remote.predicted[Cause::Madvise], 2);
    let older = play_as(Profile::LINUX_6_12, &format!("{MAP}{LEFT_CPU_1}{}+2 {DISCARD}", touch(1)));
    assert_eq!(older.remote.predicted[Cause::Madvise], 0, "before 6.14 it had left the mask at once");
}

#[test]
fn a_cpu_that_runs_the_process_is_told_and_a_lazy_one_is_not() {
    let running = IDLE_CPU_1.replace("1 1001 S 0 S", "");
    assert_eq!(play(&format!("{MAP}{running}{DISCARD}")).remote.predicted[Cause::Madvise], 1);
    assert_eq!(play(&format!("{MAP}{IDLE_CPU_1}{DISCARD}")).remote.predicted[Cause::Madvise], 0);
}

/// No event says that CPU 1 has left idle; that a task does something there does.
#[test]
fn a_task_that_does_something_ends_the_idleness_of_its_cpu() {
    let back = format!("{MAP}{IDLE_CPU_1}1 1001 F 7f0000001000 4\n{DISCARD}");
    assert_eq!(play(&back).remote.predicted[Cause::Madvise], 1);
}

#[test]
fn freed_tables_reach_a_lazy_cpu() {
    let unmap = "0 1000 E 11 7f0000000000 10000\n0 1000 X 11 0\n";
    let report = play(&format!("{MAP}{}{IDLE_CPU_1}{unmap}", touch(1)));
    assert_eq!(report.tables_freed, 3);
    assert_eq!(report.remote.predicted[Cause::Munmap], 1);
    // With a neighbour in the same 2 MiB the table stays, and so the lazy CPU is left alone.
    let neighbour = "0 1000 E 9 0 1000 3 22 ffffffff 0\n0 1000 X 9 7f0000010000\n0 1000 F 7f0000010000 6\n";
    let report = play(&format!("{MAP}{neighbour}{}{IDLE_CPU_1}{unmap}", touch(1)));
    assert_eq!((report.tables_freed, report.remote.predicted[Cause::Munmap]), (0, 0));
    assert_eq!(report.flushes.predicted[Cause::Munmap], 1);
}

#[test]
fn a_fork_reaches_a_lazy_cpu() {
    let fork = "0 1000 E 57\n0 1000 N 1002 0\n0 1000 X 57 1002\n";
    let report = play(&format!("{MAP}{}{IDLE_CPU_1}{fork}", touch(1)));
    assert_eq!((report.flushes.predicted[Cause::Fork], report.remote.predicted[Cause::Fork]), (1, 1));
}

#[test]
fn thirty_three_pages_go_one_by_one_and_thirty_four_at_once() {
    for (n_pages, n_full) in [(33, 0), (34, 1)] {
        let map = "0 1000 E 9 0 100000 3 22 ffffffff 0\n0 1000 X 9 7f0000000000\n";
        let discard = "0 1000 E 28 7f0000000000 100000 4\n0 1000 X 28 0\n";
        let report = play(&format!("{map}{}{discard}", touch(n_pages)));
        assert_eq!(report.flushes.predicted[Cause::Madvise], 1);
        assert_eq!(counter(&report, "madvise", "full-flushes"), n_full, "{n_pages} pages");
    }
}

#[test]
fn the_last_sharer_of_a_page_writes_it_without_a_flush() {
    let fork = "0 1000 E 57\n0 1000 N 1001 0\n0 1000 X 57 1001\n";
    let write = "0 1000 F 7f0000000000 7\n";
    let shared = play(&format!("{MAP}{}{fork}{write}", touch(1)));
    assert_eq!(shared.flushes.predicted[Cause::Fault], 1);
    let gone = "1 0 S 1001 R\n1 1001 E 231\n1 1001 Q\n1 1001 M\n";
    let exclusive = play(&format!("{MAP}{}{fork}{gone}{write}", touch(1)));
    assert_eq!(exclusive.flushes.predicted[Cause::Fault], 0);
    // The address space goes with `M`, not with `Q`.
    let going = play(&format!("{MAP}{}{fork}1 0 S 1001 R\n1 1001 Q\n{write}1 1001 M\n", touch(1)));
    assert_eq!(going.flushes.predicted[Cause::Fault], 1);
}

#[test]
fn every_sharer_of_nested_forks_but_the_last_copies() {
    let forks = "
        0 1000 E 57
        0 1000 N 1001 0
        0 1000 X 57 1001
        1 0 S 1001 R
        1 1001 E 57
        1 1001 N 1002 0
        1 1001 X 57 1002
    ";
    let writes = "
        0 1000 F 7f0000000000 7
        1 1001 F 7f0000000000 7
        1 1001 S 1002 S
        1 1002 F 7f0000000000 7
    ";
    let report = play(&format!("{MAP}{}{forks}{writes}", touch(1)));
    assert_eq!(report.flushes.predicted[Cause::Fork], 1, "the child had nothing left to write-protect");
    assert_eq!(report.flushes.predicted[Cause::Fault], 2, "the third has the page for itself");
}

/// An exit asks for one flush when its gather is full, one at its end, and one to be rid of lazy CPUs. A gather holds
/// 7 + 19 × 509 = 9,678 things; 21 of them are tables here.
#[test]
fn an_exit_flushes_in_batches() {
    for (n_pages, n_requests) in [(9_657, 2), (9_658, 3)] {
        let report = play(&format!(
            "0 1000 E 9 0 {:x} 3 8022 ffffffff 0
            0 1000 X 9 7f0000000000
            0 1000 E 231
            0 1000 Q
            0 1000 M",
            n_pages * 4096,
        ));
        assert_eq!(counter(&report, "exit", "flush-requests"), n_requests, "{n_pages} pages");
        assert_eq!(report.pages_freed, n_pages);
        assert_eq!(report.flushes.predicted[Cause::Exit], 0, "it has left its address space");
    }
}

#[test]
fn an_execve_costs_two_flushes_and_a_failed_one_none() {
    let report = play("0 1000 E 59\n0 1000 X 59 -2\n0 1000 E 59\n0 1000 M\n0 1000 C\n0 1000 X 59 0\n");
    assert_eq!(report.flushes.predicted[Cause::Exec], 2);
    assert_eq!(report.address_spaces, 2);
}

#[test]
fn a_child_of_vfork_leaves_its_parents_pages_alone_when_it_executes() {
    let report = play(&format!(
        "{MAP}{}
        0 1000 E 58
        0 1000 N 1001 4100
        1 0 S 1001 R
        1 1001 F 7f0000000000 7
        1 1001 E 59
        1 1001 K 7ffffffff000 2
        1 1001 C
        1 1001 X 59 0
        1 1001 F 7f0000000000 6
        1 1001 Q
        1 1001 M
        0 1000 X 58 1001
        0 1000 F 7f0000000000 7",
        touch(1)
    ));
    assert_eq!(report.flushes.predicted[Cause::Fault], 0, "one address space, then two; no page was ever shared");
    assert_eq!(report.address_spaces, 2);
}

/// A page that the kernel put beside one that faulted, or into a new program: nothing says so before it is written.
#[test]
fn a_write_protection_fault_on_an_unseen_page_is_a_copy() {
    let report = play("0 1000 F 555500001000 7\n0 1000 F 555500001000 6\n");
    assert_eq!(report.flushes.predicted[Cause::Fault], 1);
}

#[test]
fn write_back_flushes_once_for_each_dirty_page() {
    let report = play(
        "0 1000 E 9 0 10000 3 1 3 0
        0 1000 X 9 7f0000000000
        0 1000 F 7f0000000000 6
        0 1000 F 7f0000003000 6
        0 1000 F 7f0000004000 4
        0 1000 E 26 7f0000000000 10000 4
        0 1000 X 26 0",
    );
    assert_eq!(report.flushes.predicted[Cause::Msync], 2);
}

#[test]
fn a_failed_call_changes_nothing() {
    let report = play(&format!("{MAP}{}0 1000 E 11 7f0000000000 10000\n0 1000 X 11 -22\n", touch(4)));
    assert_eq!((report.flushes.predicted.total(), report.pages_freed), (0, 0));
}

/// Pages move in steps that end where an old or a new table ends, with a flush for each that moved anything. Tables that are
/// left whole go with it; others go, with a flush, when the old range is unmapped.
#[test]
fn a_move_flushes_once_for_each_table_it_touches() {
    for (target, n_flushes) in [("7f0001000000", 2), ("7f0001004000", 4)] {
        let report = play(&format!(
            "0 1000 E 9 0 400000 3 22 ffffffff 0
            0 1000 X 9 7f0000000000
            0 1000 F 7f0000000000 6
            0 1000 F 7f00001ff000 6
            0 1000 F 7f0000200000 6
            0 1000 E 25 7f0000000000 400000 800000 1 0
            0 1000 X 25 {target}"
        ));
        assert_eq!(report.flushes.predicted[Cause::Mremap], n_flushes, "to {target}");
    }
}

/// The recording does not say how large a segment is; it grows with the faults in it.
#[test]
fn a_segment_is_shared_and_goes_as_a_whole() {
    let report = play(
        "0 1000 E 30 c 0 0
        0 1000 X 30 7f0000000000
        0 1000 F 7f0000000000 4
        0 1000 F 7f0000000000 7
        0 1000 F 7f0000001000 6
        0 1000 E 67 7f0000000000
        0 1000 X 67 0",
    );
    assert_eq!(report.flushes.predicted[Cause::Fault], 0, "a store to a shared page copies nothing");
    assert_eq!(report.flushes.predicted[Cause::Other], 2, "one for what was stored to, one for the tables");
    assert_eq!(report.tables_freed, 3, "nothing of it is left");
}

#[test]
fn locked_pages_are_there_without_a_fault() {
    let report = play(&format!(
        "{MAP}0 1000 E 149 7f0000000000 10000\n0 1000 X 149 0\n{}{DISCARD}",
        "0 1000 F 7f0000000000 7\n"
    ));
    assert_eq!(report.flushes.predicted[Cause::Fault], 0, "locking has made it the process's own");
    assert_eq!((report.flushes.predicted[Cause::Madvise], report.pages_freed), (1, 16));
}
