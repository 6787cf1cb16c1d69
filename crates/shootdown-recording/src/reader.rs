//! A recording as a stream of events.
//!
//! Owns [`Recording`]: which form a file is in, and the place of every error. It deliberately keeps no more of a file than
//! its form needs, so that a recording may be larger than memory.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use crate::{
    columns::{self, Columns},
    error::{At, Place, Problem, ReadError, shown},
    event::{Event, TaskId},
    header::{Detail, Header},
    import::{
        self, Interpretation,
        perf_data::{self, PerfData},
        strace::{self, Strace},
        trace_text::{self, TraceText},
    },
    input::{Input, Seekable},
    known_tasks::KnownTasks,
    source::Source,
    text::{self, Text},
};

/// As much of a foreign file as a message shows.
const SHOWN_BYTES: usize = 40;
/// As much of a file as is looked at to find out what it is.
const LOOKED_AT_BYTES: usize = 4096;

/// A recorded workload, read event by event.
///
/// An iterator of `Result<Event, ReadError>`; it ends after the first error.
pub struct Recording {
    file: Arc<str>,
    source: Box<dyn Source>,
    header: Header,
    known: KnownTasks,
    total_bytes: Option<u64>,
    is_finished: bool,
}

impl Recording {
    /// Opens a file, compressed with zstd or not, and reads its header. Its content tells the form, not its name.
    ///
    /// # Errors
    /// If the file cannot be opened or does not begin like a recording.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        Self::open_as(path, &Interpretation::default())
    }

    /// Like [`open`](Self::open), for files of other tools that leave something open.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_as(path: impl AsRef<Path>, interpretation: &Interpretation) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            // A pipe has no places to go to.
            Ok((_, file)) if (&file).stream_position().is_err() => {
                Self::new(&name, Origin::Stream(Box::new(file)), None, interpretation)
            }
            Ok((total_bytes, file)) => {
                Self::new(&name, Origin::Seekable(Box::new(file)), Some(total_bytes), interpretation)
            }
            Err(error) => {
                let problem = match error.kind() {
                    io::ErrorKind::NotFound => Problem::Missing,
                    _ => Problem::Open(error),
                };
                Err(ReadError::new(Place { file: name.into(), at: None }, problem))
            }
        }
    }

    /// Reads the header of a recording from any reader; `name` stands for the file in error messages.
    ///
    /// A `perf.data` file is copied to a temporary file first, since it cannot be read from front to end.
    ///
    /// # Errors
    /// If it does not begin like a recording.
    pub fn from_reader(name: &str, reader: impl Read + Send + 'static) -> Result<Self, ReadError> {
        Self::new(name, Origin::Stream(Box::new(reader)), None, &Interpretation::default())
    }

    /// Like [`from_reader`](Self::from_reader), for what can be read at any place, which spares the copy.
    ///
    /// # Errors
    /// Those of [`from_reader`](Self::from_reader).
    pub fn from_seekable(
        name: &str,
        mut reader: impl Read + Seek + Send + 'static,
        interpretation: &Interpretation,
    ) -> Result<Self, ReadError> {
        let total_bytes = reader.seek(SeekFrom::End(0)).ok();
        // Whatever is wrong with a reader that cannot go back shows when it is read.
        drop(reader.rewind());
        Self::new(name, Origin::Seekable(Box::new(reader)), total_bytes, interpretation)
    }

    /// Reads the header of a recording that is in memory.
    ///
    /// # Errors
    /// If it does not begin like a recording.
    pub fn from_bytes(name: &str, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Self, ReadError> {
        Self::from_seekable(name, io::Cursor::new(bytes), &Interpretation::default())
    }

    /// Returns what the recording says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the name of the recorded workload.
    #[must_use]
    pub fn workload(&self) -> &str {
        &self.header.workload
    }

    /// Returns the first task of the recorded process tree.
    #[must_use]
    pub fn root(&self) -> TaskId {
        self.header.root
    }

    /// Returns how much the recorder saw.
    #[must_use]
    pub fn detail(&self) -> Detail {
        self.header.detail
    }

    /// Returns how many bytes of the file, before decompression, have been used up; for a progress bar.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.source.position_bytes()
    }

    /// Returns the size of the file, before decompression, or `None` if it came from a reader.
    #[must_use]
    pub fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Returns the file and the place in it of the last event.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { file: Arc::clone(&self.file), at: Some(self.source.at()) }
    }

    fn new(
        name: &str,
        origin: Origin,
        total_bytes: Option<u64>,
        interpretation: &Interpretation,
    ) -> Result<Self, ReadError> {
        let file: Arc<str> = name.into();
        let (header, source) = open_source(name, origin, interpretation)
            .map_err(|(at, problem)| ReadError::new(Place { file: Arc::clone(&file), at: Some(at) }, problem))?;
        let known = KnownTasks::new(header.root);
        Ok(Self { file, source, header, known, total_bytes, is_finished: false })
    }

    #[inline]
    fn next_event(&mut self) -> Result<Option<Event>, Problem> {
        let Some(event) = self.source.next_event()? else {
            return Ok(None);
        };
        self.known.admit(&event)?;
        Ok(Some(event))
    }
}

/// What a recording is read from.
enum Origin {
    Stream(Box<dyn Read + Send>),
    Seekable(Box<dyn Seekable>),
}

/// Finds out what form a file is in, and reads its header.
fn open_source(
    name: &str,
    origin: Origin,
    interpretation: &Interpretation,
) -> Result<(Header, Box<dyn Source>), (At, Problem)> {
    let at_start = |problem| (At::Line(1), problem);
    let reader: Box<dyn Read + Send> = match origin {
        Origin::Stream(reader) => reader,
        Origin::Seekable(mut file) => {
            if perf_data::is_perf_data(&mut *file).map_err(at_start)? {
                return open_perf_data(name, file, interpretation);
            }
            Box::new(file)
        }
    };
    let mut input = Input::new(reader).map_err(at_start)?;
    let beginning = input.peek(LOOKED_AT_BYTES).map_err(at_start)?;
    let is_own = [text::FIRST_LINE, columns::FIRST_LINE].iter().any(|line| beginning.starts_with(line));
    if is_own && (interpretation.root.is_some() || interpretation.symbols.is_some()) {
        return Err(at_start(Problem::NothingOpen));
    }
    if beginning.starts_with(text::FIRST_LINE) {
        let (header, source) = Text::open(input)?;
        Ok((header, Box::new(source)))
    } else if perf_data::begins_like_perf_data(beginning) {
        open_perf_data(name, input.unpacked().map_err(at_start)?, interpretation)
    } else if trace_text::is_trace_text(beginning) {
        let source = TraceText::open(input, interpretation)?;
        let notes = vec![("recorder".to_owned(), "a tracer's text".to_owned())];
        Ok((import::header(name, Detail::Full, notes, interpretation), Box::new(source)))
    } else if beginning.starts_with(columns::FIRST_LINE) {
        let (header, source) = Columns::open(input)?;
        Ok((header, Box::new(source)))
    } else if strace::begins_like_strace(beginning) {
        let (header, source) = Strace::open(input, name, interpretation)?;
        Ok((header, Box::new(source)))
    } else if beginning.is_empty() {
        Err(at_start(Problem::Empty))
    } else {
        let line = beginning.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.get(..SHOWN_BYTES).unwrap_or(line);
        Err(at_start(Problem::NotARecording { found: shown(line) }))
    }
}

fn open_perf_data(
    name: &str,
    file: Box<dyn Seekable>,
    interpretation: &Interpretation,
) -> Result<(Header, Box<dyn Source>), (At, Problem)> {
    let (notes, source) = PerfData::open(file, interpretation)?;
    Ok((import::header(name, Detail::Full, notes, interpretation), Box::new(source)))
}

impl Iterator for Recording {
    type Item = Result<Event, ReadError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_finished {
            return None;
        }
        let read = self.next_event();
        self.is_finished = !matches!(read, Ok(Some(_)));
        read.map_err(|problem| ReadError::new(self.place(), problem)).transpose()
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("file", &self.file)
            .field("workload", &self.workload())
            .field("at", &self.source.at())
            .finish_non_exhaustive()
    }
}
