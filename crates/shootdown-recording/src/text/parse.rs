//! The text of one line, turned into an [`Event`].
//!
//! Owns which fields an event has and what each may hold. It deliberately keeps no state: whether a task exists is `known_tasks.rs`, and the
//! time before the line is its caller's.

use crate::{
    error::{Problem, shown},
    event::{
        Actor, CallFunction, Event, EventKind, FaultAccess, FlushReason, Mode, PreviousState, RecordedCpu, TaskId,
    },
    syscall::Syscall,
    text::fields::{digits, hex, number, split},
};

/// Fields before the arguments: time, CPU, task and kind.
const COMMON_FIELDS: usize = 4;
const MAX_SYSCALL_ARGS: usize = 6;
/// A syscall entry with all its arguments.
const MAX_FIELDS: usize = COMMON_FIELDS + 1 + MAX_SYSCALL_ARGS;
/// Results up to this are written in decimal, higher ones in hex.
pub(crate) const HIGHEST_DECIMAL_RESULT: u64 = 4096;

const DECIMAL_U64: &str = "a decimal number from 0 to 18446744073709551615";

/// Parses a line whose predecessor happened `before_ns` into the recording.
pub(crate) fn event(line: &[u8], before_ns: u64) -> Result<Event, Problem> {
    let mut storage = [&[][..]; MAX_FIELDS];
    let n_fields = split(line, &mut storage);
    let fields = storage.get(..n_fields).unwrap_or(&storage);
    let [dt_ns, cpu, tid, kind, args @ ..] = fields else {
        return Err(Problem::TooFewFields { what: "an event".to_owned(), found: n_fields, expected: COMMON_FIELDS });
    };
    if n_fields > MAX_FIELDS {
        return Err(wrong_count(kind, n_fields));
    }
    let at_ns = before_ns.checked_add(number("dt_ns", dt_ns, DECIMAL_U64)?).ok_or_else(|| {
        let expected = "a time that keeps the sum of all below 2^64 ns";
        Problem::Value { field: "dt_ns", found: shown(dt_ns), expected }
    })?;
    let cpu = recorded_cpu("cpu", cpu)?;
    let actor = actor("tid", tid)?;
    let kind_read = event_kind(kind, args)?.ok_or_else(|| wrong_count(kind, n_fields))?;
    if actor.task().is_none() && kind_read.needs_task() {
        let expected = "a task id from 1000 to 4294967295, as only such a task can have an event of this kind";
        return Err(Problem::Value { field: "tid", found: shown(tid), expected });
    }
    Ok(Event { at_ns, cpu, actor, kind: kind_read })
}

/// Parses the arguments of an event; `None` if their number does not fit the kind.
fn event_kind(kind: &[u8], args: &[&[u8]]) -> Result<Option<EventKind>, Problem> {
    Ok(Some(match (kind, args) {
        (b"E", [call, args @ ..]) => EventKind::SyscallEntry { call: syscall(call)?, args: syscall_args(args)? },
        (b"X", [call, result]) => {
            let call = syscall(call)?;
            EventKind::SyscallExit { call, result: syscall_result(call, result)? }
        }
        (b"N", [child, flags]) => EventKind::NewTask { child: task("child tid", child)?, flags: hex("flags", flags)? },
        (b"C", []) => EventKind::Exec,
        (b"Q", []) => EventKind::Exit,
        (b"M", []) => EventKind::TornDown,
        (b"S", [next, state]) => EventKind::Switch { next: actor("next tid", next)?, previous: previous_state(state)? },
        (b"F", [address, code]) => fault(address, Mode::User, code)?,
        (b"K", [address, code]) => fault(address, Mode::Kernel, code)?,
        (b"T", [reason, pages]) => {
            EventKind::FlushTruth { reason: flush_reason(reason)?, pages: flushed_pages(pages)? }
        }
        (b"I", [target, function]) => EventKind::CallTruth {
            target: recorded_cpu("target cpu", target)?,
            function: CallFunction::by_symbol(function),
        },
        (b"L", [n_events]) => EventKind::Lost { n_events: number("lost events", n_events, DECIMAL_U64)? },
        _ => return Ok(None),
    }))
}

/// Explains why no shape of an event has this kind and this number of fields.
#[cold]
fn wrong_count(kind: &[u8], found: usize) -> Problem {
    let (least, most) = match kind {
        b"C" | b"Q" | b"M" => (0, 0),
        b"X" | b"N" | b"S" | b"F" | b"K" | b"T" | b"I" => (2, 2),
        b"L" => (1, 1),
        b"E" => (1, 1 + MAX_SYSCALL_ARGS),
        _ => return Problem::UnknownKind { found: shown(kind) },
    };
    let what = format!("kind {}", shown(kind));
    if found < COMMON_FIELDS + least {
        Problem::TooFewFields { what, found, expected: COMMON_FIELDS + least }
    } else {
        Problem::TooManyFields { what, found, expected: COMMON_FIELDS + most }
    }
}

fn syscall(text: &[u8]) -> Result<Syscall, Problem> {
    const EXPECTED: &str = "a decimal syscall number from 0 to 4294967295";
    number("nr", text, EXPECTED).map(Syscall::from_number)
}

fn syscall_args(texts: &[&[u8]]) -> Result<[u64; MAX_SYSCALL_ARGS], Problem> {
    let mut args = [0; MAX_SYSCALL_ARGS];
    for (arg, text) in args.iter_mut().zip(texts) {
        *arg = hex("syscall argument", text)?;
    }
    Ok(args)
}

/// Reads a result: a task id in decimal, an error as a negative decimal, and else decimal up to 4096 and hex above.
///
/// Digits alone from `1001` to `4096` could be either; decimal wins, because small results are common and mappings
/// that low are forbidden. A prefix `0x` makes it hex.
fn syscall_result(call: Syscall, text: &[u8]) -> Result<i64, Problem> {
    const EXPECTED: &str = "a decimal number from -9223372036854775808 to 4096, or above that a hexadecimal one up to \
                            7fffffffffffffff, without prefix";
    const EXPECTED_TASK: &str = "a decimal number from -9223372036854775808 to 9223372036854775807";
    let expected = if call.creates_task() { EXPECTED_TASK } else { EXPECTED };
    let value = match text {
        [b'-', magnitude @ ..] => digits(10, magnitude).and_then(|value| 0_i64.checked_sub_unsigned(value)),
        _ if call.creates_task() => digits(10, text).and_then(|value| i64::try_from(value).ok()),
        [b'0', b'x', text @ ..] => digits(16, text).and_then(|value| i64::try_from(value).ok()),
        _ => match digits(10, text) {
            Some(value) if value <= HIGHEST_DECIMAL_RESULT => i64::try_from(value).ok(),
            _ => digits(16, text).and_then(|value| i64::try_from(value).ok()),
        },
    };
    value.ok_or_else(|| Problem::Value { field: "ret", found: shown(text), expected })
}

fn fault(address: &[u8], from: Mode, code: &[u8]) -> Result<EventKind, Problem> {
    const EXPECTED: &str = "a decimal page-fault error code from 0 to 65535";
    let address = hex("address", address)?;
    let access = FaultAccess::from_error_code(number("error code", code, EXPECTED)?);
    Ok(EventKind::Fault { address, from, access })
}

fn previous_state(text: &[u8]) -> Result<PreviousState, Problem> {
    match text {
        // `R+` is how some kernels print "preempted".
        b"R" | b"R+" => Ok(PreviousState::Runnable),
        b"S" | b"D" | b"I" | b"T" | b"t" | b"X" | b"Z" | b"P" | b"K" | b"W" => Ok(PreviousState::Asleep),
        _ => {
            let expected = "a task state: one of R S D I T t X Z P K W";
            Err(Problem::Value { field: "prev state", found: shown(text), expected })
        }
    }
}

fn flush_reason(text: &[u8]) -> Result<FlushReason, Problem> {
    const EXPECTED: &str = "a flush reason from 0 to 5";
    let reason = digits(10, text).and_then(FlushReason::from_number);
    reason.ok_or_else(|| Problem::Value { field: "reason", found: shown(text), expected: EXPECTED })
}

fn flushed_pages(text: &[u8]) -> Result<Option<u64>, Problem> {
    const EXPECTED: &str = "-1 for a full flush, or a decimal number of pages from 0 to 18446744073709551615";
    match text {
        b"-1" => Ok(None),
        _ => number("pages", text, EXPECTED).map(Some),
    }
}

fn recorded_cpu(field: &'static str, text: &[u8]) -> Result<RecordedCpu, Problem> {
    const EXPECTED: &str = "a decimal CPU index from 0 to 4095";
    let index: u16 = number(field, text, EXPECTED)?;
    let cpu = RecordedCpu(index);
    if cpu > RecordedCpu::MAX {
        return Err(Problem::Value { field, found: shown(text), expected: EXPECTED });
    }
    Ok(cpu)
}

fn actor(field: &'static str, text: &[u8]) -> Result<Actor, Problem> {
    const EXPECTED: &str = "0 (idle), -1 (kernel thread), -2 (foreign) or a task id from 1000 to 4294967295";
    match text {
        b"0" => Ok(Actor::Idle),
        b"-1" => Ok(Actor::KernelThread),
        b"-2" => Ok(Actor::Foreign),
        _ => task_id(field, text, EXPECTED).map(Actor::Task),
    }
}

/// Parses the id of a user task.
pub(crate) fn task(field: &'static str, text: &[u8]) -> Result<TaskId, Problem> {
    task_id(field, text, "a task id from 1000 to 4294967295")
}

fn task_id(field: &'static str, text: &[u8], expected: &'static str) -> Result<TaskId, Problem> {
    let task = TaskId(number(field, text, expected)?);
    if task < TaskId::FIRST {
        return Err(Problem::Value { field, found: shown(text), expected });
    }
    Ok(task)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(line: &str) -> EventKind {
        event(line.as_bytes(), 0).map_or_else(|problem| panic!("{line}: {problem}"), |event| event.kind)
    }

    fn result_of(call: u32, text: &str) -> i64 {
        match kind_of(&format!("1\t0\t1000\tX\t{call}\t{text}")) {
            EventKind::SyscallExit { result, .. } => result,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_result_is_decimal_up_to_4096_and_hex_above() {
        assert_eq!(result_of(28, "0"), 0);
        assert_eq!(result_of(28, "4096"), 4096);
        assert_eq!(result_of(28, "4097"), 0x4097);
        assert_eq!(result_of(12, "55e98ef2f000"), 0x55e9_8ef2_f000);
        assert_eq!(result_of(12, "55000000"), 0x5500_0000);
        assert_eq!(result_of(59, "-2"), -2);
    }

    #[test]
    fn a_result_that_is_a_task_id_is_decimal_at_any_size() {
        for call in [56, 57, 58, 435] {
            assert_eq!(result_of(call, "123456"), 123_456);
        }
    }

    #[test]
    fn left_out_syscall_arguments_are_zero() {
        let args = [0x7fff_c510_3330, 0x58, 0, 0, 0, 0];
        assert_eq!(
            kind_of("1\t0\t1000\tE\t435\t7fffc5103330\t58"),
            EventKind::SyscallEntry { call: Syscall::CLONE3, args }
        );
    }

    #[test]
    fn an_error_code_is_decimal() {
        let access = FaultAccess { protection: false, write: false, user: true, instruction: true };
        let fault = EventKind::Fault { address: 0x7fa4_9164_4270, from: Mode::User, access };
        assert_eq!(kind_of("1\t0\t1000\tF\t7fa491644270\t20"), fault);
    }

    #[test]
    fn a_full_flush_has_no_number_of_pages() {
        assert_eq!(
            kind_of("1\t0\t1000\tT\t3\t-1"),
            EventKind::FlushTruth { reason: FlushReason::LocalMm, pages: None }
        );
        assert_eq!(
            kind_of("1\t0\t1000\tT\t4\t33"),
            EventKind::FlushTruth { reason: FlushReason::RemoteSend, pages: Some(33) }
        );
    }

    #[test]
    fn time_adds_up() {
        let read = event(b"7\t1\t-2\tS\t0\tR+", 35).expect("a valid line");
        assert_eq!(read.at_ns, 42);
        assert_eq!(read.kind, EventKind::Switch { next: Actor::Idle, previous: PreviousState::Runnable });
        assert!(event(b"1\t1\t-2\tS\t0\tR", u64::MAX).is_err());
    }
}
