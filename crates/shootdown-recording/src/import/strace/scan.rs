//! Finding one's way in what strace prints: brackets, strings and comments.

/// The index of the first byte that `is_wanted` and is in no brackets, string, comment or path.
pub(super) fn find_top(text: &[u8], is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if depth == 0 && is_wanted(byte) {
            return Some(at);
        }
        match byte {
            b'"' => at = string_end(text, at + 1)?,
            b'/' if text.get(at + 1) == Some(&b'*') => at = comment_end(text, at + 2)?,
            // The path of a descriptor, `3</tmp/a>`; `21<<MAP_HUGE_SHIFT` is none.
            b'<' if text.get(at + 1) == Some(&b'<') => at += 1,
            b'<' => at += text.get(at..)?.iter().position(|byte| *byte == b'>')?,
            b'(' | b'[' | b'{' => depth += 1,
            // What a call is resumed with may close what was opened on another line.
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The arguments of a call.
pub(super) fn arguments(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = (!text.trim_ascii().is_empty()).then_some(text);
    std::iter::from_fn(move || {
        let text = left?;
        let end = find_top(text, |byte| byte == b',');
        left = end.and_then(|end| text.get(end + 1..));
        Some(text.get(..end.unwrap_or(text.len()))?.trim_ascii())
    })
}

/// The text up to a space, and what follows the spaces.
pub(super) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (word, rest.trim_ascii_start())
}

/// A decimal number and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    crate::text::digits(10, text)
}

fn string_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn comment_end(text: &[u8], from: usize) -> Option<usize> {
    let end = text.get(from..)?.windows(2).position(|pair| pair == b"*/")?;
    Some(from + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_apart_where_commas_are_in_nothing() {
        let text = br#""a, \"b", [{x=1, y=2}], 0x22 /* A, B */, 3</tmp/a,b>, 21<<MAP_HUGE_SHIFT"#;
        let found: Vec<&[u8]> = arguments(text).collect();
        let expected =
            [&br#""a, \"b""#[..], b"[{x=1, y=2}]", b"0x22 /* A, B */", b"3</tmp/a,b>", b"21<<MAP_HUGE_SHIFT"];
        assert_eq!(found, expected);
        assert_eq!(arguments(b"").count(), 0);
    }

    #[test]
    fn what_is_not_closed_has_no_end() {
        for text in [&b"\"abc)"[..], b"\"abc\\", b"/* abc)", b"(abc)", b"3<abc)"] {
            assert_eq!(find_top(text, |byte| byte == b')' && !text.starts_with(b"(")), None);
        }
    }
}
