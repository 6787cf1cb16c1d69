//! What a recording says of itself before its first event.

use std::io;

use crate::{error::Problem, event::TaskId, text};

/// What is known of a recording as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name of the workload.
    pub workload: String,
    /// The first task of the recorded process tree.
    pub root: TaskId,
    /// How much the recorder saw.
    pub detail: Detail,
    /// Where the recording is from, as names and texts for people: the recorder, the kernel, the number of CPUs.
    pub notes: Vec<(String, String)>,
}

/// The name of notes on what a recording lacks.
pub(crate) const MISSING: &str = "missing";

impl Header {
    /// Lists what the recorder could have seen and did not, with what is unknown therefore.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().filter(|(name, _)| name == MISSING).map(|(_, text)| text.as_str())
    }
}

/// How much the recorder of a workload saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Calls, faults and who ran where.
    Full,
    /// Calls only: nobody knows which pages were touched, nor where tasks ran. What a replay says is an upper bound.
    Calls,
}

impl Detail {
    /// Returns the name used in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Detail::Full => "full",
            Detail::Calls => "calls",
        }
    }
}

const WORKLOAD: &[u8] = b"workload";
const ROOT: &[u8] = b"root";
const DETAIL: &[u8] = b"detail";

/// The longest header accepted. Each note takes some of it, and memory.
pub(crate) const LONGEST_HEADER_BYTES: usize = 1 << 20;

/// A header whose lines are still being read.
#[derive(Debug, Default)]
pub(crate) struct HeaderLines {
    workload: Option<String>,
    root: Option<TaskId>,
    detail: Option<Detail>,
    notes: Vec<(String, String)>,
    n_bytes: usize,
}

impl HeaderLines {
    /// Takes in a line `# name: text`; any other line is a remark.
    pub(crate) fn add(&mut self, line: &[u8]) -> Result<(), Problem> {
        self.n_bytes += line.len() + 1;
        if self.n_bytes > LONGEST_HEADER_BYTES {
            return Err(Problem::HeaderTooLong { limit: LONGEST_HEADER_BYTES });
        }
        let Some((name, value)) = line.strip_prefix(b"# ").and_then(split) else {
            return Ok(());
        };
        match name {
            WORKLOAD => self.workload = Some(String::from_utf8_lossy(value).into_owned()),
            ROOT => self.root = Some(text::task("root", value)?),
            DETAIL => self.detail = Some(detail(value)?),
            _ => {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                self.notes.push((text(name), text(value)));
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Header, Problem> {
        Ok(Header {
            workload: self.workload.ok_or(Problem::MissingHeader { expected: "# workload: NAME" })?,
            root: self.root.ok_or(Problem::MissingHeader { expected: "# root: TID" })?,
            detail: self.detail.unwrap_or(Detail::Full),
            notes: self.notes,
        })
    }
}

impl Header {
    /// Lists the lines that stand for this header in a file, without their line ends.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let own = [("workload", self.workload.clone()), ("root", self.root.to_string())];
        let detail = (self.detail != Detail::Full).then(|| ("detail", self.detail.name().to_owned()));
        let notes = self.notes.iter().map(|(name, text)| (name.as_str(), text.clone()));
        own.into_iter().chain(detail).chain(notes).map(|(name, text)| format!("# {}: {}", flat(name), flat(&text)))
    }
}

/// Refuses to write a header that no reader accepts.
pub(crate) fn check_header(text: &[u8]) -> io::Result<()> {
    if text.len() <= LONGEST_HEADER_BYTES {
        return Ok(());
    }
    let problem = format!("the header has {} bytes; expected at most {LONGEST_HEADER_BYTES}", text.len());
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// A text that is to be part of a line.
fn flat(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.windows(2).position(|pair| pair == b": ")?;
    Some((line.get(..colon)?, line.get(colon + 2..)?))
}

fn detail(value: &[u8]) -> Result<Detail, Problem> {
    match value {
        b"full" => Ok(Detail::Full),
        b"calls" => Ok(Detail::Calls),
        _ => Err(Problem::Value { field: "detail", found: crate::error::shown(value), expected: "full or calls" }),
    }
}
