//! The decompressed bytes of a file of columns, and where in them the reader is.
//!
//! Owns [`Bytes`], and [`Misread`], an error with its place. It deliberately believes no length: whoever asks for bytes
//! has compared their number with a limit.

use crate::{columns::varint, error::Problem, input::Input};

const BUFFER_BYTES: usize = 16 * 1024;

/// A problem, and the offset of what it is about.
pub(super) struct Misread {
    pub(super) at_byte: u64,
    pub(super) problem: Problem,
}

/// A stream of bytes.
pub(super) struct Bytes {
    input: Input,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
}

impl Bytes {
    pub(super) fn new(input: Input) -> Self {
        Self { input, buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), start: 0, end: 0, offset: 0 }
    }

    /// Returns how many bytes were taken.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns how many bytes of the file, before decompression, have been used up.
    pub(super) fn position_bytes(&self) -> u64 {
        self.input.position_bytes()
    }

    pub(super) fn misread(&self, problem: Problem) -> Misread {
        Misread { at_byte: self.offset, problem }
    }

    /// Takes a byte, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<u8>, Misread> {
        if self.start == self.end && !self.fill()? {
            return Ok(None);
        }
        let byte = self.buffer.get(self.start).copied();
        self.start += 1;
        self.offset += 1;
        Ok(byte)
    }

    /// Takes a number.
    pub(super) fn number(&mut self, expected: &'static str) -> Result<u64, Misread> {
        let at_byte = self.offset;
        let mut failure = None;
        let number = varint::take(|| {
            let next = self.next().and_then(|byte| byte.ok_or_else(|| self.misread(Problem::EndsEarly { expected })));
            next.map_err(|misread| failure = Some(misread)).ok()
        });
        let problem = || Problem::Value { field: "a number", found: "longer".to_owned(), expected: LONGEST_NUMBER };
        number.ok_or_else(|| failure.unwrap_or_else(|| Misread { at_byte, problem: problem() }))
    }

    /// Takes as many bytes, in place of what was in `out`.
    pub(super) fn take(&mut self, n_bytes: usize, out: &mut Vec<u8>, expected: &'static str) -> Result<(), Misread> {
        out.clear();
        while out.len() < n_bytes {
            if self.start == self.end && !self.fill()? {
                return Err(self.misread(Problem::EndsEarly { expected }));
            }
            let buffered = self.buffer.get(self.start..self.end).unwrap_or_default();
            let taken = buffered.get(..n_bytes - out.len()).unwrap_or(buffered);
            out.extend_from_slice(taken);
            self.start += taken.len();
            self.offset += taken.len() as u64;
        }
        Ok(())
    }

    /// Buffers more bytes; `false` if there are none.
    fn fill(&mut self) -> Result<bool, Misread> {
        let read = self.input.read(&mut self.buffer);
        (self.start, self.end) = (0, read.map_err(|problem| self.misread(problem))?);
        Ok(self.end > 0)
    }
}

const LONGEST_NUMBER: &str = "a number of at most 64 bits";
