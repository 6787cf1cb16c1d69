//! The numbers that strace prints by name or by value.

use crate::{
    error::{Problem, shown},
    import::strace::{errno, flags, scan},
};

/// Reads an argument: a number, `NULL`, flags by name, or any of them joined by `|`.
pub(super) fn argument(text: &[u8]) -> Option<u64> {
    without_comment(text)
        .split(|byte| *byte == b'|')
        .try_fold(0, |value, part| Some(value | single(part.trim_ascii())?))
}

/// Reads what a call returned; an error is its number, negative.
pub(super) fn result(text: &[u8]) -> Result<i64, Problem> {
    let wrong = || {
        let expected = "a number, or -1 or ? and the name of an error of Linux";
        Problem::Value { field: "result", found: shown(text), expected }
    };
    let (value, rest) = scan::word(text);
    match value {
        b"-1" | b"?" if !rest.is_empty() => error(rest).ok_or_else(wrong),
        _ => number(value).and_then(|value| i64::try_from(value).ok()).ok_or_else(wrong),
    }
}

/// `ENOENT (No such file or directory)`, or `(errno 600)` if strace has no name for it.
fn error(text: &[u8]) -> Option<i64> {
    let number = match text.strip_prefix(b"(errno ") {
        Some(unnamed) => scan::decimal(unnamed.split(|byte| *byte == b')').next()?)?,
        None => errno::by_name(scan::word(text).0)?.into(),
    };
    i64::try_from(number).ok().filter(|number| *number > 0).map(|number| -number)
}

fn single(text: &[u8]) -> Option<u64> {
    const SHIFTED: &[u8] = b"<<MAP_HUGE_SHIFT";
    const MAP_HUGE_SHIFT: u32 = 26;
    if let Some(size) = text.strip_suffix(SHIFTED) {
        return number(size)?.checked_shl(MAP_HUGE_SHIFT);
    }
    number(text).or_else(|| flags::by_name(text))
}

/// `0x7f00`, `4096`, `-1`, `NULL`, `3</tmp/a>`.
fn number(text: &[u8]) -> Option<u64> {
    let text = match text.iter().position(|byte| *byte == b'<') {
        Some(path) if text.ends_with(b">") => text.get(..path)?,
        _ => text,
    };
    match text {
        b"NULL" => Some(0),
        [b'0', b'x', digits @ ..] => crate::text::digits(16, digits),
        [b'-', digits @ ..] => Some(scan::decimal(digits)?.wrapping_neg()),
        _ => scan::decimal(text),
    }
}

/// `0x22 /* MAP_PRIVATE|MAP_ANONYMOUS */`
fn without_comment(text: &[u8]) -> &[u8] {
    let comment = text.windows(2).position(|pair| pair == b"/*").unwrap_or(text.len());
    text.get(..comment).unwrap_or(text).trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_numbers_names_or_both() {
        for (text, value) in [
            ("NULL", 0),
            ("0x7fc59c298000", 0x7fc5_9c29_8000),
            ("39271", 39271),
            ("-1", u64::MAX),
            ("PROT_READ|PROT_WRITE", 3),
            ("PROT_NONE", 0),
            ("MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB|21<<MAP_HUGE_SHIFT", 0x22 | 0x4_0000 | 21 << 26),
            ("MAP_PRIVATE|0x10000000", 0x1000_0002),
            ("0x22 /* MAP_PRIVATE|MAP_ANONYMOUS */", 0x22),
            ("0x99 /* MADV_??? */", 0x99),
            ("3</usr/lib/libc.so.6>", 3),
            ("MREMAP_MAYMOVE|MREMAP_FIXED", 3),
            ("CLONE_VM|CLONE_VFORK|SIGCHLD", 0x4111),
        ] {
            assert_eq!(argument(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "MAP_PRIVATE|", "MAP_NOSUCH", "0x", "-", "{a=1}", "\"a\""] {
            assert_eq!(argument(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn results_are_numbers_or_errors() {
        for (text, value) in [
            ("0", 0),
            ("0x7f498f577000", 0x7f49_8f57_7000),
            ("-1 ENOENT (No such file or directory)", -2),
            ("-1 ENOMEM (Cannot allocate memory) (INJECTED)", -12),
            ("? ERESTARTSYS (To be restarted if SA_RESTART is set)", -512),
            ("-1 (errno 600)", -600),
            ("-1 EHWPOISON (Memory page has hardware error)", -133),
        ] {
            assert_eq!(result(text.as_bytes()).expect(text), value, "{text}");
        }
        for text in ["", "-1 ENOSUCH (What)", "? what", "0x1ffffffffffffffff", "abc", "-1 (errno 0)"] {
            assert!(result(text.as_bytes()).is_err(), "{text}");
        }
    }
}
