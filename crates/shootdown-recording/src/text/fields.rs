//! The fields of a line, and the numbers in them.
//!
//! Written by hand on bytes: `str::parse` would need UTF-8 checked first, and accepts a `+` that no recorder writes.

use crate::error::{Problem, shown};

/// Splits a line at its tabs and returns the number of fields, of which `fields` gets the first ones.
pub(crate) fn split<'a>(line: &'a [u8], fields: &mut [&'a [u8]]) -> usize {
    if line.is_empty() {
        return 0;
    }
    let mut n_fields = 0;
    for field in line.split(|&byte| byte == b'\t') {
        if let Some(slot) = fields.get_mut(n_fields) {
            *slot = field;
        }
        n_fields += 1;
    }
    n_fields
}

/// Parses a decimal number that has to fit its type.
pub(crate) fn number<T: TryFrom<u64>>(field: &'static str, text: &[u8], expected: &'static str) -> Result<T, Problem> {
    let value = digits(10, text).and_then(|value| T::try_from(value).ok());
    value.ok_or_else(|| Problem::Value { field, found: shown(text), expected })
}

/// Parses a hexadecimal number without prefix.
pub(crate) fn hex(field: &'static str, text: &[u8]) -> Result<u64, Problem> {
    const EXPECTED: &str = "a hexadecimal number of 1 to 16 digits, without prefix";
    digits(16, text).ok_or_else(|| Problem::Value { field, found: shown(text), expected: EXPECTED })
}

/// Parses digits and nothing else: no sign, no space, not none at all.
pub(crate) fn digits(radix: u32, text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        value.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}
