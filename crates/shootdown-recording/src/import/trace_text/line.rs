//! One line: who, where, when, which tracepoint, and the text of its fields.

use crate::{
    error::{Problem, shown},
    event::RecordedCpu,
    text::digits,
};

/// What a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    Event(Traced<'a>),
    /// The tracer says that events are missing.
    Lost {
        n_events: u64,
    },
    /// Nothing.
    Remark,
}

/// A tracepoint that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traced<'a> {
    pub(crate) at_ns: u64,
    pub(crate) cpu: u16,
    pub(crate) process: Option<u32>,
    /// `None` if the tracer did not know any more.
    pub(crate) task: Option<u32>,
    /// The tracepoint, with its system before it or without.
    pub(crate) name: &'a [u8],
    pub(crate) payload: &'a [u8],
}

const EXPECTED: &str = "TASK [CPU] SECONDS: TRACEPOINT: FIELDS, as perf script, tracefs and trace-cmd report print it";

/// Parses a line of any of the tracers.
pub(crate) fn parse(line: &[u8]) -> Result<Parsed<'_>, Problem> {
    let trimmed = line.trim_ascii();
    if trimmed.is_empty() || is_preface(trimmed) {
        return Ok(Parsed::Remark);
    }
    if trimmed.starts_with(b"#") {
        return Ok(overwritten(trimmed).map_or(Parsed::Remark, |n_events| Parsed::Lost { n_events }));
    }
    if let Some(n_events) = lost_on_cpu(trimmed) {
        return Ok(Parsed::Lost { n_events });
    }
    let traced = traced(trimmed).ok_or_else(|| {
        let found = shown(trimmed.get(..trimmed.len().min(80)).unwrap_or_default());
        Problem::Value { field: "the line", found, expected: EXPECTED }
    })?;
    Ok(lost_in_all(&traced).unwrap_or(Parsed::Event(traced)))
}

/// What `trace-cmd report` begins with.
fn is_preface(line: &[u8]) -> bool {
    line.starts_with(b"cpus=") || line.starts_with(b"version = ")
}

/// `# entries-in-buffer/entries-written: 140080/250280   #P:4`: the oldest have been written over.
fn overwritten(line: &[u8]) -> Option<u64> {
    let numbers = line.strip_prefix(b"# entries-in-buffer/entries-written: ")?;
    let numbers = numbers.split(|byte| *byte == b' ').next()?;
    let (kept, written) = split_at(numbers, b'/')?;
    digits(10, written)?.checked_sub(digits(10, kept)?).filter(|n_events| *n_events > 0)
}

/// `CPU:1 [LOST 1234 EVENTS]`
fn lost_on_cpu(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"CPU:")?;
    let (_, lost) = split_at(rest, b'[')?;
    digits(10, lost.strip_prefix(b"LOST ")?.strip_suffix(b" EVENTS]")?)
}

/// What `perf script --show-lost-events` prints instead of a tracepoint.
fn lost_in_all<'a>(traced: &Traced<'a>) -> Option<Parsed<'a>> {
    let n_events = match traced.name {
        b"PERF_RECORD_LOST" => traced.payload.strip_prefix(b"lost ")?,
        b"PERF_RECORD_LOST_SAMPLES" => traced.payload.strip_prefix(b"lost ")?,
        _ => return None,
    };
    digits(10, n_events.split(|byte| *byte == b' ').next()?).map(|n_events| Parsed::Lost { n_events })
}

fn traced(line: &[u8]) -> Option<Traced<'_>> {
    let (cpu_at, cpu, rest) = find_cpu(line)?;
    let (process, task) = task(line.get(..cpu_at)?.trim_ascii())?;
    let (at_ns, rest) = time(rest)?;
    let end = rest.windows(2).position(|pair| pair == b": ").or_else(|| rest.len().checked_sub(1))?;
    let (name, payload) = rest.split_at_checked(end)?;
    let payload = payload.strip_prefix(b":")?.trim_ascii();
    Some(Traced { at_ns, cpu, process, task, name, payload })
}

/// Finds `[CPU]`: names of tasks may have brackets, too.
fn find_cpu(line: &[u8]) -> Option<(usize, u16, &[u8])> {
    let brackets = line.iter().enumerate().filter(|(_, byte)| **byte == b'[').map(|(at, _)| at);
    brackets.into_iter().find_map(|at| {
        let (cpu, rest) = cpu(line.get(at + 1..)?)?;
        time(rest).map(|_| (at, cpu, rest))
    })
}

/// Parses `CPU] `, and looks no further: else a line of brackets only would take as long as many lines.
fn cpu(text: &[u8]) -> Option<(u16, &[u8])> {
    let (cpu, rest) = text.split_at_checked(text.iter().take_while(|byte| byte.is_ascii_digit()).count())?;
    let cpu = u16::try_from(digits(10, cpu)?).ok().filter(|cpu| RecordedCpu(*cpu) <= RecordedCpu::MAX)?;
    Some((cpu, rest.strip_prefix(b"] ")?))
}

/// Parses `NAME PROCESS/TASK`, `NAME TASK` of perf, and `NAME-TASK`, `NAME-TASK (PROCESS)` of the others.
fn task(text: &[u8]) -> Option<(Option<u32>, Option<u32>)> {
    let (text, process) = match text.strip_suffix(b")") {
        Some(text) => {
            let open = text.iter().rposition(|byte| *byte == b'(')?;
            (text.get(..open)?.trim_ascii_end(), number(text.get(open + 1..)?.trim_ascii()))
        }
        None => (text, None),
    };
    let word = text.split(|byte| *byte == b' ').next_back()?;
    if let Some((process, task)) = split_at(word, b'/')
        && is_number(process)
        && is_number(task)
    {
        return Some((number(process), number(task)));
    }
    if is_number(word) {
        return Some((process, number(word)));
    }
    let dash = text.iter().rposition(|byte| *byte == b'-')?;
    let task = text.get(dash + 1..)?;
    is_number(task).then(|| (process, number(task)))
}

/// Parses a time, before which letters about interrupts may stand; returns it and what follows.
fn time(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut rest = text.trim_ascii_start();
    for _ in 0..2 {
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let (word, after) = rest.split_at_checked(end)?;
        rest = after.trim_ascii_start();
        if let Some(at_ns) = word.strip_suffix(b":").and_then(seconds) {
            return Some((at_ns, rest));
        }
    }
    None
}

/// Parses seconds with 1 to 9 decimals as nanoseconds.
fn seconds(text: &[u8]) -> Option<u64> {
    let (whole, fraction) = split_at(text, b'.')?;
    let scale = 10_u64.checked_pow(9_u32.checked_sub(u32::try_from(fraction.len()).ok()?)?)?;
    digits(10, whole)?.checked_mul(1_000_000_000)?.checked_add(digits(10, fraction)? * scale)
}

/// perf prints -1 for a task that is gone.
fn is_number(text: &[u8]) -> bool {
    text == b"-1" || digits(10, text).is_some()
}

fn number(text: &[u8]) -> Option<u32> {
    digits(10, text).and_then(|number| u32::try_from(number).ok())
}

fn split_at(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(line: &str) -> (u64, u16, Option<u32>, Option<u32>, String, String) {
        match parse(line.as_bytes()) {
            Ok(Parsed::Event(event)) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (event.at_ns, event.cpu, event.process, event.task, text(event.name), text(event.payload))
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_tracers_line_is_understood() {
        let perf = "  Web Content [x] 30246/30247 [001] 79493.205574418:  sched:sched_switch: a [120] S ==> b:1 [120]";
        let payload = "a [120] S ==> b:1 [120]".to_owned();
        assert_eq!(
            traced(perf),
            (79_493_205_574_418, 1, Some(30246), Some(30247), "sched:sched_switch".to_owned(), payload.clone())
        );
        let short = "swapper     0 [000] 1.000001: tlb:tlb_flush: pages:-1 reason:flush on task switch (0)";
        let flush = "pages:-1 reason:flush on task switch (0)".to_owned();
        assert_eq!(traced(short), (1_000_001_000, 0, None, Some(0), "tlb:tlb_flush".to_owned(), flush));
        for tracefs in [
            "  my-bash-30247  [001] d..2. 79493.205574: sched_switch: a [120] S ==> b:1 [120]",
            "  my-bash-30247  ( 30246) [001] d..2. 79493.205574: sched_switch: a [120] S ==> b:1 [120]",
            "  <...>-30247  (-------) [001] d..2. 79493.205574: sched_switch: a [120] S ==> b:1 [120]",
            "  my-bash-30247  [001] 79493.205574: sched_switch:   a [120] S ==> b:1 [120]",
        ] {
            let (at_ns, cpu, _, task, name, fields) = traced(tracefs);
            assert_eq!((at_ns, cpu, task), (79_493_205_574_000, 1, Some(30247)), "{tracefs}");
            assert_eq!((name.as_str(), &fields), ("sched_switch", &payload), "{tracefs}");
        }
        assert_eq!(traced(":-1    -1/-1    [000] 5.5: sched:sched_switch: x").3, None);
    }

    #[test]
    fn what_tracers_lost_is_known() {
        let lost = |line: &'static str| parse(line.as_bytes()).expect("a line");
        assert_eq!(lost("CPU:1 [LOST 1234 EVENTS]"), Parsed::Lost { n_events: 1234 });
        assert_eq!(
            lost("# entries-in-buffer/entries-written: 140080/250280   #P:4"),
            Parsed::Lost { n_events: 110_200 }
        );
        assert_eq!(lost("# entries-in-buffer/entries-written: 7/7   #P:4"), Parsed::Remark);
        assert_eq!(lost("a 0/0 [000] 1.5: PERF_RECORD_LOST: lost 12"), Parsed::Lost { n_events: 12 });
    }

    #[test]
    fn other_text_is_refused() {
        for line in
            ["hello", "a [0] b", "\t7f00 main+0x1 (/bin/x)", "bash 1 [001] 1.0000000001: x: y", "x-1 [9999] 1.5: a: b"]
        {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
