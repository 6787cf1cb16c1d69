//! What perf records is read as it is, and nothing else is taken for it.

mod builder;

use std::{fs, io::Cursor, sync::LazyLock};

use tempfile::NamedTempFile;

use builder::{
    COMM, FINISHED_ROUND, File, LOST, Records,
    Value::{Number, Numbers, Text},
};
use shootdown_recording::{
    Actor, At, CallFunction, Event, EventKind, FlushReason, Interpretation, PreviousState, ReadError, RecordedCpu,
    Recording, Root, Syscall, TaskId,
};

const ROOT: Actor = Actor::Task(TaskId(1000));
const CHILD: Actor = Actor::Task(TaskId(1001));
const FLUSH_AT: i64 = 0xffff_ffff_8134_24a0_u64 as i64;

/// A command that maps memory, forks and ends, on a machine where others run as well. CPUs' buffers are not in order.
fn records() -> Records {
    let mut records = Records::default();
    records.fork(2, 0).fork(15, 2).fork(500, 1);
    records.sample(
        1000,
        0,
        0,
        "sched_switch",
        &[Text("swapper/0"), Number(0), Number(0), Text("perf-exec"), Number(70)],
    );
    records.sample(1300, 0, 70, "sched_process_exec", &[Number(0), Number(70), Number(70)]);
    records.sample(1400, 0, 70, "sys_enter", &[Number(9), Numbers(&[0, 0x2000, 3, 0x22, u64::MAX, 0])]);
    records.sample(1500, 0, 70, "sys_exit", &[Number(9), Number(0x7f00_0000_0000)]);
    records.sample(1600, 0, 70, "sys_enter", &[Number(1), Numbers(&[7; 6])]);
    records.sample(
        1100,
        1,
        500,
        "sched_switch",
        &[Text("editor"), Number(500), Number(1), Text("rcu_preempt"), Number(15)],
    );
    records.sample(1200, 1, 15, "tlb_flush", &[Number(3), Number(-1)]);
    records.add(FINISHED_ROUND, &[]);
    records.sample(1700, 0, 70, "page_fault_user", &[Number(0x7f00_0000_0123), Number(6)]);
    records.sample(1800, 0, 70, "task_newtask", &[Number(71), Text("work"), Number(0x120_0000)]);
    // The number that the child has in the container.
    records.sample(1900, 0, 70, "sys_exit", &[Number(56), Number(5)]);
    records.sample(2000, 0, 70, "tlb_flush", &[Number(3), Number(33)]);
    records.sample(2100, 0, 70, "csd_queue_cpu", &[Number(1), Number(1), Number(FLUSH_AT)]);
    records.add(FINISHED_ROUND, &[]);
    let mut lost = 1_u64.to_le_bytes().to_vec();
    lost.extend(12_u64.to_le_bytes());
    records.add(LOST, &lost);
    records.sample(
        2200,
        1,
        15,
        "sched_switch",
        &[Text("rcu_preempt"), Number(15), Number(2), Text("work"), Number(71)],
    );
    records.sample(2300, 1, 71, "exit_mmap", &[Number(1)]);
    records.sample(2400, 1, 71, "sched_process_exit", &[Text("work"), Number(71)]);
    records
}

/// How to read what records() holds: the symbols are in a file, as they are always.
fn symbols() -> Interpretation {
    static FILE: LazyLock<NamedTempFile> = LazyLock::new(|| {
        let file = NamedTempFile::new().expect("a file");
        fs::write(&file, "ffffffff81000000 T _text\nffffffff813424a0 t flush_tlb_func\n").expect("a file");
        file
    });
    Interpretation { symbols: Some(FILE.path().to_owned()), ..Interpretation::default() }
}

fn open(bytes: &[u8], interpretation: &Interpretation) -> Result<Recording, ReadError> {
    Recording::from_seekable("perf.data", Cursor::new(bytes.to_owned()), interpretation)
}

fn read_as(bytes: &[u8], interpretation: &Interpretation) -> Result<Vec<Event>, ReadError> {
    open(bytes, interpretation)?.collect()
}

fn read(bytes: &[u8]) -> Result<Vec<Event>, ReadError> {
    read_as(bytes, &symbols())
}

fn event(at_ns: u64, cpu: u16, actor: Actor, kind: EventKind) -> Event {
    Event { at_ns, cpu: RecordedCpu(cpu), actor, kind }
}

#[test]
fn one_process_tree_is_picked_out_and_renumbered_in_the_order_of_time() {
    let events = read(&File::new(records()).bytes()).expect("a recording");
    let (call, args) = (Syscall::MMAP, [0, 0x2000, 3, 0x22, u64::MAX, 0]);
    let access = shootdown_recording::FaultAccess::from_error_code(6);
    let asleep = PreviousState::Asleep;
    let expected = [
        event(0, 0, Actor::Idle, EventKind::Switch { next: ROOT, previous: PreviousState::Runnable }),
        event(100, 1, Actor::Foreign, EventKind::Switch { next: Actor::KernelThread, previous: asleep }),
        event(300, 0, ROOT, EventKind::Exec),
        event(400, 0, ROOT, EventKind::SyscallEntry { call, args }),
        event(500, 0, ROOT, EventKind::SyscallExit { call, result: 0x7f00_0000_0000 }),
        event(
            700,
            0,
            ROOT,
            EventKind::Fault { address: 0x7f00_0000_0123, from: shootdown_recording::Mode::User, access },
        ),
        event(800, 0, ROOT, EventKind::NewTask { child: TaskId(1001), flags: 0x120_0000 }),
        event(900, 0, ROOT, EventKind::SyscallExit { call: Syscall::CLONE, result: 1001 }),
        event(1000, 0, ROOT, EventKind::FlushTruth { reason: FlushReason::LocalMm, pages: Some(33) }),
        event(1100, 0, ROOT, EventKind::CallTruth { target: RecordedCpu(1), function: CallFunction::FlushTlb }),
        event(1100, 0, Actor::Foreign, EventKind::Lost { n_events: 12 }),
        event(1200, 1, Actor::KernelThread, EventKind::Switch { next: CHILD, previous: asleep }),
        event(1300, 1, CHILD, EventKind::TornDown),
        event(1400, 1, CHILD, EventKind::Exit),
    ];
    assert_eq!(events, expected);
}

#[test]
fn files_and_streams_compressed_or_not_are_the_same() {
    let file = File::new(records());
    let events = read(&file.bytes()).expect("a recording");
    let packed = |bytes: &[u8]| zstd::stream::encode_all(bytes, 3).expect("memory does not fail");
    let compressed = File::new(records().compressed());
    for (name, bytes) in [
        ("stream", file.stream()),
        ("z", compressed.bytes()),
        ("stream-z", compressed.stream()),
        ("zst", packed(&file.bytes())),
        ("stream-zst", packed(&file.stream())),
    ] {
        assert_eq!(read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}")), events, "{name}");
    }
}

#[test]
fn what_the_file_says_of_the_machine_is_kept() {
    let bytes = File { left_out: "csd_queue_cpu", ..File::new(records()) }.bytes();
    let named = Interpretation { workload: Some("db".to_owned()), ..symbols() };
    let header = open(&bytes, &named).expect("a recording").header().clone();
    assert_eq!(header.workload, "db");
    let note = |name: &str| header.notes.iter().find(|(other, _)| other == name).map(|(_, text)| text.as_str());
    assert_eq!([note("kernel"), note("recorder"), note("cpus")], [Some("6.18.0"), Some("perf 6.1"), Some("2")]);
    let missing: Vec<&str> = header.missing().collect();
    assert_eq!(missing.len(), 1);
    assert!(missing[0].starts_with("csd:csd_queue_cpu: "), "{missing:?}");
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_refused() {
    let bytes = File::new(records()).bytes();
    for length in 8..bytes.len() {
        let error = read(&bytes[..length]).expect_err("it is cut short");
        assert!(matches!(error.place().at, Some(At::Byte(_))), "{length}: {error}");
        assert!(error.to_string().contains("expected"), "{length}: {error}");
    }
    // In a stream nobody knows that more was to come, unless it ends within a record.
    let stream = File::new(records()).stream();
    let error = read(&stream[..stream.len() - 1]).expect_err("it is cut short").to_string();
    assert!(error.contains("the last record breaks off after") && error.contains(", byte "), "{error}");
}

#[test]
fn a_damaged_byte_anywhere_makes_no_reader_panic() {
    for bytes in [File::new(records()).bytes(), File::new(records().compressed()).bytes()] {
        let mut n_refused = 0;
        for at in 8..bytes.len() {
            for flip in [1, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                n_refused += u32::from(read(&damaged).is_err());
            }
        }
        assert!(n_refused > 100, "{n_refused} were noticed");
    }
}

#[test]
fn functions_need_the_symbols_of_the_recorded_kernel() {
    let bytes = File::new(records()).bytes();
    let error = read_as(&bytes, &Interpretation::default()).expect_err("no symbols").to_string();
    assert!(error.contains("asked to call 0xffffffff813424a0") && error.contains("--symbols"), "{error}");
    let missing = Interpretation { symbols: Some("/nowhere/at/all".into()), ..Interpretation::default() };
    let error = read_as(&bytes, &missing).expect_err("no such file").to_string();
    assert!(error.contains("cannot read the kernel's symbols from /nowhere/at/all"), "{error}");
}

#[test]
fn the_root_can_be_named_and_has_to_be_there() {
    let bytes = File::new(records()).bytes();
    let of = |root| read_as(&bytes, &Interpretation { root: Some(root), ..symbols() });
    let by_number = of(Root::Process(71)).expect("the child");
    assert!(by_number.iter().all(|event| event.actor.task().is_none_or(|task| task == TaskId::FIRST)), "{by_number:?}");
    assert!(by_number.iter().any(|event| event.kind == EventKind::TornDown));
    assert_eq!(of(Root::ChildOf(70)).expect("the child"), by_number);
    assert!(of(Root::ChildOf(1)).expect("somebody else").iter().all(|event| event.kind != EventKind::Exec));
    assert_eq!(of(Root::Named("perf-exec".to_owned())).expect("it is there"), read(&bytes).expect("a recording"));
    for (root, name) in [
        (Root::Process(9), "no process 9 is in it"),
        (Root::Named("x".to_owned()), "no task named `x`"),
        (Root::ChildOf(9), "no child of process 9"),
    ] {
        let error = of(root).expect_err("it is not there").to_string();
        assert!(error.contains(name) && error.contains("--root"), "{error}");
    }
}

#[test]
fn what_is_no_recording_of_this_kind_is_said_to_be_none() {
    let error = |bytes: &[u8]| read(bytes).expect_err("nothing to be read").to_string();
    let arm = File { architecture: "aarch64", ..File::new(records()) };
    assert!(error(&arm.bytes()).contains("a recording of aarch64; expected one of x86_64"));
    let foreign = b"2ELIFREP\0\0\0\0\0\0\0\x68rest";
    assert!(error(foreign).contains("big-endian"));
    assert!(error(&zstd::stream::encode_all(&foreign[..], 3).expect("memory does not fail")).contains("big-endian"));
    let from_pipe = Recording::from_reader("perf.data", &foreign[..]).expect_err("nothing to be read").to_string();
    assert!(from_pipe.contains("big-endian"), "{from_pipe}");
    let mut unfinished = File::new(records()).bytes();
    unfinished[48..56].fill(0);
    assert!(error(&unfinished).contains("expected a recorder that was not killed"));
    let mut huge = File::new(records()).bytes();
    huge[40..48].fill(0xff);
    assert!(error(&huge).contains("the file ends at byte"), "{}", error(&huge));
    let mut renamed = Records::default();
    renamed.add(COMM, b"\x01\0\0\0\x01\0\0\0name\0");
    let nothing = error(&File::new(renamed).bytes());
    assert!(nothing.contains("no task named `perf-exec`"), "{nothing}");
}

#[test]
fn what_expands_without_end_is_refused() {
    let mut records = Records::default();
    let bomb = zstd::stream::encode_all(&vec![0; 64 << 20][..], 19).expect("memory does not fail");
    assert!(bomb.len() < 10_000);
    records.add_compressed(&bomb);
    let error = read(&File::new(records).bytes()).expect_err("too much").to_string();
    assert!(error.contains("more than 1000 times"), "{error}");
    // Likewise as a whole: it would fill the disk.
    let file = [&File::new(Records::default()).stream()[..], &vec![0; 64 << 20]].concat();
    let bomb = zstd::stream::encode_all(&file[..], 19).expect("memory does not fail");
    let error = read(&bomb).expect_err("too much").to_string();
    assert!(error.contains("more than 1000 times"), "{error}");
}

/// A file of 1 MiB could make a reader take in 10 GiB.
#[test]
fn the_same_numbers_for_several_events_are_refused() {
    let mut bytes = File::new(records()).bytes();
    let attribute_bytes = 144;
    let attribute = bytes[112..112 + attribute_bytes - 16].to_vec();
    let at = bytes.len();
    for _ in 0..3 {
        bytes.extend(&attribute);
        bytes.extend([0, at / 2].map(|word| (word as u64).to_le_bytes()).as_flattened());
    }
    bytes[24..40].copy_from_slice([at, 3 * attribute_bytes].map(|word| (word as u64).to_le_bytes()).as_flattened());
    let error = read(&bytes).expect_err("half of the file three times").to_string();
    assert!(error.contains("the same numbers for several events; expected numbers of its own"), "{error}");
}
