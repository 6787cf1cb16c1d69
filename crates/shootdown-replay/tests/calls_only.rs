//! Recordings of calls only: what is assumed about touches and places, one short recording for each rule, and whole programs
//! beside what the kernel did in other runs of them.

use std::{
    fmt::Write as _,
    io::{Cursor, Write as _},
    path::Path,
};

use shootdown_recording::{EventKind, Recording, Syscall, TextWriter};
use shootdown_replay::{ByCause, Cause, Device, Options, Placement, Report, replay};

/// `mmap(NULL, 16 pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS)`, at 0x7f0000000000.
const MAP: &str = "1000 E 9 0 10000 3 22 ffffffff 0\n1000 X 9 7f0000000000\n";
/// The same of nothing that may be accessed.
const RESERVE: &str = "1000 E 9 0 10000 0 22 ffffffff 0\n1000 X 9 7f0000000000\n";
const UNMAP: &str = "1000 E 11 7f0000000000 10000\n1000 X 11 0\n";
const PROTECT: &str = "1000 E 10 7f0000000000 10000 1\n1000 X 10 0\n";
const FORK: &str = "1000 E 57\n1000 N 1001 0\n1000 X 57 1001\n";
const THREAD: &str = "1000 E 56 50f00\n1000 N 1001 50f00\n1000 X 56 1001\n1001 E 12\n1001 X 12 0\n";

fn text(detail: &str, lines: &str) -> String {
    let mut text = format!("# tlbt-sample 1\n# workload: rule\n# root: 1000\n# detail: {detail}\n");
    for line in lines.lines() {
        writeln!(text, "1000\t0\t{}", line.replace(' ', "\t")).expect("memory does not fail");
    }
    text
}

fn play_with(options: &Options, detail: &str, lines: &str) -> Report {
    let recording = Recording::from_reader("rule.tlbt", Cursor::new(text(detail, lines))).expect("a whole header");
    let report = replay(recording, options, |_| {}).expect("a whole recording");
    assert_eq!(report.n_violations(), 0);
    report
}

fn play(lines: &str) -> Report {
    play_with(&Options::default(), "calls", lines)
}

/// The flushes, by cause; all others have none.
#[track_caller]
fn assert_flushes(lines: &str, expected: &[(Cause, u64)]) {
    let mut all = ByCause::default();
    for (cause, n_flushes) in expected {
        all[*cause] = *n_flushes;
    }
    assert_eq!(play(lines).flushes.predicted, all, "{lines}");
}

#[test]
fn what_is_taken_away_had_been_touched() {
    assert_flushes(&format!("{MAP}{UNMAP}"), &[(Cause::Munmap, 1)]);
    let twice = "1000 E 28 7f0000000000 10000 4\n1000 X 28 0\n".repeat(2);
    assert_flushes(&format!("{MAP}{twice}"), &[(Cause::Madvise, 2)]);
    assert_flushes(&format!("{MAP}{PROTECT}"), &[(Cause::Mprotect, 1)]);
    let smaller = "1000 E 25 7f0000000000 10000 8000 1\n1000 X 25 7f0000000000\n";
    assert_flushes(&format!("{MAP}{smaller}"), &[(Cause::Mremap, 1)]);
    let heap = "1000 E 12 0\n1000 X 12 55e98ef00000\n1000 E 12 55e98ef10000\n1000 X 12 55e98ef10000\n";
    assert_flushes(&format!("{heap}1000 E 12 55e98ef08000\n1000 X 12 55e98ef08000\n"), &[(Cause::Brk, 1)]);
    let over = "1000 E 9 7f0000000000 4000 1 12 3 0\n1000 X 9 7f0000000000\n";
    assert_flushes(&format!("{MAP}{over}"), &[(Cause::Mmap, 1)]);
    // In a recording with faults nothing is there that did not fault.
    let report = play_with(&Options::default(), "full", &format!("{MAP}{UNMAP}"));
    assert_eq!(report.flushes.predicted.total(), 0);
}

#[test]
fn what_is_left_alone_or_cannot_be_accessed_costs_nothing() {
    assert_flushes(&format!("{RESERVE}{UNMAP}"), &[]);
    assert_flushes(&format!("{RESERVE}1000 E 10 7f0000000000 8000 3\n1000 X 10 0\n"), &[]);
    assert_flushes(&format!("{MAP}1000 E 28 7f0000000000 10000 3\n1000 X 28 0\n"), &[]);
    assert_flushes(&format!("{MAP}1000 E 11 7f0000000000 10000\n1000 X 11 -22\n"), &[]);
}

/// The program's image is mapped by execve, so no call shows it.
#[test]
fn what_the_kernel_mapped_is_known_by_what_is_done_to_it() {
    assert_flushes(PROTECT, &[(Cause::Mprotect, 1)]);
    assert_flushes(&format!("{PROTECT}{UNMAP}"), &[(Cause::Mprotect, 1), (Cause::Munmap, 1)]);
}

/// After a fork each page has two owners, and a store to one would flush: touching must not cost what no call did.
#[test]
fn a_touch_costs_nothing_by_itself() {
    assert_flushes(&format!("{MAP}{FORK}"), &[(Cause::Fork, 1)]);
    let again = FORK.replace("1001", "1002");
    assert_flushes(&format!("{MAP}{FORK}{again}{PROTECT}"), &[(Cause::Fork, 2), (Cause::Mprotect, 1)]);
    assert_flushes(&format!("{MAP}{FORK}{UNMAP}"), &[(Cause::Fork, 1), (Cause::Munmap, 1)]);
}

#[test]
fn large_mappings_take_no_longer() {
    // A tebibyte; and a gibibyte in huge pages.
    let large = "1000 E 9 0 10000000000 3 22 ffffffff 0\n1000 X 9 7e0000000000\n";
    let huge = "1000 E 9 0 40000000 3 40022 ffffffff 0\n1000 X 9 7d0000000000\n";
    let unmap = "1000 E 11 7e0000000000 10000000000\n1000 X 11 0\n1000 E 11 7d0000000000 40000000\n1000 X 11 0\n";
    let report = play(&format!("{large}{huge}{unmap}"));
    assert_eq!(report.flushes.predicted[Cause::Munmap], 2);
    assert_eq!(report.pages_freed, 2, "one page of each");
}

/// Nobody knows where tasks ran, nor when they slept.
#[test]
fn each_task_has_a_cpu_of_its_own() {
    let lines = format!("{MAP}{THREAD}{UNMAP}");
    let report = play(&lines);
    assert_eq!((report.cpus, report.remote.predicted[Cause::Munmap]), (2, 1));
    let on_one = Options { placement: Placement::Spread { n_cpus: 1 }, ..Options::default() };
    let report = play_with(&on_one, "calls", &lines);
    assert_eq!((report.cpus, report.remote.predicted.total()), (1, 0));
    let many: String = (1001..1300).map(|task| THREAD.replace("1001", &task.to_string())).collect();
    assert_eq!(play(&format!("{MAP}{many}{UNMAP}")).cpus, 256);
}

/// An address space that ends has a root at least, and every CPU that has it loaded lazily is told, once, whatever was touched.
#[test]
fn an_exit_reaches_the_cpus_of_threads_that_ended() {
    let end = "1001 E 60 0\n1001 Q\n1000 E 231 0\n1000 Q\n1000 M\n";
    let untouched = play(&format!("{MAP}{THREAD}{end}"));
    assert_eq!((untouched.flushes.predicted.total(), untouched.remote.predicted[Cause::Exit]), (0, 1));
    let smaller = PROTECT.replace("10000", "1000");
    let touched = play(&format!("{MAP}{THREAD}{smaller}{end}"));
    assert_eq!((touched.flushes.predicted.total(), touched.remote.predicted[Cause::Exit]), (1, 1));
    assert!(touched.tables_freed > untouched.tables_freed);
}

#[test]
fn a_device_touches_what_is_taken_to_be_touched() {
    let options = Options { device: Some(Device::Iommu), ..Options::default() };
    let report = play_with(&options, "calls", &format!("{MAP}{FORK}{PROTECT}{UNMAP}"));
    assert!(report.device.is_some_and(|device| device.touches >= 2 && device.less[Cause::Munmap] > 0));
}

fn play_strace(name: &str) -> (Report, u64) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shootdown-recording/tests/fixtures");
    let open = || Recording::open(fixtures.join(format!("{name}.strace.txt.zst"))).expect("strace's");
    let is_unmap = |kind| matches!(kind, EventKind::SyscallExit { call: Syscall::MUNMAP, result: 0 });
    let n_unmaps = open().filter(|event| event.as_ref().is_ok_and(|event| is_unmap(event.kind))).count();
    let report = replay(open(), &Options::default(), |_| {}).expect("a whole recording");
    assert_eq!((report.n_violations(), report.detail), (0, "calls"));
    (report, n_unmaps as u64)
}

/// Numbers that no kernel would give out: they are played as far as that makes sense, and nothing breaks.
#[test]
fn damaged_numbers_do_no_harm() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shootdown-recording/tests/fixtures");
    let mut lines = Vec::new();
    let writer = {
        let recording = Recording::open(fixtures.join("java.strace.txt.zst")).expect("strace's");
        let mut writer = TextWriter::new(&mut lines, recording.header()).expect("memory does not fail");
        recording.for_each(|event| writer.write(&event.expect("whole")).expect("memory does not fail"));
        writer
    };
    writer.finish().flush().expect("memory does not fail");
    let mut n_played = 0;
    for seed in 1..=200_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut damaged = lines.clone();
        for _ in 0..5 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (random >> 33) as usize % damaged.len();
            if damaged[at].is_ascii_hexdigit() {
                damaged[at] = b"0123456789abcdef"[(random >> 29) as usize % 16];
            }
        }
        let Ok(recording) = Recording::from_reader("damaged.tlbt", Cursor::new(damaged)) else { continue };
        n_played += u64::from(replay(recording, &Options::default(), |_| {}).is_ok());
    }
    assert!(n_played > 20, "only {n_played} were played");
}

fn recorded(name: &str) -> ByCause<u64> {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings");
    let recording = Recording::open(recordings.join(format!("{name}.tlbt.zst"))).expect("a bundled recording");
    replay(recording, &Options::default(), |_| {}).expect("a whole recording").flushes.recorded
}

/// The same programs, recorded with faults in another run: what they do does not depend on chance, but how much they unmap does.
#[test]
fn whole_programs_come_to_at_least_what_the_kernel_did() {
    for (name, n_threads, causes) in [
        ("gitscript", 8, &[Cause::Mprotect, Cause::Madvise, Cause::Brk][..]),
        ("java", 19, &[Cause::Mmap, Cause::Munmap, Cause::Mprotect, Cause::Madvise]),
    ] {
        let (report, n_unmaps) = play_strace(name);
        let (predicted, recorded) = (report.flushes.predicted, recorded(name));
        for cause in [Cause::Fork, Cause::Exec] {
            assert_eq!(predicted[cause], recorded[cause], "{name}: {cause}");
        }
        for cause in causes {
            assert!(predicted[*cause] >= recorded[*cause], "{name}: {cause}: {} is less", predicted[*cause]);
        }
        assert_eq!(predicted[Cause::Fault], 0, "{name}: no fault was recorded");
        // What threads cut off from their reservations cannot be accessed: two pieces each.
        let n_quiet = n_unmaps - predicted[Cause::Munmap];
        assert!(n_quiet <= 2 * n_threads, "{name}: {n_quiet} of {n_unmaps} munmaps flush nothing");
        assert!(report.remote.predicted.total() > 900, "{name}: {}", report.remote.predicted.total());
    }
}
