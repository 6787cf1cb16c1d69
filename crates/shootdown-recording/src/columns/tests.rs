//! Any event comes back as it was, and no damaged file does harm.

use std::io::Cursor;

use proptest::{
    collection::{SizeRange, vec},
    prelude::*,
    sample::select,
    strategy::ValueTree as _,
};

use super::{ColumnWriter, Columns, layout::BLOCK_EVENTS, varint};
use crate::{
    error::{At, Problem},
    event::{
        Actor, CallFunction, Event, EventKind, FaultAccess, FlushReason, Mode, PreviousState, RecordedCpu, TaskId,
    },
    header::{Detail, Header},
    input::Input,
    source::Source,
    syscall::Syscall,
};

fn header() -> Header {
    let notes = vec![("kernel".to_owned(), "6.18".to_owned())];
    Header { workload: "small".to_owned(), root: TaskId::FIRST, detail: Detail::Calls, notes }
}

fn written(events: &[Event]) -> Vec<u8> {
    let mut writer = ColumnWriter::new(Vec::new(), &header()).expect("memory does not fail");
    for event in events {
        writer.write(event).expect("memory does not fail");
    }
    writer.finish().expect("memory does not fail")
}

/// The bytes that are compressed.
fn bare(events: &[Event]) -> Vec<u8> {
    zstd::decode_all(Cursor::new(written(events))).expect("intact frames")
}

fn read(bytes: Vec<u8>) -> Result<Vec<Event>, (At, Problem)> {
    let input = Input::new(Box::new(Cursor::new(bytes))).map_err(|problem| (At::Byte(0), problem))?;
    let (read_header, mut columns) = Columns::open(input)?;
    let mut events = Vec::new();
    while let Some(event) = columns.next_event().map_err(|problem| (columns.at(), problem))? {
        events.push(event);
    }
    // A damaged name is still a name.
    assert!(read_header.root >= TaskId::FIRST);
    Ok(events)
}

/// What the file's end counts.
fn totals(events: &[Event]) -> [u64; 5] {
    let mut totals = super::totals::Totals::default();
    events.iter().for_each(|event| totals.count(event));
    totals.numbers()
}

/// Small numbers, any, and those at the end.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_u64, any::<u64>(), u64::MAX - 2..=u64::MAX, Just(1 << 63), 4090..4100_u64]
}

fn task() -> impl Strategy<Value = TaskId> {
    prop_oneof![1000..1010_u32, 1000..=u32::MAX, Just(u32::MAX)].prop_map(TaskId)
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![task().prop_map(Actor::Task), select(vec![Actor::Idle, Actor::KernelThread, Actor::Foreign])]
}

fn cpu() -> impl Strategy<Value = RecordedCpu> {
    prop_oneof![0..3_u16, 0..=RecordedCpu::MAX.0].prop_map(RecordedCpu)
}

/// Mostly 0, as most arguments are.
fn args() -> impl Strategy<Value = [u64; 6]> {
    proptest::array::uniform6(prop_oneof![Just(0), number()])
}

fn kind() -> impl Strategy<Value = EventKind> {
    let call = || prop_oneof![9..12_u32, any::<u32>()].prop_map(Syscall::from_number);
    let pages = proptest::option::of(number());
    let reason = select(FlushReason::ALL.to_vec());
    let state = select(vec![PreviousState::Runnable, PreviousState::Asleep]);
    let mode = select(vec![Mode::User, Mode::Kernel]);
    let function = select(vec![CallFunction::FlushTlb, CallFunction::TableSync, CallFunction::Other]);
    let access = any::<u16>().prop_map(FaultAccess::from_error_code);
    prop_oneof![
        (call(), args()).prop_map(|(call, args)| EventKind::SyscallEntry { call, args }),
        (call(), any::<i64>()).prop_map(|(call, result)| EventKind::SyscallExit { call, result }),
        (task(), number()).prop_map(|(child, flags)| EventKind::NewTask { child, flags }),
        select(vec![EventKind::Exec, EventKind::Exit, EventKind::TornDown]),
        (actor(), state).prop_map(|(next, previous)| EventKind::Switch { next, previous }),
        (number(), mode, access).prop_map(|(address, from, access)| EventKind::Fault { address, from, access }),
        (reason, pages).prop_map(|(reason, pages)| EventKind::FlushTruth { reason, pages }),
        (cpu(), function).prop_map(|(target, function)| EventKind::CallTruth { target, function }),
        number().prop_map(|n_events| EventKind::Lost { n_events }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    (number(), cpu(), actor(), task(), kind()).prop_map(|(at_ns, cpu, actor, task, kind)| {
        let actor = if kind.needs_task() { Actor::Task(task) } else { actor };
        Event { at_ns, cpu, actor, kind }
    })
}

/// Events in the order of time, from some time on.
fn events(size: impl Into<SizeRange>, from_ns: u64) -> impl Strategy<Value = Vec<Event>> {
    vec(event(), size).prop_map(move |mut events| {
        events.iter_mut().for_each(|event| event.at_ns = event.at_ns.max(from_ns));
        events.sort_by_key(|event| event.at_ns);
        events
    })
}

/// The events of a forking program, from a fixed seed, so that every damage can be tried on the same.
fn some_events() -> Vec<Event> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let random = events(150, 100_000).new_tree(&mut runner).expect("events can be made").current();
    let steady = (0..100_u64).map(|n| Event {
        at_ns: 1000 * n,
        cpu: RecordedCpu((n / 10 % 2) as u16),
        actor: Actor::Task(TaskId::FIRST),
        kind: match n % 3 {
            0 => EventKind::FlushTruth { reason: FlushReason::LocalMm, pages: Some(1) },
            1 => EventKind::CallTruth { target: RecordedCpu(1), function: CallFunction::FlushTlb },
            _ => EventKind::Fault { address: n << 12, from: Mode::User, access: FaultAccess::from_error_code(6) },
        },
    });
    steady.chain(random).collect()
}

/// Asserts that what was damaged is refused with words, or holds as much as its writer counted.
fn check_damaged(bytes: Vec<u8>, original: &[Event], what: &str) -> bool {
    match read(bytes) {
        Ok(events) => assert_eq!(totals(&events), totals(original), "{what}"),
        Err((At::Byte(_), problem)) => {
            assert!(problem.to_string().contains("expected"), "{what}: {problem}");
            return false;
        }
        Err((place, problem)) => panic!("{what}: {place:?} {problem}"),
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_event_comes_back(events in events(0..100, 0)) {
        prop_assert_eq!(read(written(&events)).map_err(|(_, problem)| problem.to_string()), Ok(events.clone()));
        prop_assert_eq!(read(bare(&events)).map_err(|(_, problem)| problem.to_string()), Ok(events));
    }

    #[test]
    fn any_bytes_are_refused(bytes in vec(any::<u8>(), 0..200)) {
        let whole = [&b"# tlbt-columns 1\n# workload: w\n# root: 1000\n\n"[..], &bytes].concat();
        check_damaged(whole, &[], "bytes");
    }
}

#[test]
fn blocks_may_be_full_and_none_is_empty() {
    for n_events in [0, 1, BLOCK_EVENTS - 1, BLOCK_EVENTS, BLOCK_EVENTS + 1] {
        let event = |n| Event {
            at_ns: n,
            cpu: RecordedCpu(0),
            actor: Actor::Idle,
            kind: EventKind::Switch { next: Actor::Foreign, previous: PreviousState::Runnable },
        };
        let events: Vec<Event> = (0..n_events as u64).map(event).collect();
        assert!(read(written(&events)).expect("valid") == events, "{n_events}");
    }
}

#[test]
fn a_header_comes_back() {
    let input = Input::new(Box::new(Cursor::new(written(&[])))).expect("memory does not fail");
    let Ok((read, _)) = Columns::open(input) else { panic!("a valid header") };
    assert_eq!(read, header());
}

#[test]
fn a_header_without_end_is_neither_written_nor_read() {
    let long = Header { workload: "x".repeat(1 << 20), ..header() };
    assert!(ColumnWriter::new(Vec::new(), &long).is_err());
    let endless = [b"# tlbt-columns 1\n# ", &vec![b'x'; 2 << 20][..]].concat();
    assert!(matches!(read(endless), Err((_, Problem::HeaderTooLong { .. }))));
}

#[test]
fn what_is_cut_short_is_refused_wherever_it_is_cut() {
    let events = some_events();
    let bare = bare(&events);
    let header_ends = bare.windows(2).position(|pair| pair == b"\n\n").expect("an empty line");
    for kept in b"# tlbt-columns 1\n".len()..bare.len() {
        let (at, problem) = read(bare[..kept].to_vec()).expect_err("something is missing");
        assert!(matches!(problem, Problem::EndsEarly { .. }), "{kept}: {problem}");
        assert!(matches!(at, At::Byte(at) if at as usize <= kept), "{kept}: {at:?}");
        assert_eq!(problem.to_string().contains("header"), kept < header_ends + 2, "{kept}: {problem}");
    }
    let compressed = written(&events);
    for kept in 4..compressed.len() {
        assert!(!check_damaged(compressed[..kept].to_vec(), &events, &kept.to_string()), "{kept} bytes");
    }
}

#[test]
fn a_flipped_bit_is_found_or_changes_no_count() {
    let events = some_events();
    for (bytes, least_refused) in [(bare(&events), 30), (written(&events), 95)] {
        let mut n_refused = 0;
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            n_refused += usize::from(!check_damaged(damaged, &events, &format!("bit {bit}")));
        }
        let percent = 100 * n_refused / (8 * bytes.len());
        assert!(percent >= least_refused, "only {percent} % were refused");
    }
}

#[test]
fn a_wrong_count_at_the_end_is_refused() {
    let events = some_events();
    let events = &events[..100]; // Counts of one byte.
    let bare = bare(events);
    for (index, what) in super::totals::Totals::NAMES.into_iter().enumerate() {
        let mut damaged = bare.clone();
        let at = bare.len() - 5 + index;
        damaged[at] += 1;
        let (place, problem) = read(damaged).expect_err("a wrong count");
        assert_eq!(place, At::Byte(at as u64));
        assert!(problem.to_string().contains(what) && problem.to_string().contains("were read"), "{problem}");
    }
}

#[test]
fn nothing_may_follow_the_end() {
    let message = "after the end is `x`; expected nothing more";
    let (bare, compressed) = (bare(&some_events()), written(&some_events()));
    let more = zstd::bulk::compress(b"x", 1).expect("memory does not fail");
    for bytes in [[&bare[..], b"x"].concat(), [compressed, more].concat()] {
        let (place, problem) = read(bytes).expect_err("something follows");
        assert_eq!((place, problem.to_string()), (At::Byte(bare.len() as u64), message.to_owned()));
    }
}

#[test]
fn lengths_and_values_out_of_range_are_refused_before_they_are_believed() {
    let refused = |numbers: &[u64], words: &str| {
        let mut bytes = b"# tlbt-columns 1\n# workload: w\n# root: 1000\n\n".to_vec();
        numbers.iter().for_each(|number| varint::put(&mut bytes, *number));
        let (_, problem) = read(bytes).expect_err(words);
        assert!(problem.to_string().contains(words), "{problem}");
    };
    const NS: u64 = 1 << 16;
    refused(&[65_537], "events in the block is `65537`; expected at most 65536");
    refused(&[u64::MAX], "events in the block is `18446744073709551615`");
    refused(&[1, 65_535], "the step of the clock is `65535`; expected from 65536");
    refused(&[1, 1 << 63], "the step of the clock");
    refused(&[1, NS, 2], "the length of a column is `2`; expected at most what its events can need");
    refused(&[65_536, NS, 65_536], "cut short; expected the rest of a column");
    // One event: form, times (low, high, rest), CPU, actor, and nothing in the others.
    let event = |form: u64, cpu: &[u64], actor: u64| {
        let head = [&[1, NS, 1, form, 1, 0, 0, 1, 0, cpu.len() as u64][..], cpu, &[1, actor]].concat();
        [head, vec![0; 11], vec![0; 6]].concat()
    };
    refused(&event(3, &[0], 0), "no task in an event that only a task can have");
    refused(&event(5, &[0], 0), "counts 0 events at its end, and 1 were read");
    refused(&event(12, &[0], 0), "the column of kinds is `12`; expected one byte an event, of a known kind");
    refused(&event(5, &[], 0), "the column of CPUs is `no number of 64 bits, or too short`");
    refused(&event(5, &[0x7f, 0], 0), "the column of CPUs is `18446744073709551552`; expected one CPU index");
    refused(&event(5, &[0, 0], 0), "the column of CPUs is `1 bytes longer than its events`");
    refused(&event(5, &[0], 6), "the column of tasks is `3`; expected one task an event");
    refused(&event(0, &[0], 0), "the column of syscalls is");
    // Two events, the second 1 ns before the first.
    let backwards = [&[2, NS, 2, 5, 5, 2, 3, 0, 0, 2, 0, 1, 2, 0, 0, 2, 0, 0][..], &[0; 11]].concat();
    refused(&backwards, "`18446744073709551615 ns after 3 ns`; expected one number an event, which keeps the time");
    refused(&[], "cut short; expected the rest of its blocks and the counts at its end");
}

#[test]
fn another_version_is_refused() {
    let (place, problem) = read(b"# tlbt-columns 2\n".to_vec()).expect_err("there is no version 2");
    let message = "the version of tlbt-columns is `2`; expected 1, which this reader knows";
    assert_eq!((place, problem.to_string()), (At::Byte(0), message.to_owned()));
}
