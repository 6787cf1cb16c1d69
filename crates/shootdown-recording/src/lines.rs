//! The lines of a recording, without a copy or an allocation for each.
//!
//! Owns [`Lines`]: one buffer, from which every line is lent until the next is asked for. It deliberately knows
//! nothing of what the lines mean.

use crate::{error::Problem, input::Input};

/// The longest line of the text form; real ones stay under 120 bytes, so a longer one is no recording.
pub(crate) const LONGEST_LINE_BYTES: usize = 4096;

/// Room beyond the longest line, so that lines are read many at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// A text, line by line.
pub(crate) struct Lines {
    input: Input,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    number: u64,
    longest_bytes: usize,
}

impl Lines {
    pub(crate) fn new(input: Input) -> Self {
        Self::with_longest(input, LONGEST_LINE_BYTES)
    }

    /// Lines of up to this many bytes.
    pub(crate) fn with_longest(input: Input, longest_bytes: usize) -> Self {
        let buffer = vec![0; BUFFER_BYTES + longest_bytes].into_boxed_slice();
        Self { input, buffer, start: 0, end: 0, number: 0, longest_bytes }
    }

    /// Returns the number of the line last asked for, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn position_bytes(&self) -> u64 {
        self.input.position_bytes()
    }

    /// Returns the next line without its newline, or `None` at the end.
    pub(crate) fn next_line(&mut self) -> Result<Option<&[u8]>, Problem> {
        self.number += 1;
        let length = loop {
            match find(b'\n', self.pending()) {
                Some(length) if length <= self.longest_bytes => break length,
                None if self.pending().len() <= self.longest_bytes => {
                    if self.fill()? == 0 {
                        return if self.pending().is_empty() { Ok(None) } else { Err(Problem::Unterminated) };
                    }
                }
                Some(_) | None => {
                    return Err(Problem::LineTooLong { limit: self.longest_bytes });
                }
            }
        };
        let line_start = self.start;
        self.start += length + 1;
        Ok(self.buffer.get(line_start..line_start + length))
    }

    /// Returns up to `wanted` bytes of the next line, which is left in place.
    pub(crate) fn peek(&mut self, wanted: usize) -> Result<&[u8], Problem> {
        while self.pending().len() < wanted {
            if self.fill()? == 0 {
                break;
            }
        }
        let pending = self.pending();
        let length = find(b'\n', pending).unwrap_or(pending.len()).min(wanted);
        Ok(pending.get(..length).unwrap_or_default())
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn fill(&mut self) -> Result<usize, Problem> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let n_read = self.input.read(self.buffer.get_mut(self.end..).unwrap_or_default())?;
        self.end += n_read;
        Ok(n_read)
    }
}

/// Finds the first `wanted` byte.
fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == wanted)
}
