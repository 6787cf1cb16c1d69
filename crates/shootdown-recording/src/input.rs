//! The bytes of a recording, decompressed if need be, and how far into the file they reach.
//!
//! Owns [`Input`], which tells plain text from zstd by content: a name says nothing about standard input. It
//! deliberately knows nothing of lines.

use std::io::{self, Read, Seek, Write};

use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

use crate::error::Problem;

const CHUNK_BYTES: usize = 64 * 1024;

/// What recorders and compressors make some 10 times as small; whatever claims more than this was made to fill memory or a
/// disk.
pub(crate) const HIGHEST_RATIO: usize = 1000;
/// As much may come out of the first bytes.
const UNPACKED_AT_ONCE_BYTES: u64 = 1 << 20;

/// RFC 8878 §3.1.1: the first bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Anything that can be read at any place.
pub(crate) trait Seekable: Read + Seek + Send {}

impl<T: Read + Seek + Send> Seekable for T {}

/// A recording as a stream of bytes.
pub(crate) struct Input {
    bytes: Bytes,
    /// Read already, to look at.
    ahead: Vec<u8>,
    taken: usize,
}

enum Bytes {
    Plain(Source),
    Zstd(Box<Zstd>),
}

impl Input {
    /// Looks at the first bytes of `reader` and decides whether to decompress it.
    pub(crate) fn new(reader: Box<dyn Read + Send>) -> Result<Self, Problem> {
        let mut source = Source::new(reader);
        let bytes = if source.peek(ZSTD_MAGIC.len()).map_err(Problem::Read)? == ZSTD_MAGIC {
            Bytes::Zstd(Box::new(Zstd { source, decoder: FrameDecoder::new() }))
        } else {
            Bytes::Plain(source)
        };
        Ok(Self { bytes, ahead: Vec::new(), taken: 0 })
    }

    /// Returns the next bytes, as many as `wanted` if there are, and leaves them in place.
    pub(crate) fn peek(&mut self, wanted: usize) -> Result<&[u8], Problem> {
        self.ahead.drain(..self.taken);
        self.taken = 0;
        let mut n_ahead = self.ahead.len();
        self.ahead.resize(wanted.max(n_ahead), 0);
        while n_ahead < wanted {
            match self.bytes.read(self.ahead.get_mut(n_ahead..).unwrap_or_default())? {
                0 => break,
                n_read => n_ahead += n_read,
            }
        }
        self.ahead.truncate(n_ahead);
        Ok(&self.ahead)
    }

    /// Reads some bytes into `out`; 0 at the end.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<usize, Problem> {
        let mut ahead = self.ahead.get(self.taken..).unwrap_or_default();
        if ahead.is_empty() {
            return self.bytes.read(out);
        }
        let n_read = ahead.read(out).map_err(Problem::Read)?;
        self.taken += n_read;
        Ok(n_read)
    }

    /// Copies the bytes that are left into a file without a name, so that they can be read in any order.
    pub(crate) fn unpacked(mut self) -> Result<Box<dyn Seekable>, Problem> {
        let mut file = tempfile::tempfile().map_err(Problem::Unpack)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut n_unpacked = 0;
        loop {
            match self.read(&mut chunk)? {
                0 => return Ok(Box::new(file)),
                n_read => {
                    file.write_all(chunk.get(..n_read).unwrap_or_default()).map_err(Problem::Unpack)?;
                    n_unpacked += n_read as u64;
                }
            }
            let n_packed = self.position_bytes();
            if n_unpacked > n_packed.saturating_mul(HIGHEST_RATIO as u64).saturating_add(UNPACKED_AT_ONCE_BYTES) {
                let reason = format!("{n_packed} bytes expand to more than {HIGHEST_RATIO} times as many");
                return Err(Problem::Damaged { reason });
            }
        }
    }

    /// Returns the number of bytes used up so far, before decompression.
    pub(crate) fn position_bytes(&self) -> u64 {
        match &self.bytes {
            Bytes::Plain(source) => source.used_bytes,
            Bytes::Zstd(zstd) => zstd.source.used_bytes,
        }
    }
}

impl Bytes {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Problem> {
        match self {
            Self::Plain(source) => {
                let read = source.read(out);
                read.map_err(|error| Problem::Read(source.failure.take().unwrap_or(error)))
            }
            Self::Zstd(zstd) => zstd.read(out),
        }
    }
}

/// A zstd stream: any number of frames, as `cat a.zst b.zst` and parallel compressors write them.
pub(crate) struct Zstd {
    source: Source,
    decoder: FrameDecoder,
}

impl Zstd {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Problem> {
        while self.decoder.can_collect() == 0 {
            if !self.decoder.is_finished() {
                let decoded = self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1));
                decoded.map_err(|error| self.problem(&error))?;
                continue;
            }
            self.check_frame()?;
            if !self.next_frame()? {
                return Ok(0);
            }
        }
        self.decoder.read(out).map_err(Problem::Read)
    }

    /// Compares the checksum of the frame just ended, which the decoder computes but leaves to its caller.
    fn check_frame(&self) -> Result<(), Problem> {
        match self.decoder.get_checksum_from_data() {
            Some(wanted) if self.decoder.get_calculated_checksum() != Some(wanted) => {
                Err(Problem::Damaged { reason: "the text does not match the stream's checksum".to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Starts on the next frame, past skippable ones; `false` at the end of the file.
    fn next_frame(&mut self) -> Result<bool, Problem> {
        while !self.source.peek(1).map_err(Problem::Read)?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let wanted = u64::from(length);
                    let skipped = io::copy(&mut self.source.by_ref().take(wanted), &mut io::sink());
                    if skipped.map_err(Problem::Read)? < wanted {
                        return Err(Problem::Truncated);
                    }
                }
                Err(error) => return Err(self.problem(&error)),
            }
        }
        Ok(false)
    }

    /// Tells a stream that ends too early, and a failing disk, from one with wrong bytes: the decoder calls all of
    /// them an error of whatever part it was at.
    fn problem(&mut self, error: &FrameDecoderError) -> Problem {
        match self.source.failure.take() {
            Some(failure) => Problem::Read(failure),
            None if self.source.ran_dry => Problem::Truncated,
            None => Problem::Damaged { reason: error.to_string() },
        }
    }
}

/// A buffered file that counts what is taken from it and remembers how it ended.
pub(crate) struct Source {
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    used_bytes: u64,
    /// Somebody asked for a byte when there was none.
    ran_dry: bool,
    failure: Option<io::Error>,
}

impl Source {
    fn new(reader: Box<dyn Read + Send>) -> Self {
        let buffer = Vec::with_capacity(CHUNK_BYTES);
        Self { reader, buffer, start: 0, used_bytes: 0, ran_dry: false, failure: None }
    }

    /// Returns what is buffered, which is at least `wanted` bytes unless the file ends before.
    fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.buffered().len() < wanted {
            if self.fill()? == 0 {
                break;
            }
        }
        Ok(self.buffered().get(..wanted).unwrap_or(self.buffered()))
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start.min(self.buffer.len()));
        self.start = 0;
        let missing = CHUNK_BYTES.saturating_sub(self.buffer.len());
        // `read_to_end` on `take` retries interrupted reads and appends without zeroing first.
        self.reader.by_ref().take(missing as u64).read_to_end(&mut self.buffer)
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.buffered().is_empty() && !out.is_empty() {
            match self.fill() {
                Ok(0) => self.ran_dry = true,
                Ok(_) => {}
                Err(error) => {
                    // Kept aside: the decoder would wrap the error so deep that its text is lost.
                    let kind = error.kind();
                    self.failure = Some(error);
                    return Err(kind.into());
                }
            }
        }
        let mut buffered = self.buffered();
        let n_copied = buffered.read(out)?;
        self.start += n_copied;
        self.used_bytes += n_copied as u64;
        Ok(n_copied)
    }
}
