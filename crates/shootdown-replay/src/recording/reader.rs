//! A recording as a stream of events.
//!
//! Owns [`Recording`]: the header, the running time and the place of every error. It deliberately keeps no more of a
//! file than one buffer, so that a recording may be larger than memory.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use crate::{
    recording::error::{Place, Problem, ReadError, shown},
    recording::event::{Event, TaskId},
    recording::input::Input,
    recording::known_tasks::KnownTasks,
    recording::lines::Lines,
    recording::parse,
};

const FIRST_LINE: &[u8] = b"# tlbt-sample ";
const VERSION: &[u8] = b"0";
const WORKLOAD: &[u8] = b"# workload: ";
const ROOT: &[u8] = b"# root: ";
/// As much of a foreign file as a message shows.
const SHOWN_BYTES: usize = 40;

/// A recorded workload, read event by event.
///
/// An iterator of `Result<Event, ReadError>`; it ends after the first error.
pub struct Recording {
    file: Arc<str>,
    lines: Lines,
    header: Header,
    known: KnownTasks,
    at_ns: u64,
    total_bytes: Option<u64>,
    is_finished: bool,
}

struct Header {
    workload: String,
    root: TaskId,
}

impl Recording {
    /// Opens a `.tlbt` file, compressed with zstd or not (its content tells, not its name), and reads its header.
    ///
    /// # Errors
    /// If the file cannot be opened or does not begin with the header of a recording.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((total_bytes, file)) => Self::new(&name, Box::new(file), Some(total_bytes)),
            Err(error) => {
                let problem = match error.kind() {
                    io::ErrorKind::NotFound => Problem::Missing,
                    _ => Problem::Open(error),
                };
                Err(ReadError::new(Place { file: name.into(), line: None }, problem))
            }
        }
    }

    /// Reads the header of a recording from any reader; `name` stands for the file in error messages.
    ///
    /// # Errors
    /// If the text does not begin with the header of a recording.
    pub fn from_reader(name: &str, reader: impl Read + Send + 'static) -> Result<Self, ReadError> {
        Self::new(name, Box::new(reader), None)
    }

    /// Reads the header of a recording that is in memory.
    ///
    /// # Errors
    /// If the text does not begin with the header of a recording.
    pub fn from_bytes(name: &str, bytes: &'static [u8]) -> Result<Self, ReadError> {
        Self::new(name, Box::new(bytes), Some(bytes.len() as u64))
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

    /// Returns how many bytes of the file, before decompression, have been used up; for a progress bar.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.lines.position_bytes()
    }

    /// Returns the size of the file, before decompression, or `None` if it came from a reader.
    #[must_use]
    pub fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Returns the file and the line of the last event.
    pub(crate) fn place(&self) -> Place {
        Place { file: Arc::clone(&self.file), line: Some(self.lines.number()) }
    }

    fn new(name: &str, reader: Box<dyn Read + Send>, total_bytes: Option<u64>) -> Result<Self, ReadError> {
        let file: Arc<str> = name.into();
        let error = |line, problem| ReadError::new(Place { file: Arc::clone(&file), line: Some(line) }, problem);
        let input = Input::new(reader).map_err(|problem| error(1, problem))?;
        let mut lines = Lines::new(input);
        let header = read_header(&mut lines).map_err(|problem| error(lines.number().max(1), problem))?;
        let known = KnownTasks::new(header.root);
        Ok(Self { file, lines, header, known, at_ns: 0, total_bytes, is_finished: false })
    }

    #[inline]
    fn next_event(&mut self) -> Result<Option<Event>, Problem> {
        let Some(line) = self.lines.next_line()? else {
            return Ok(None);
        };
        let event = parse::event(line, self.at_ns)?;
        self.known.admit(&event)?;
        self.at_ns = event.at_ns;
        Ok(Some(event))
    }
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
            .field("line", &self.lines.number())
            .finish_non_exhaustive()
    }
}

/// Reads the lines that begin with `#`; those it does not know are notes for people.
fn read_header(lines: &mut Lines) -> Result<Header, Problem> {
    if lines.is_at_end()? {
        return Err(Problem::Empty);
    }
    let beginning = lines.peek(SHOWN_BYTES)?;
    if !beginning.starts_with(FIRST_LINE) {
        return Err(Problem::NotARecording { found: shown(beginning) });
    }
    match lines.next_line()?.and_then(|line| line.strip_prefix(FIRST_LINE)) {
        Some(VERSION) => {}
        found => {
            return Err(Problem::Version { found: shown(found.unwrap_or_default()) });
        }
    }
    let mut workload = None;
    let mut root = None;
    while lines.peek(1)? == b"#" {
        let line = lines.next_line()?.unwrap_or_default();
        if let Some(name) = line.strip_prefix(WORKLOAD) {
            workload = Some(String::from_utf8_lossy(name).into_owned());
        } else if let Some(task) = line.strip_prefix(ROOT) {
            root = Some(parse::task("root", task)?);
        }
    }
    Ok(Header {
        workload: workload.ok_or(Problem::MissingHeader { expected: "# workload: NAME" })?,
        root: root.ok_or(Problem::MissingHeader { expected: "# root: TID" })?,
    })
}
