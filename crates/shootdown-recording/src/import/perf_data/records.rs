//! The records of a `perf.data` file, one after the other, decompressed if need be.
//!
//! Source: tools/perf/Documentation/perf.data-file-format.txt; tools/perf/util/event.h for the numbers from 64 on.

use std::{
    collections::VecDeque,
    io::{self, BufReader, Read},
};

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use crate::{
    error::{At, Problem},
    input::HIGHEST_RATIO,
};

const HEADER_BYTES: usize = 8;
const HEADER_TRACING_DATA: u32 = 66;
const AUXTRACE: u32 = 71;
const COMPRESSED: u32 = 81;
const COMPRESSED_WITH_SIZE: u32 = 83;

const OUT_BYTES: usize = 128 * 1024;
/// As large a window as the format asks decoders to support.
const HIGHEST_WINDOW_LOG: u32 = 23;

/// One record.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) kind: u32,
    pub(crate) body: &'a [u8],
}

/// A stream of records.
pub(crate) struct Records {
    input: BufReader<Box<dyn Read + Send>>,
    /// Where the record last read begins in the file.
    offset: u64,
    next_offset: u64,
    /// Where the records end; a stream goes on to the end of the file.
    end: Option<u64>,
    body: Vec<u8>,
    /// Records that were compressed, as far as they have been asked for.
    unpacked: VecDeque<u8>,
    unpacker: Option<Decoder<'static>>,
}

impl Records {
    /// Reads records from where `input` is, which is `offset` in the file.
    pub(crate) fn new(input: Box<dyn Read + Send>, offset: u64, size: Option<u64>) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 18, input),
            offset,
            next_offset: offset,
            end: size.map(|size| offset.saturating_add(size)),
            body: Vec::new(),
            unpacked: VecDeque::new(),
            unpacker: None,
        }
    }

    pub(crate) fn at(&self) -> At {
        At::Byte(self.offset)
    }

    pub(crate) fn position_bytes(&self) -> u64 {
        self.next_offset
    }

    /// Returns the next record, or `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, Problem> {
        loop {
            if let Some(kind) = self.next_unpacked()? {
                return Ok(Some(Record { kind, body: &self.body }));
            }
            let Some(kind) = self.next_outer()? else {
                return if self.unpacked.is_empty() { Ok(None) } else { Err(cut_record(self.unpacked.len())) };
            };
            match kind {
                COMPRESSED => self.unpack(0, None)?,
                COMPRESSED_WITH_SIZE => {
                    let size = self.body.first_chunk().map(|size| u64::from_le_bytes(*size));
                    self.unpack(8, size)?;
                }
                AUXTRACE => {
                    let what = "a recording of a processor trace".to_owned();
                    return Err(Problem::PerfData { what, expected: "tracepoints only" });
                }
                _ => return Ok(Some(Record { kind, body: &self.body })),
            }
        }
    }

    /// Reads a record from the file into `body`.
    fn next_outer(&mut self) -> Result<Option<u32>, Problem> {
        self.offset = self.next_offset;
        let left = self.end.map(|end| end.saturating_sub(self.offset));
        if left == Some(0) {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        match read_fully(&mut self.input, &mut header)? {
            0 if self.end.is_none() => return Ok(None),
            HEADER_BYTES => {}
            n_read => return Err(cut_record(n_read)),
        }
        let (kind, body_bytes) = parse_header(header)?;
        let total = (HEADER_BYTES + body_bytes) as u64;
        if left.is_some_and(|left| left < total) {
            return Err(cut_record(usize::try_from(left.unwrap_or_default()).unwrap_or_default()));
        }
        self.read_body(body_bytes)?;
        self.next_offset += total;
        if kind == HEADER_TRACING_DATA {
            self.read_tracing_data()?;
        }
        Ok(Some(kind))
    }

    fn read_body(&mut self, n_bytes: usize) -> Result<(), Problem> {
        self.body.clear();
        let n_read = (&mut self.input).take(n_bytes as u64).read_to_end(&mut self.body).map_err(Problem::Read)?;
        if n_read < n_bytes { Err(cut_record(HEADER_BYTES + n_read)) } else { Ok(()) }
    }

    /// In a stream the tracing data follows its record, and counts for none.
    fn read_tracing_data(&mut self) -> Result<(), Problem> {
        let size = self.body.first_chunk().map_or(0, |size| u32::from_le_bytes(*size)) as usize;
        let padded = size.next_multiple_of(8);
        self.read_body(padded)?;
        self.body.truncate(size);
        self.next_offset += padded as u64;
        Ok(())
    }

    /// Decompresses `body`, but for its first bytes.
    fn unpack(&mut self, skipped: usize, size: Option<u64>) -> Result<(), Problem> {
        let packed = self.body.get(skipped..).unwrap_or_default();
        let packed = match size {
            Some(size) => {
                usize::try_from(size).ok().and_then(|size| packed.get(..size)).ok_or_else(|| Problem::PerfData {
                    what: format!("{size} compressed bytes in a record that has {}", packed.len()),
                    expected: "as many as fit",
                })?
            }
            None => packed,
        };
        let unpacker = match &mut self.unpacker {
            Some(unpacker) => unpacker,
            none => none.insert(new_unpacker().map_err(Problem::Read)?),
        };
        let limit = packed.len() * HIGHEST_RATIO + OUT_BYTES;
        let mut n_unpacked = 0;
        let mut input = InBuffer::around(packed);
        let mut out = [0; OUT_BYTES];
        loop {
            let mut output = OutBuffer::around(&mut out[..]);
            let damaged = |error: io::Error| Problem::Damaged { reason: error.to_string() };
            unpacker.run(&mut input, &mut output).map_err(damaged)?;
            let n_out = output.pos();
            self.unpacked.extend(output.as_slice());
            n_unpacked += n_out;
            if n_unpacked > limit {
                let reason = format!("{} bytes expand to more than {HIGHEST_RATIO} times as many", packed.len());
                return Err(Problem::Damaged { reason });
            }
            if input.pos() == packed.len() && n_out < OUT_BYTES {
                return Ok(());
            }
        }
    }

    /// Takes a record out of what was decompressed into `body`, if there is a whole one.
    fn next_unpacked(&mut self) -> Result<Option<u32>, Problem> {
        if self.unpacked.len() < HEADER_BYTES {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        header.iter_mut().zip(&self.unpacked).for_each(|(to, from)| *to = *from);
        let (kind, body_bytes) = parse_header(header)?;
        if self.unpacked.len() < HEADER_BYTES + body_bytes {
            return Ok(None);
        }
        self.unpacked.drain(..HEADER_BYTES);
        self.body.clear();
        self.body.extend(self.unpacked.drain(..body_bytes));
        Ok(Some(kind))
    }
}

fn new_unpacker() -> io::Result<Decoder<'static>> {
    let mut unpacker = Decoder::new()?;
    unpacker.set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(HIGHEST_WINDOW_LOG))?;
    Ok(unpacker)
}

/// Returns what kind of record it is, and how long its body.
fn parse_header(header: [u8; HEADER_BYTES]) -> Result<(u32, usize), Problem> {
    let [kind @ .., _, _, low, high] = header;
    let size = usize::from(u16::from_le_bytes([low, high]));
    let body_bytes = size.checked_sub(HEADER_BYTES).ok_or_else(|| Problem::PerfData {
        what: format!("a record of {size} bytes"),
        expected: "at least the 8 of its header",
    })?;
    Ok((u32::from_le_bytes(kind), body_bytes))
}

fn cut_record(n_bytes: usize) -> Problem {
    Problem::PerfData { what: format!("the last record breaks off after {n_bytes} bytes"), expected: "the rest of it" }
}

/// Reads as much as there is, up to the length of `out`.
fn read_fully(input: &mut impl Read, out: &mut [u8]) -> Result<usize, Problem> {
    let mut n_read = 0;
    while n_read < out.len() {
        match input.read(out.get_mut(n_read..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(n) => n_read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Problem::Read(error)),
        }
    }
    Ok(n_read)
}
