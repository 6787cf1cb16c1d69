//! A recording, written anew in the form that its new name says.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use shootdown_recording::{ColumnWriter, Event, Header, Interpretation, Recording, TextWriter};

use super::{COMPACT, Error, summary::Summary};
use crate::{partial::PartialFile, progress::Progress};

/// What is to be written, and where.
#[derive(Debug)]
pub(crate) struct Conversion {
    /// What is read.
    pub(crate) input: PathBuf,
    /// What is written; `-` is standard output.
    pub(crate) output: PathBuf,
    /// Replace what is there.
    pub(crate) force: bool,
    /// How to read it.
    pub(crate) interpretation: Interpretation,
    /// What is known of it besides.
    pub(crate) notes: Vec<(String, String)>,
}

impl Conversion {
    /// Whether it goes to standard output.
    pub(crate) fn is_to_standard_output(&self) -> bool {
        self.output.as_os_str() == STANDARD_OUTPUT
    }

    /// Looks whether the output can be written, before anything is done for it.
    pub(crate) fn check_output(&self) -> Result<(), Error> {
        Form::by_name(&self.output)?;
        if self.is_to_standard_output() { Ok(()) } else { self.check_absent() }
    }

    /// Reads the recording to its end and writes it. A file is there when it is whole, or not at all.
    pub(crate) fn run(&self) -> Result<Summary, Error> {
        let form = Form::by_name(&self.output)?;
        self.check_output()?;
        let recording = Recording::open_as(&self.input, &self.interpretation)?;
        if self.is_to_standard_output() {
            let out = BufWriter::new(io::stdout().lock());
            return Ok(self.copy(recording, out, form, Error::from)?.1);
        }
        let unwritable = |error| unwritable(&self.output, &error);
        let file = PartialFile::create(&self.output).map_err(unwritable)?;
        let (file, summary) = self.copy(recording, file, form, unwritable)?;
        // It may have come meanwhile.
        self.check_absent()?;
        file.keep(&self.output).map_err(unwritable)?;
        Ok(summary)
    }

    fn check_absent(&self) -> Result<(), Error> {
        let path = &self.output;
        if path.is_dir() {
            return Err(format!("output {}: is a directory; expected the name of a file", path.display()).into());
        }
        if !self.force && path.symlink_metadata().is_ok() {
            let expected = "expected a name that is not in use, or --force to replace it";
            return Err(format!("output {}: is there already; {expected}", path.display()).into());
        }
        Ok(())
    }

    fn copy<W: Write>(
        &self,
        mut recording: Recording,
        out: W,
        form: Form,
        unwritable: impl Fn(io::Error) -> Error,
    ) -> Result<(W, Summary), Error> {
        const PROGRESS_EVENTS: u64 = 4096;
        let mut header = recording.header().clone();
        // A recording that has a name already keeps to it, if it is not told otherwise.
        header.workload = self.interpretation.workload.clone().unwrap_or(header.workload);
        header.notes.extend(self.notes.iter().cloned());
        let file = self.input.display().to_string();
        let mut progress = Progress::new(&file, recording.total_bytes().unwrap_or_default());
        let mut writer = Writer::new(Counted { out, n_bytes: 0 }, form, &header).map_err(&unwritable)?;
        let mut summary = Summary::new(file, form.name(), &header);
        while let Some(event) = recording.next() {
            let event = event?;
            writer.write(&event).map_err(&unwritable)?;
            summary.count(&event);
            if summary.events.is_multiple_of(PROGRESS_EVENTS) {
                progress.update(recording.position());
            }
        }
        let mut counted = writer.finish().map_err(&unwritable)?;
        counted.flush().map_err(&unwritable)?;
        summary.end(recording.position(), counted.n_bytes, progress.finish());
        Ok((counted.out, summary))
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    format!("output {}: {error}; expected a directory with room, in which files may be created", path.display()).into()
}

const STANDARD_OUTPUT: &str = "-";
const TEXT: &str = ".tlbt";

/// The form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Columns,
}

impl Form {
    fn by_name(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        // A name that is an ending alone would be that of a hidden file.
        let ends = |ending: &str| name.len() > ending.len() && name.ends_with(ending.as_bytes());
        match () {
            () if path.as_os_str() == STANDARD_OUTPUT || ends(TEXT) => Ok(Self::Text),
            () if ends(COMPACT) => Ok(Self::Columns),
            () => {
                let expected = "expected NAME.tlbt.zst (compact), NAME.tlbt (text) or - (text to standard output)";
                Err(format!("output {}: no form has this name; {expected}", path.display()).into())
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Columns => "columns",
        }
    }
}

enum Writer<W: Write> {
    Text(TextWriter<W>),
    Columns(Box<ColumnWriter<W>>),
}

impl<W: Write> Writer<W> {
    fn new(out: W, form: Form, header: &Header) -> io::Result<Self> {
        Ok(match form {
            Form::Text => Self::Text(TextWriter::new(out, header)?),
            Form::Columns => Self::Columns(Box::new(ColumnWriter::new(out, header)?)),
        })
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        match self {
            Self::Text(writer) => writer.write(event),
            Self::Columns(writer) => writer.write(event),
        }
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Self::Text(writer) => Ok(writer.finish()),
            Self::Columns(writer) => writer.finish(),
        }
    }
}

/// Counts what is written.
struct Counted<W> {
    out: W,
    n_bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_written = self.out.write(bytes)?;
        self.n_bytes += n_written as u64;
        Ok(n_written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
