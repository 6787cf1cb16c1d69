//! A line of strace, split into who, when and what.
//!
//! Who is `N`, `[pid N]`, or nobody where strace follows one process; what is a call, the rest of one, an end or a signal.

use crate::{
    error::{Problem, shown},
    import::strace::scan,
};

/// Nanoseconds in a second, as digits.
const FRACTION_DIGITS: usize = 9;

/// A line, split.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The task by its id on the recorded machine; nobody if strace does not say.
    pub(super) who: Option<u32>,
    /// Nanoseconds since 1970.
    pub(super) at_ns: u64,
    pub(super) what: What<'a>,
}

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What<'a> {
    /// `name(rest`
    Call { name: &'a [u8], rest: &'a [u8] },
    /// `<... name resumed>rest`
    Resumed { name: &'a [u8], rest: &'a [u8] },
    /// `+++ exited with 0 +++`, `+++ killed by SIGSEGV +++`
    Ended,
    /// `+++ superseded by execve in pid N +++`: that thread goes on under this line's id.
    Superseded { by: u32 },
    /// A signal, or the like: of no concern.
    Nothing,
}

/// What a call came to, from what follows its `(`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Returned<'a> {
    pub(super) args: &'a [u8],
    pub(super) result: &'a [u8],
    pub(super) took_ns: u64,
}

/// Whether a file that begins so is strace's.
pub(crate) fn begins_like_strace(beginning: &[u8]) -> bool {
    let line = beginning.split(|byte| *byte == b'\n').next().unwrap_or_default();
    // Strace attaches before anybody does anything.
    before_message(line).is_some() || split(line).is_ok()
}

/// Splits a line.
pub(super) fn split(line: &[u8]) -> Result<Line<'_>, Problem> {
    let unlike = |expected| Problem::StraceLine { found: beginning(line), expected };
    let (who, rest) = who(line).ok_or_else(|| unlike("a task's id, a time, and what it did"))?;
    let (time, rest) = scan::word(rest);
    let at_ns = nanoseconds(time)
        .ok_or_else(|| unlike("a time in seconds since 1970 with 1 to 9 decimals, which `strace -ttt` writes"))?;
    let what = what(rest)
        .ok_or_else(|| unlike("`name(...) = result`, `<... name resumed>`, `+++ ... +++` or `--- ... ---`"))?;
    Ok(Line { who, at_ns, what })
}

/// What stands before `strace: Process N attached`, where the line ends with that: strace interrupts its own lines with it when
/// both go to standard error.
pub(super) fn before_message(line: &[u8]) -> Option<&[u8]> {
    const MESSAGE: &[u8] = b"strace: Process ";
    let said = line.strip_suffix(b" attached").or_else(|| line.strip_suffix(b" detached"))?;
    let at = said.windows(MESSAGE.len()).rposition(|window| window == MESSAGE)?;
    scan::decimal(said.get(at + MESSAGE.len()..)?)?;
    line.get(..at)
}

/// Whether a call has not returned on this line, from what follows its `(`.
pub(super) fn unfinished(rest: &[u8]) -> Option<&[u8]> {
    let before = rest.strip_suffix(b" ...>")?;
    let at = before.iter().rposition(|byte| *byte == b'<')?;
    let (args, why) = before.split_at_checked(at)?;
    let is_reason = matches!(why, b"<unfinished" | b"<detached") || why.starts_with(b"<pid changed to ");
    is_reason.then(|| args.trim_ascii_end())
}

/// Splits what follows a call's `(`, if it has returned; `None` if it never will.
pub(super) fn returned(rest: &[u8]) -> Result<Option<Returned<'_>>, Problem> {
    let wrong = || {
        let expected = "`) = ` and what the call returned, or `<unfinished ...>`";
        Problem::StraceLine { found: beginning(rest), expected }
    };
    let close = scan::find_top(rest, |byte| byte == b')').ok_or_else(wrong)?;
    let (args, after) = rest.split_at_checked(close).ok_or_else(wrong)?;
    let after = after.strip_prefix(b")").unwrap_or(after).trim_ascii();
    let result = after.strip_prefix(b"=").ok_or_else(wrong)?.trim_ascii();
    let (result, took_ns) = without_duration(result).unwrap_or((result, 0));
    let never = result == b"?" || result == b"? <unavailable>";
    Ok((!never).then_some(Returned { args, result, took_ns }))
}

fn who(line: &[u8]) -> Option<(Option<u32>, &[u8])> {
    if let Some(bracketed) = line.strip_prefix(b"[pid ") {
        let close = bracketed.iter().position(|byte| *byte == b']')?;
        let id = scan::decimal(bracketed.get(..close)?.trim_ascii())?;
        return Some((Some(u32::try_from(id).ok()?), bracketed.get(close + 1..)?));
    }
    match scan::word(line) {
        (first, rest) if !first.contains(&b'.') => Some((Some(u32::try_from(scan::decimal(first)?).ok()?), rest)),
        _ => Some((None, line)),
    }
}

/// Seconds with decimals.
fn nanoseconds(text: &[u8]) -> Option<u64> {
    let dot = text.iter().position(|byte| *byte == b'.')?;
    let (seconds, fraction) = (text.get(..dot)?, text.get(dot + 1..)?);
    let missing = FRACTION_DIGITS.checked_sub(fraction.len())?;
    let fraction = scan::decimal(fraction)?.checked_mul(10_u64.checked_pow(u32::try_from(missing).ok()?)?)?;
    scan::decimal(seconds)?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

fn what(text: &[u8]) -> Option<What<'_>> {
    let text = text.trim_ascii_start();
    if let Some(resumed) = text.strip_prefix(b"<... ") {
        let (name, rest) = name(resumed)?;
        return Some(What::Resumed { name, rest: rest.strip_prefix(b" resumed>")? });
    }
    if text.starts_with(b"--- ") && text.ends_with(b" ---") {
        return Some(What::Nothing);
    }
    if let Some(end) = text.strip_prefix(b"+++ ").and_then(|end| end.strip_suffix(b" +++")) {
        return match end.strip_prefix(b"superseded by execve in pid ") {
            Some(by) => Some(What::Superseded { by: u32::try_from(scan::decimal(by)?).ok()? }),
            None => (end.starts_with(b"exited ") || end.starts_with(b"killed ")).then_some(What::Ended),
        };
    }
    let (name, rest) = name(text)?;
    Some(What::Call { name, rest: rest.strip_prefix(b"(")? })
}

/// The name of a call; `????` where strace does not know it.
fn name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_part = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'?' | b'#');
    let length = text.iter().position(|byte| !is_part(byte)).filter(|length| *length > 0)?;
    text.split_at_checked(length)
}

/// Takes off `<0.000249>`.
fn without_duration(text: &[u8]) -> Option<(&[u8], u64)> {
    let inside = text.strip_suffix(b">")?;
    let open = inside.iter().rposition(|byte| *byte == b'<')?;
    Some((text.get(..open)?.trim_ascii_end(), nanoseconds(inside.get(open + 1..)?)?))
}

/// As much of a line as a message shows.
fn beginning(line: &[u8]) -> String {
    const SHOWN_BYTES: usize = 60;
    shown(line.get(..SHOWN_BYTES).unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what_of(line: &str) -> What<'_> {
        split(line.as_bytes()).unwrap_or_else(|problem| panic!("{line}: {problem}")).what
    }

    #[test]
    fn a_task_is_named_in_front_in_brackets_or_not_at_all() {
        for (line, who) in [
            ("12  3.5 brk(NULL) = 0", Some(12)),
            ("[pid   12] 3.5 brk(NULL) = 0", Some(12)),
            ("3.5 brk(NULL) = 0", None),
        ] {
            let line = split(line.as_bytes()).expect("a line");
            assert_eq!((line.who, line.at_ns), (who, 3_500_000_000));
            assert_eq!(line.what, What::Call { name: b"brk", rest: b"NULL) = 0" });
        }
        assert!(split(b"12 10:20:30 brk(NULL) = 0").is_err(), "a time of day is none since 1970");
    }

    #[test]
    fn ends_and_signals_are_told_apart() {
        assert_eq!(what_of("1 3.5 +++ exited with 0 +++"), What::Ended);
        assert_eq!(what_of("1 3.5 +++ killed by SIGSEGV (core dumped) +++"), What::Ended);
        assert_eq!(what_of("1 3.5 +++ superseded by execve in pid 7 +++"), What::Superseded { by: 7 });
        assert_eq!(what_of("1 3.5 --- SIGCHLD {si_stime=3 /* 0.03 s */} ---"), What::Nothing);
        assert!(split(b"1 3.5 +++ went away +++").is_err());
    }

    #[test]
    fn what_is_returned_follows_the_parenthesis_of_the_call() {
        let rest = br#""a)b\"", [{WIFEXITED(s) && 1}], 0x7f /* 38 vars) */) = -1 ENOENT (No such file) <0.000249>"#;
        let found = returned(rest).expect("a whole call").expect("it returned");
        assert_eq!((found.result, found.took_ns), (&b"-1 ENOENT (No such file)"[..], 249_000));
        assert!(found.args.ends_with(b"vars) */"));
        assert_eq!(returned(b"0) = ?").expect("a whole call"), None);
        assert_eq!(returned(b"0) = ? <unavailable>").expect("a whole call"), None);
        let again =
            returned(b"0) = ? ERESTARTSYS (To be restarted) <0.5>").expect("a whole call").expect("it returned");
        assert_eq!((again.result, again.took_ns), (&b"? ERESTARTSYS (To be restarted)"[..], 500_000_000));
        assert!(returned(b"0, 0").is_err());
    }

    #[test]
    fn a_call_may_go_on_later() {
        assert_eq!(unfinished(b"NULL <unfinished ...>"), Some(&b"NULL"[..]));
        assert_eq!(unfinished(b"NULL <detached ...>"), Some(&b"NULL"[..]));
        assert_eq!(unfinished(b"\"/bin/true\" <pid changed to 21614 ...>"), Some(&b"\"/bin/true\""[..]));
        assert_eq!(unfinished(b"NULL) = 0 <0.5>"), None);
    }

    #[test]
    fn a_message_of_strace_may_end_a_line() {
        assert_eq!(before_message(b"strace: Process 12 attached"), Some(&b""[..]));
        assert_eq!(before_message(b"3.5 vfork(strace: Process 12 attached"), Some(&b"3.5 vfork("[..]));
        assert_eq!(before_message(b"3.5 write(2, \"strace: Process x attached"), None);
    }
}
