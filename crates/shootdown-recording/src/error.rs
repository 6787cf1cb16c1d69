//! What can be wrong with a recording.
//!
//! Owns [`ReadError`]: a [`Place`] and a [`Problem`]. The parsers return a bare [`Problem`]; only the recording knows
//! the place. The values are owned strings although errors elsewhere allocate nothing: a reader meets one error at
//! most, and a user needs to see what the file held.

use std::{fmt, io, sync::Arc};

use crate::event::TaskId;

/// A recording that cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ReadError {
    place: Place,
    problem: Problem,
}

impl ReadError {
    pub(crate) fn new(place: Place, problem: Problem) -> Self {
        Self { place, problem }
    }

    /// Returns the file and line the reader had come to.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Returns what is wrong there.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// A file, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name the recording was opened by.
    pub file: Arc<str>,
    /// Where in it; `None` if the file could not even be opened.
    pub at: Option<At>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::Line(line)) => write!(f, "{}, line {line}", self.file),
            Some(At::Byte(offset)) => write!(f, "{}, byte {offset}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// A place in a file, after decompression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A line of text, counted from 1.
    Line(u64),
    /// An offset in bytes.
    Byte(u64),
}

/// What is wrong with a recording, and what was expected instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is no such file.
    #[error("no such file; expected a recording, plain text or compressed with zstd")]
    Missing,
    /// The file exists but the system does not let us open it.
    #[error("cannot open the file; expected a readable recording: {0}")]
    Open(io::Error),
    /// The system failed in the middle of the file.
    #[error("cannot read on; expected more of the recording: {0}")]
    Read(io::Error),
    /// There is no room for what was compressed, which has to be read in another order.
    #[error("cannot unpack the file; expected room for it in the directory for temporary files: {0}")]
    Unpack(io::Error),
    /// The compressed stream ends before its last block.
    #[error(
        "the compressed file is cut short: its zstd stream breaks off; expected the rest of it \
         (was it copied or downloaded completely?)"
    )]
    Truncated,
    /// The compressed stream is not valid zstd, or does not match its checksum.
    #[error("the compressed file is damaged; expected an intact zstd stream: {reason}")]
    Damaged {
        /// The decoder's words.
        reason: String,
    },
    /// There is not a single byte of text.
    #[error("the file is empty; expected a recording")]
    Empty,
    /// The first line is that of some other kind of file.
    #[error(
        "not a recording: it begins with `{found}`; expected the first line `# tlbt-sample 1`, a perf.data file, or the \
         text of perf script, tracefs or strace"
    )]
    NotARecording {
        /// The beginning of the first line.
        found: String,
    },
    /// A recording of another format version.
    #[error("recording of format version `{found}`; expected version 0 or 1, which this reader knows")]
    Version {
        /// The version found.
        found: String,
    },
    /// The header lacks a line.
    #[error("the header has no `{expected}` line; expected one before the first event")]
    MissingHeader {
        /// The line that is missing.
        expected: &'static str,
    },
    /// The header goes on and on.
    #[error("the header is longer than {limit} bytes; expected one of at most that many")]
    HeaderTooLong {
        /// The highest length accepted.
        limit: usize,
    },
    /// A line is longer than any event can be.
    #[error("the line is longer than {limit} bytes; expected an event of at most that many")]
    LineTooLong {
        /// The highest length accepted.
        limit: usize,
    },
    /// The last line is not ended, so its last number may lack digits.
    #[error("the last line has no line end, so it may be cut short; expected a newline after every line")]
    Unterminated,
    /// A line has too few fields.
    #[error("too few fields for {what}: found {found}, expected {expected}")]
    TooFewFields {
        /// What the line was taken for.
        what: String,
        /// The number of fields in it.
        found: usize,
        /// The least number that will do.
        expected: usize,
    },
    /// A line has too many fields.
    #[error("too many fields for {what}: found {found}, expected {expected}")]
    TooManyFields {
        /// What the line was taken for.
        what: String,
        /// The number of fields in it.
        found: usize,
        /// The highest number that will do.
        expected: usize,
    },
    /// The kind column holds something else.
    #[error("unknown kind `{found}`; expected one of E X N C Q M S F K T I L")]
    UnknownKind {
        /// What it holds.
        found: String,
    },
    /// A field's value is out of range, or of the wrong form.
    #[error("{field} is `{found}`; expected {expected}")]
    Value {
        /// The field's name in the format description.
        field: &'static str,
        /// What it holds.
        found: String,
        /// The values it may have.
        expected: &'static str,
    },
    /// Something in a `perf.data` file makes no sense, or none to us.
    #[error("{what}; expected {expected}")]
    PerfData {
        /// What was found.
        what: String,
        /// What would do.
        expected: &'static str,
    },
    /// The file is shorter than it says.
    #[error(
        "{what} would be {size} bytes long from here on, but the file ends at byte {length}; expected the whole file"
    )]
    CutShort {
        /// The part that is not there.
        what: &'static str,
        /// How long it should be.
        size: u64,
        /// How long the file is.
        length: u64,
    },
    /// The process tree that is wanted is not in the recording.
    #[error("{root}, so nobody knows whose events matter; expected the process id or name of the first task (--root)")]
    NoRoot {
        /// Which was looked for.
        root: String,
    },
    /// It is said how to read what leaves nothing open.
    #[error(
        "this is the recording of one process tree, with its functions named; expected neither --root nor --symbols"
    )]
    NothingOpen,
    /// Functions are named by address only.
    #[error(
        "CPUs were asked to call {address:#x}, and which function that is nobody says; expected the symbols of the \
         recorded kernel: its /proc/kallsyms of the same boot, as root sees it (--symbols FILE)"
    )]
    NoSymbols {
        /// The address of a function.
        address: u64,
    },
    /// The file with the kernel's symbols cannot be read.
    #[error("cannot read the kernel's symbols from {file}: {error}")]
    Symbols {
        /// The file.
        file: String,
        /// Why not.
        error: io::Error,
    },
    /// The bytes end where something has to follow.
    #[error("the recording is cut short; expected {expected}")]
    EndsEarly {
        /// What has to follow.
        expected: &'static str,
    },
    /// A recording holds something else than its writer counted.
    #[error("the recording counts {written} {what} at its end, and {read} were read; expected as many")]
    Miscounted {
        /// What was counted.
        what: &'static str,
        /// How many were read.
        read: u64,
        /// How many were written.
        written: u64,
    },
    /// A task appears that nobody created.
    #[error(
        "{field} is `{task}`, a task that was never created; expected the root task or the child of an earlier N line"
    )]
    UnknownTask {
        /// The field it appears in.
        field: &'static str,
        /// The task.
        task: TaskId,
    },
    /// A new task takes the id of one that has not exited.
    #[error("child tid is `{task}`, a task that is still alive; expected an id not in use")]
    TaskReused {
        /// The task.
        task: TaskId,
    },
    /// A line is none that strace writes.
    #[error("not a line of strace: `{found}`; expected {expected}")]
    StraceLine {
        /// The beginning of what there is.
        found: String,
        /// What there should be.
        expected: &'static str,
    },
    /// A call is said to go on that was not begun.
    #[error(
        "`<... {call} resumed>` for a task in no such call; expected a line of that call with `<unfinished ...>` before"
    )]
    NotBegun {
        /// The call.
        call: String,
    },
    /// A recorder does not tell names.
    #[error("the first task is to be the one named `{name}`, and strace does not tell names; expected a process id")]
    NoNames {
        /// The name asked for.
        name: String,
    },
}

/// Shows bytes of the file in a message, whatever they are.
pub(crate) fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
