//! Feeds the reader what is not a recording, or not quite.
//!
//! Each error has to name the file, the line, what was found and what was expected; and no input may make it panic.

mod xorshift;

use std::{
    fs,
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
};

use shootdown_recording::{Problem, ReadError, Recording};
use xorshift::Xorshift;

const HEADER: &str = "# tlbt-sample 0\n# workload: small\n# root: 1000\n";

/// A recording with every kind of event. The first event is on line 4.
const EVENTS: &str = "0\t0\t-2\tS\t1000\tR\n\
    10\t0\t1000\tF\t7fa491644270\t20\n\
    10\t0\t1000\tE\t56\t1200011\t0\n\
    10\t0\t1000\tN\t1001\t1200000\n\
    10\t0\t1000\tX\t56\t1001\n\
    10\t1\t1001\tX\t56\t0\n\
    10\t1\t1001\tE\t59\n\
    10\t1\t1001\tC\n\
    10\t1\t1001\tM\n\
    10\t1\t1001\tT\t3\t-1\n\
    10\t1\t1001\tI\t0\tflush_tlb_func\n\
    10\t1\t1001\tX\t59\t0\n\
    10\t1\t1001\tK\t55e98ef2f000\t2\n\
    10\t1\t1001\tE\t9\t0\t2000\t3\t22\tffffffff\t0\n\
    10\t1\t1001\tX\t9\t7f6d48024000\n\
    0\t0\t-2\tL\t12\n\
    10\t1\t1001\tQ\n\
    10\t1\t1001\tS\t0\tZ\n";

/// Reads to the end or to the first error.
fn read_all(reader: impl Read + Send + 'static) -> Result<usize, ReadError> {
    let mut n_events = 0;
    for event in Recording::from_reader("small.tlbt", reader)? {
        event?;
        n_events += 1;
    }
    Ok(n_events)
}

fn error_of(text: impl Into<Vec<u8>>) -> ReadError {
    match read_all(Cursor::new(text.into())) {
        Ok(n_events) => panic!("read {n_events} events without an error"),
        Err(error) => error,
    }
}

/// Asserts that `line`, as the first event after a valid header, is refused with this message.
#[track_caller]
fn assert_refused(line: &str, message: &str) {
    let error = error_of(format!("{HEADER}{line}\n"));
    assert_eq!(error.to_string(), format!("small.tlbt, line 4: {message}"));
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings").join(name)
}

#[test]
fn the_small_recording_is_valid() {
    let n_events = read_all(Cursor::new(format!("{HEADER}{EVENTS}"))).expect("a valid recording");
    assert_eq!(n_events, EVENTS.lines().count());
}

#[test]
fn a_missing_file_is_named() {
    let error = Recording::open("no/such.tlbt").expect_err("there is no such file");
    assert_eq!(
        error.to_string(),
        "no/such.tlbt: no such file; expected a recording, plain text or compressed with zstd"
    );
}

#[test]
fn a_directory_is_refused() {
    let error = Recording::open(bundled("")).expect_err("a directory is no recording").to_string();
    assert!(error.contains("recordings") && error.contains("expected more of the recording"), "{error}");
}

#[test]
fn a_failing_reader_is_reported_with_its_own_words() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    let error = error_of_reader(Cursor::new(format!("{HEADER}{EVENTS}")).chain(Failing));
    assert!(error.contains("cannot read on") && error.contains("the disk is on fire"), "{error}");
    let compressed = fs::read(bundled("pmdshare.tlbt.zst")).expect("a bundled recording");
    let error = error_of_reader(Cursor::new(compressed).take(5000).chain(Failing));
    assert!(error.contains("cannot read on") && error.contains("the disk is on fire"), "{error}");
}

fn error_of_reader(reader: impl Read + Send + 'static) -> String {
    read_all(reader).expect_err("the reader fails").to_string()
}

#[test]
fn a_truncated_zstd_stream_is_called_cut_short() {
    let whole = fs::read(bundled("pmdshare.tlbt.zst")).expect("a bundled recording");
    for kept in [5, 6, 20, 1000, whole.len() / 2, whole.len() - 4, whole.len() - 1] {
        let error = error_of(whole.get(..kept).expect("shorter than the file"));
        assert!(matches!(error.problem(), Problem::Truncated), "{kept} bytes: {error}");
        assert!(error.to_string().starts_with("small.tlbt, line "), "{error}");
        assert!(error.to_string().contains("cut short: its zstd stream breaks off; expected the rest"), "{error}");
    }
}

#[test]
fn a_damaged_zstd_stream_is_called_damaged() {
    let mut bytes = fs::read(bundled("pmdshare.tlbt.zst")).expect("a bundled recording");
    let last = bytes.last_mut().expect("not empty");
    *last ^= 1; // In the checksum, so that every line before it is fine.
    let error = error_of(bytes.clone());
    assert!(matches!(error.problem(), Problem::Damaged { .. }), "{error}");
    *bytes.last_mut().expect("not empty") ^= 1;
    bytes.extend_from_slice(b"trailing text");
    let error = error_of(bytes);
    assert!(matches!(error.problem(), Problem::Damaged { .. }), "{error}");
}

#[test]
fn an_empty_file_is_called_empty() {
    let message = "small.tlbt, line 1: the file is empty; expected a recording";
    assert_eq!(error_of("").to_string(), message);
}

#[test]
fn another_kind_of_file_is_not_a_recording() {
    let message = "small.tlbt, line 1: not a recording: it begins with `#!/bin/sh`; expected the first line";
    let error = error_of("#!/bin/sh\nls\n").to_string();
    assert!(error.starts_with(message), "{error}");
    for text in [&b"PERFFILE"[..], b"\n\n", b"x", &[0xff; 100_000]] {
        let error = error_of(text);
        assert!(matches!(error.problem(), Problem::NotARecording { .. }), "{error}");
    }
}

#[test]
fn another_version_is_refused() {
    let message = "recording of format version `2`; expected version 0 or 1, which this reader knows";
    assert_eq!(error_of("# tlbt-sample 2\n").to_string(), format!("small.tlbt, line 1: {message}"));
}

#[test]
fn a_header_without_root_or_workload_is_refused() {
    let error = error_of("# tlbt-sample 0\n# workload: small\n0\t0\t-2\tS\t0\tR\n").to_string();
    assert!(error.starts_with("small.tlbt, line 2: the header has no `# root: TID` line; expected"), "{error}");
    let error = error_of("# tlbt-sample 0\n# root: 1000\n").to_string();
    assert!(error.contains("the header has no `# workload: NAME` line; expected"), "{error}");
    let error = error_of("# tlbt-sample 0\n# workload: small\n# root: 7\n").to_string();
    assert_eq!(error, "small.tlbt, line 3: root is `7`; expected a task id from 1000 to 4294967295");
}

#[test]
fn an_unknown_kind_is_shown() {
    assert_refused("1\t0\t1000\tY\t1", "unknown kind `Y`; expected one of E X N C Q M S F K T I L");
    // A file with Windows line ends: the carriage return shows.
    assert_refused("1\t0\t1000\tM\r", "unknown kind `M\\r`; expected one of E X N C Q M S F K T I L");
}

#[test]
fn too_few_fields_are_counted() {
    assert_refused("", "too few fields for an event: found 0, expected 4");
    assert_refused("1\t0\t1000", "too few fields for an event: found 3, expected 4");
    assert_refused("1\t0\t1000\tT\t3", "too few fields for kind T: found 5, expected 6");
    assert_refused("1\t0\t1000\tE", "too few fields for kind E: found 4, expected 5");
}

#[test]
fn too_many_fields_are_counted() {
    assert_refused("1\t0\t1000\tM\t3", "too many fields for kind M: found 5, expected 4");
    assert_refused("1\t0\t1000\tF\t7000\t4\t1", "too many fields for kind F: found 7, expected 6");
    let seven_args = "1\t0\t1000\tE\t9\t1\t2\t3\t4\t5\t6\t7";
    assert_refused(seven_args, "too many fields for kind E: found 12, expected 11");
}

#[test]
fn a_number_that_is_none_or_does_not_fit_is_shown_with_its_range() {
    let u64_range = "expected a decimal number from 0 to 18446744073709551615";
    assert_refused("-1\t0\t1000\tM", &format!("dt_ns is `-1`; {u64_range}"));
    assert_refused("\t0\t1000\tM", &format!("dt_ns is ``; {u64_range}"));
    assert_refused("18446744073709551616\t0\t1000\tM", &format!("dt_ns is `18446744073709551616`; {u64_range}"));
    let hex_range = "expected a hexadecimal number of 1 to 16 digits, without prefix";
    assert_refused("1\t0\t1000\tF\t0x7000\t4", &format!("address is `0x7000`; {hex_range}"));
    assert_refused(
        "1\t0\t1000\tE\t9\t10000000000000000",
        &format!("syscall argument is `10000000000000000`; {hex_range}"),
    );
    let code_range = "expected a decimal page-fault error code from 0 to 65535";
    assert_refused("1\t0\t1000\tF\t7000\t14h", &format!("error code is `14h`; {code_range}"));
    assert_refused("1\t0\t1000\tT\t6\t1", "reason is `6`; expected a flush reason from 0 to 5");
    let state_range = "expected a task state: one of R S D I T t X Z P K W";
    assert_refused("1\t0\t1000\tS\t0\t?", &format!("prev state is `?`; {state_range}"));
    let pages_range = "expected -1 for a full flush, or a decimal number of pages from 0 to 18446744073709551615";
    assert_refused("1\t0\t1000\tT\t3\t-2", &format!("pages is `-2`; {pages_range}"));
    let nr_range = "expected a decimal syscall number from 0 to 4294967295";
    assert_refused("1\t0\t1000\tE\t4294967296", &format!("nr is `4294967296`; {nr_range}"));
    let task_range = "expected 0 (idle), -1 (kernel thread), -2 (foreign) or a task id from 1000 to 4294967295";
    assert_refused("1\t0\t999\tM", &format!("tid is `999`; {task_range}"));
}

#[test]
fn a_result_that_does_not_fit_is_shown_with_its_form() {
    let form = "expected a decimal number from -9223372036854775808 to 4096, or above that a hexadecimal one up to \
                7fffffffffffffff, without prefix";
    assert_refused("1\t0\t1000\tX\t9\t8000000000000000", &format!("ret is `8000000000000000`; {form}"));
    let form = "expected a decimal number from -9223372036854775808 to 9223372036854775807";
    assert_refused("1\t0\t1000\tX\t56\t10ff", &format!("ret is `10ff`; {form}"));
}

#[test]
fn times_that_overflow_are_refused_on_the_line_where_they_do() {
    let error = error_of(format!("{HEADER}18446744073709551615\t0\t1000\tM\n1\t0\t1000\tM\n"));
    let message = "dt_ns is `1`; expected a time that keeps the sum of all below 2^64 ns";
    assert_eq!(error.to_string(), format!("small.tlbt, line 5: {message}"));
}

#[test]
fn a_cpu_above_the_bound_is_refused() {
    assert_refused("1\t4096\t1000\tM", "cpu is `4096`; expected a decimal CPU index from 0 to 4095");
    assert_refused(
        "1\t0\t1000\tI\t70000\tflush_tlb_func",
        "target cpu is `70000`; expected a decimal CPU index from 0 to 4095",
    );
}

#[test]
fn a_task_that_was_never_created_is_refused() {
    let expected = "a task that was never created; expected the root task or the child of an earlier N line";
    assert_refused("1\t0\t1234\tM", &format!("tid is `1234`, {expected}"));
    assert_refused("1\t0\t-2\tS\t1234\tR", &format!("next tid is `1234`, {expected}"));
}

#[test]
fn an_event_of_a_task_is_refused_for_an_actor_that_is_none() {
    let expected = "a task id from 1000 to 4294967295, as only such a task can have an event of this kind";
    assert_refused("1\t0\t-2\tQ", &format!("tid is `-2`; expected {expected}"));
}

#[test]
fn a_tid_is_given_out_again_only_after_its_task_has_exited() {
    assert_refused(
        "1\t0\t1000\tN\t1000\t0",
        "child tid is `1000`, a task that is still alive; expected an id not in use",
    );
    let again = "1\t0\t1000\tN\t1001\t0\n1\t0\t1001\tQ\n1\t0\t1000\tN\t1001\t0\n";
    assert_eq!(read_all(Cursor::new(format!("{HEADER}{again}"))).expect("a valid recording"), 3);
}

#[test]
fn a_line_over_4_kib_is_refused() {
    let message = "the line is longer than 4096 bytes; expected an event of at most that many";
    assert_refused(&"1".repeat(4097), message);
    assert_refused(&"1".repeat(1_000_000), message);
}

/// A few KiB of zstd can be a GiB of notes, which are kept.
#[test]
fn a_header_over_1_mib_is_refused() {
    let message = "the header is longer than 1048576 bytes; expected one of at most that many";
    for first_line in ["# tlbt-sample 1", "# tlbt-columns 1"] {
        let text = format!("{first_line}\n{}", "# : \n".repeat(1 << 18));
        let error = error_of(text).to_string();
        assert!(error.contains(message), "{error}");
    }
}

/// Each of the brackets could be the CPU's, and looking for its end from each took half a minute.
#[test]
fn a_line_of_brackets_is_read_like_any_other() {
    let line = format!("{} sh-8 [000] 1.5: irq_handler_entry: irq=1\n", "[".repeat(4000));
    let error = error_of(format!("# tracer: nop\n{}", line.repeat(10_000))).to_string();
    assert!(error.contains("no task named `perf-exec`"), "{error}");
}

#[test]
fn a_last_line_without_its_end_is_refused() {
    let message = "the last line has no line end, so it may be cut short; expected a newline after every line";
    let error = error_of(format!("{HEADER}1\t0\t1000\tF\t7fa4916"));
    assert_eq!(error.to_string(), format!("small.tlbt, line 4: {message}"));
}

#[test]
fn nothing_follows_an_error() {
    let text = format!("{HEADER}1\t0\t1000\tY\n{EVENTS}");
    let mut recording = Recording::from_reader("small.tlbt", Cursor::new(text)).expect("a valid header");
    assert!(recording.next().is_some_and(|read| read.is_err()));
    assert!(recording.next().is_none());
}

/// Truncates, flips a bit, deletes a field, doubles a line or inserts a byte.
fn mutate(bytes: &mut Vec<u8>, random: &mut Xorshift) {
    let at = random.below(bytes.len());
    let next_tab = |from: usize| bytes.iter().skip(from).position(|&byte| byte == b'\t').map(|n| from + n);
    match random.below(5) {
        0 => bytes.truncate(at),
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some((from, to)) = next_tab(at).and_then(|from| Some((from, next_tab(from + 1)?))) {
                bytes.drain(from..to);
            }
        }
        3 => {
            let tail = bytes.split_off(at);
            bytes.extend_from_slice(&tail);
            bytes.extend_from_slice(&tail);
        }
        _ => bytes.insert(at, u8::try_from(random.below(256)).expect("a byte")),
    }
}

/// Could a damaged file make the reader panic, or lose track of its place? Reads thousands of them.
fn read_mutations(original: &[u8], n_mutations: u64) {
    let mut n_refused = 0_u64;
    for seed in 1..=n_mutations {
        let mut random = Xorshift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut bytes = original.to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        let text = bytes.clone();
        let read = std::panic::catch_unwind(|| read_all(Cursor::new(bytes)));
        let Ok(read) = read else {
            panic!("seed {seed}: the reader panicked on `{}`", text.escape_ascii());
        };
        if let Err(error) = read {
            n_refused += 1;
            let message = error.to_string();
            assert!(message.starts_with("small.tlbt, line "), "seed {seed}: {message}");
            assert!(message.contains("expected "), "seed {seed}: {message}");
        }
    }
    assert!(n_refused > n_mutations / 4, "only {n_refused} of {n_mutations} were refused");
}

#[test]
fn no_damage_to_the_text_makes_the_reader_panic() {
    read_mutations(format!("{HEADER}{EVENTS}").as_bytes(), 5000);
}

#[test]
fn no_damage_to_the_compressed_stream_makes_the_reader_panic() {
    let text = format!("{HEADER}{EVENTS}");
    let compressed = ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    assert_eq!(read_all(Cursor::new(compressed.clone())).expect("valid"), EVENTS.lines().count());
    read_mutations(&compressed, 2000);
    let cut = fs::read(bundled("pmdshare.tlbt.zst")).expect("a bundled recording");
    read_mutations(&cut, 100);
}

#[test]
fn frames_one_after_the_other_are_read_as_one_text() {
    let compress =
        |text: &str| ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    let mut bytes = compress(HEADER);
    // RFC 8878 §3.1.2: a skippable frame of 3 bytes.
    bytes.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    bytes.extend(compress(EVENTS));
    assert_eq!(read_all(Cursor::new(bytes)).expect("a valid recording"), EVENTS.lines().count());
}
