//! The text of a tracepoint's fields.

use crate::{
    error::{Problem, shown},
    event::{CallFunction, FaultAccess, FlushReason, Mode, PreviousState, RecordedCpu},
    import::{
        moment::{Name, Tid, What},
        symbols::Symbols,
        trace_text::line::Traced,
        tracepoint::Tracepoint,
    },
    text::digits,
};

/// Returns what happened, and to which task if the text says so; `None` for tracepoints of no interest.
pub(crate) fn parse(traced: &Traced<'_>, symbols: &Symbols) -> Result<Option<(Option<Tid>, What)>, Problem> {
    let (system, name) = match traced.name.iter().position(|byte| *byte == b':') {
        Some(colon) => (traced.name.get(..colon), traced.name.get(colon + 1..).unwrap_or_default()),
        None => (None, traced.name),
    };
    let Some(tracepoint) = Tracepoint::by_name(system, name) else {
        return Ok(None);
    };
    if tracepoint == Tracepoint::Call {
        return call(traced.payload, symbols).map(|what| Some((None, what)));
    }
    let parsed = fields(tracepoint, traced.payload);
    parsed.map(Some).ok_or_else(|| unreadable(traced.payload, expected(tracepoint)))
}

fn unreadable(payload: &[u8], expected: &'static str) -> Problem {
    let found = shown(payload.get(..payload.len().min(120)).unwrap_or_default());
    Problem::Value { field: "the tracepoint's text", found, expected }
}

fn expected(tracepoint: Tracepoint) -> &'static str {
    match tracepoint {
        Tracepoint::Enter => "NR NUMBER (6 ARGUMENTS in hex)",
        Tracepoint::Leave => "NR NUMBER = RESULT",
        Tracepoint::NewTask => "pid=TASK ... clone_flags=HEX",
        Tracepoint::Exec => "... pid=TASK old_pid=TASK",
        Tracepoint::Exit => "... pid=TASK",
        Tracepoint::TornDown => "anything",
        Tracepoint::Switch => {
            "prev_pid=TASK ... prev_state=STATE ==> ... next_pid=TASK, or NAME:TASK [PRIORITY] on both sides"
        }
        Tracepoint::FaultOfUser | Tracepoint::FaultOfKernel => "address=0xHEX ... error_code=0xHEX",
        Tracepoint::Flush => "pages:NUMBER reason:TEXT (0 to 5)",
        Tracepoint::Call => "cpu=NUMBER ... func=NAME",
    }
}

fn fields(tracepoint: Tracepoint, payload: &[u8]) -> Option<(Option<Tid>, What)> {
    let what = match tracepoint {
        Tracepoint::Enter => enter(payload)?,
        Tracepoint::Leave => leave(payload)?,
        Tracepoint::NewTask => {
            What::NewTask { child: task(after(payload, b"pid=")?)?, flags: hex(after(payload, b"clone_flags=")?)? }
        }
        Tracepoint::Exec => {
            // The name of a file, which comes before, may hold anything.
            let (task, old) = (task(last(payload, b" pid=")?)?, task(last(payload, b" old_pid=")?)?);
            return Some((Some(task), What::Exec { old }));
        }
        Tracepoint::Exit => return Some((Some(task(last(payload, b" pid=")?)?), What::Exit)),
        Tracepoint::TornDown => What::TornDown,
        Tracepoint::Switch => return switch(payload),
        Tracepoint::FaultOfUser => fault(payload, Mode::User)?,
        Tracepoint::FaultOfKernel => fault(payload, Mode::Kernel)?,
        Tracepoint::Flush => flush(payload)?,
        Tracepoint::Call => return None,
    };
    Some((None, what))
}

/// `NR 9 (0, 1000, 3, 22, ffffffff, 0)`
fn enter(payload: &[u8]) -> Option<What> {
    let rest = payload.strip_prefix(b"NR ")?;
    let (number, list) = split(rest, b" (")?;
    let list = list.strip_suffix(b")")?;
    let mut args = [0; 6];
    let mut texts = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    for arg in &mut args {
        *arg = digits(16, texts.next()?)?;
    }
    texts.next().is_none().then_some(())?;
    Some(What::Enter { number: syscall(number)?, args })
}

/// `NR 9 = 140737351860224`
fn leave(payload: &[u8]) -> Option<What> {
    let (number, result) = split(payload.strip_prefix(b"NR ")?, b" = ")?;
    let result = match result.strip_prefix(b"-") {
        Some(magnitude) => 0_i64.checked_sub_unsigned(digits(10, magnitude)?)?,
        None => digits(10, result)? as i64,
    };
    Some(What::Leave { number: syscall(number)?, result })
}

/// A syscall's number; -1 is that of none, as when a signal's handler returns.
fn syscall(text: &[u8]) -> Option<u32> {
    if text == b"-1" { Some(u32::MAX) } else { u32::try_from(digits(10, text)?).ok() }
}

fn switch(payload: &[u8]) -> Option<(Option<Tid>, What)> {
    let (before, after_arrow) = split(payload, b" ==> ")?;
    let (from, state, to, to_name) = match last(before, b"prev_state=") {
        Some(state) => {
            let (name, rest) = split(after_arrow.strip_prefix(b"next_comm=")?, b" next_pid=")?;
            (task(last(before, b" prev_pid=")?)?, state, task(word(rest))?, name)
        }
        // The form of libtraceevent: NAME:TASK [PRIORITY] STATE.
        None => {
            let (from, state) = split_last(before, b"] ")?;
            let ((_, from), (name, to)) = (named(from)?, named(after_arrow)?);
            (from, state, to, name)
        }
    };
    let state = if state.starts_with(b"R") { PreviousState::Runnable } else { PreviousState::Asleep };
    Some((Some(from), What::Switch { from, state, to, to_name: Name::new(to_name) }))
}

/// `NAME:TASK [PRIORITY`, with or without the bracket that follows.
fn named(text: &[u8]) -> Option<(&[u8], Tid)> {
    let (text, _) = split_last(text, b" [")?;
    let (name, tid) = split_last(text, b":")?;
    Some((name, task(tid)?))
}

/// `address=0x7f3dc05d6408 ip=0x562996b9443d error_code=0x7`
fn fault(payload: &[u8], from: Mode) -> Option<What> {
    let (address, code) = (hex(after(payload, b"address=")?)?, hex(after(payload, b"error_code=")?)?);
    Some(What::Fault { address, from, access: FaultAccess::from_error_code(code as u16) })
}

/// `pages:-1 reason:local mm shootdown (3)`
fn flush(payload: &[u8]) -> Option<What> {
    let pages = after(payload, b"pages:")?;
    let pages = if pages == b"-1" { None } else { Some(digits(10, pages)?) };
    let (_, reason) = split_last(payload, b"(")?;
    let reason = FlushReason::from_number(digits(10, reason.strip_suffix(b")")?)?)?;
    Some(What::Flush { reason, pages })
}

/// `cpu=1 callsite=smp_call_function_many_cond+0x124 func=flush_tlb_func csd=0xffff88834f6d4538`
fn call(payload: &[u8], symbols: &Symbols) -> Result<What, Problem> {
    let target = after(payload, b"cpu=").and_then(|target| digits(10, target)).and_then(|cpu| u16::try_from(cpu).ok());
    let function =
        after(payload, b"func=").map(|function| function.split(|byte| *byte == b'+').next().unwrap_or(function));
    let (Some(target), Some(function)) = (target.filter(|cpu| RecordedCpu(*cpu) <= RecordedCpu::MAX), function) else {
        return Err(unreadable(payload, expected(Tracepoint::Call)));
    };
    let function = match function.strip_prefix(b"0x").and_then(|address| digits(16, address)) {
        Some(address) if symbols.is_useful() => symbols.function_at(address),
        Some(address) => return Err(Problem::NoSymbols { address }),
        None => CallFunction::by_symbol(function),
    };
    Ok(What::Call { target, function })
}

/// The word after the first `prefix` that begins a word.
fn after<'a>(payload: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let is_there = |at: &usize| {
        payload.get(*at..).is_some_and(|rest| rest.starts_with(prefix))
            && at.checked_sub(1).is_none_or(|before| payload.get(before) == Some(&b' '))
    };
    let at = (0..payload.len()).find(is_there)?;
    Some(word(payload.get(at + prefix.len()..)?))
}

/// The word after the last `prefix`.
fn last<'a>(payload: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    split_last(payload, prefix).map(|(_, rest)| word(rest))
}

fn word(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b' ').next().unwrap_or_default()
}

fn split<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).position(|part| part == separator)?;
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

fn split_last<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).rposition(|part| part == separator)?;
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

fn task(text: &[u8]) -> Option<Tid> {
    digits(10, text).and_then(|task| u32::try_from(task).ok())
}

fn hex(text: &[u8]) -> Option<u64> {
    digits(16, text.strip_prefix(b"0x").unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(name: &str, payload: &str) -> Option<(Option<Tid>, What)> {
        let (name, payload) = (name.as_bytes(), payload.as_bytes());
        let traced = Traced { at_ns: 0, cpu: 0, process: None, task: None, name, payload };
        parse(&traced, &Symbols::default()).unwrap_or_else(|problem| panic!("{problem}"))
    }

    #[test]
    fn both_forms_of_a_switch_say_the_same() {
        let kernel = "prev_comm=a b prev_pid=7 prev_prio=120 prev_state=R+ ==> next_comm=c next_pid=8 next_prio=120";
        let library = "a b:7 [120] R ==> c:8 [120]";
        let (from, to, to_name, state) = (7, 8, Name::new(b"c"), PreviousState::Runnable);
        let expected = Some((Some(7), What::Switch { from, state, to, to_name }));
        assert_eq!(what("sched:sched_switch", kernel), expected);
        assert_eq!(what("sched_switch", library), expected);
    }

    #[test]
    fn fields_are_read_as_they_are_printed() {
        let enter = what("raw_syscalls:sys_enter", "NR 10 (7f00, 1000, 1, 0, ffffffffffffffff, 0)");
        assert_eq!(enter, Some((None, What::Enter { number: 10, args: [0x7f00, 0x1000, 1, 0, u64::MAX, 0] })));
        assert_eq!(what("sys_exit", "NR 59 = -2"), Some((None, What::Leave { number: 59, result: -2 })));
        let flush = What::Flush { reason: FlushReason::LocalMm, pages: None };
        assert_eq!(what("tlb:tlb_flush", "pages:-1 reason:local mm shootdown (3)"), Some((None, flush)));
        let call = What::Call { target: 1, function: CallFunction::FlushTlb };
        assert_eq!(what("csd:csd_queue_cpu", "cpu=1 callsite=x+0x1 func=flush_tlb_func csd=0xff"), Some((None, call)));
        let exec = what("sched:sched_process_exec", "filename=/a pid=1 x pid=7 old_pid=9");
        assert_eq!(exec, Some((Some(7), What::Exec { old: 9 })));
        assert_eq!(what("irq:softirq_entry", "vec=1"), None);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let refused = |name: &[u8], payload: &[u8]| {
            let traced = Traced { at_ns: 0, cpu: 0, process: None, task: None, name, payload };
            parse(&traced, &Symbols::default()).expect_err("nonsense").to_string()
        };
        assert!(refused(b"raw_syscalls:sys_enter", b"NR 9 (1, 2)").contains("6 ARGUMENTS"));
        assert!(refused(b"sched:sched_switch", b"nobody").contains("prev_pid=TASK"));
        assert!(refused(b"tlb:tlb_flush", b"pages:1 reason:x (6)").contains("0 to 5"));
        assert!(refused(b"csd:csd_queue_cpu", b"cpu=1 func=0xffffffff81000000").contains("--symbols"));
    }
}
