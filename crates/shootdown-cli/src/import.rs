//! `shootdown import`.

use std::{
    ffi::OsStr,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use shootdown_recording::{
    ColumnWriter, Detail, Event, EventKind, Header, Interpretation, Recording, Root, TextWriter,
};

use crate::{FINE, partial::PartialFile, progress::Progress, table::thousands};

/// Arguments of `shootdown import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shootdown import perf.data                          to perf.tlbt.zst, which `shootdown replay` takes
  shootdown import perf.data -o gcc.tlbt.zst --root make
                                                      the tree of the first process of that name
  shootdown import gcc.tlbt.zst -o gcc.tlbt           to text, for reading
  shootdown import gcc.tlbt.zst -o - | grep -c F      the same, through a pipe
  shootdown import perf.data --symbols kallsyms       a copy of the recorded machine's /proc/kallsyms

The output's name says its form: NAME.tlbt.zst is compact (columns, compressed), NAME.tlbt and - are text. It gets
its name when it is whole; after an error there is none.
The summary goes to standard output, or to standard error with -o -.

Exit status: 0 imported, 2 unusable input or output.")]
pub(crate) struct Arguments {
    /// A recording, or what another tool recorded; compressed with zstd or not
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to [default: beside FILE, its name ending in .tlbt.zst]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Replace OUT if it is there
    #[arg(long)]
    force: bool,
    /// Whose process tree to take, by process id or name (other tools' recordings of whole machines)
    #[arg(long, value_name = "PID|NAME", value_parser = root)]
    root: Option<Root>,
    /// Kernel symbols in the form of /proc/kallsyms, to tell what CPUs were asked to call (other tools' recordings)
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
    /// What to call the workload
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// The longest name that a kernel keeps.
const LONGEST_NAME_BYTES: usize = 15;

/// Digits are a process id; a process whose name is digits cannot be asked for.
fn root(text: &str) -> Result<Root, String> {
    if text.is_empty() || text.len() > LONGEST_NAME_BYTES {
        return Err(format!(
            "expected a process id, or a name of 1 to {LONGEST_NAME_BYTES} bytes as the kernel keeps it"
        ));
    }
    Ok(text.parse().map_or_else(|_| Root::Named(text.to_owned()), Root::Process))
}

type Error = Box<dyn std::error::Error>;

/// Runs the command and returns its exit status.
pub(crate) fn run(arguments: &Arguments) -> Result<u8, Error> {
    let path = arguments.output.clone().unwrap_or_else(|| beside(&arguments.file));
    let form = Form::by_name(&path)?;
    let is_standard = path.as_os_str() == STANDARD_OUTPUT;
    if !is_standard {
        check_absent(&path, arguments)?;
    }
    let interpretation = Interpretation {
        workload: arguments.name.clone(),
        root: arguments.root.clone(),
        symbols: arguments.symbols.clone(),
    };
    let recording = Recording::open_as(&arguments.file, &interpretation)?;
    let summary = if is_standard {
        let (_, summary) = copy(recording, BufWriter::new(io::stdout().lock()), form, arguments, |error| error.into())?;
        summary
    } else {
        let unwritable = |error| unwritable(&path, &error);
        let file = PartialFile::create(&path).map_err(unwritable)?;
        let (file, summary) = copy(recording, file, form, arguments, unwritable)?;
        // It may have come meanwhile.
        check_absent(&path, arguments)?;
        file.keep(&path).map_err(unwritable)?;
        summary
    };
    let text = summary.shown(&path, arguments.json)?;
    if is_standard {
        writeln!(io::stderr(), "{text}")?
    } else {
        writeln!(io::stdout(), "{text}")?
    }
    Ok(FINE)
}

const STANDARD_OUTPUT: &str = "-";
const COMPACT: &str = ".tlbt.zst";
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

/// The name of an output that has none: that of the file, with another ending.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.to_path_buf();
    if name.extension() == Some(OsStr::new("zst")) {
        name.set_extension("");
    }
    name.set_extension("");
    name.as_mut_os_string().push(COMPACT);
    name
}

fn check_absent(path: &Path, arguments: &Arguments) -> Result<(), Error> {
    if path.is_dir() {
        return Err(format!("output {}: is a directory; expected the name of a file", path.display()).into());
    }
    if !arguments.force && path.symlink_metadata().is_ok() {
        let expected = "expected a name that is not in use, or --force to replace it";
        return Err(format!("output {}: is there already; {expected}", path.display()).into());
    }
    Ok(())
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    format!("output {}: {error}; expected a directory with room, in which files may be created", path.display()).into()
}

/// Reads a recording to its end and writes it in its new form.
fn copy<W: Write>(
    mut recording: Recording,
    out: W,
    form: Form,
    arguments: &Arguments,
    unwritable: impl Fn(io::Error) -> Error,
) -> Result<(W, Summary), Error> {
    const PROGRESS_EVENTS: u64 = 4096;
    let mut header = recording.header().clone();
    // A recording that has a name already keeps to it, if it is not told otherwise.
    header.workload = arguments.name.clone().unwrap_or(header.workload);
    let file = arguments.file.display().to_string();
    let mut progress = Progress::new(&file, recording.total_bytes().unwrap_or_default());
    let mut writer = Writer::new(Counted { out, n_bytes: 0 }, form, &header).map_err(&unwritable)?;
    let mut summary = Summary::new(file, form, &header);
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

/// The version of the summary in JSON.
const SCHEMA: u32 = 1;

/// What was imported.
#[derive(Debug, Serialize)]
struct Summary {
    schema: u32,
    input: String,
    output: String,
    form: &'static str,
    recording: String,
    detail: &'static str,
    events: u64,
    /// Tasks that ever were.
    tasks: u64,
    lost_events: u64,
    /// Recorded time.
    seconds: f64,
    input_bytes: u64,
    output_bytes: u64,
    bytes_per_event: f64,
    took_seconds: f64,
    #[serde(skip)]
    n_ns: u64,
}

impl Summary {
    fn new(input: String, form: Form, header: &Header) -> Self {
        Self {
            schema: SCHEMA,
            input,
            output: String::new(),
            form: form.name(),
            recording: header.workload.clone(),
            detail: header.detail.name(),
            events: 0,
            tasks: 1,
            lost_events: 0,
            seconds: 0.0,
            input_bytes: 0,
            output_bytes: 0,
            bytes_per_event: 0.0,
            took_seconds: 0.0,
            n_ns: 0,
        }
    }

    fn count(&mut self, event: &Event) {
        self.events += 1;
        self.n_ns = event.at_ns;
        match event.kind {
            EventKind::NewTask { .. } => self.tasks += 1,
            EventKind::Lost { n_events } => self.lost_events = self.lost_events.saturating_add(n_events),
            _ => {}
        }
    }

    fn end(&mut self, input_bytes: u64, output_bytes: u64, took: Duration) {
        (self.input_bytes, self.output_bytes) = (input_bytes, output_bytes);
        self.seconds = Duration::from_nanos(self.n_ns).as_secs_f64();
        self.bytes_per_event = output_bytes as f64 / self.events.max(1) as f64;
        self.took_seconds = took.as_secs_f64();
    }

    fn shown(mut self, output: &Path, json: bool) -> Result<String, Error> {
        self.output = output.display().to_string();
        if json {
            return Ok(serde_json::to_string(&self)?);
        }
        let mb_per_second = self.input_bytes as f64 / 1e6 / self.took_seconds.max(1e-6);
        let mut text = format!(
            "{}: {} events of {} tasks, {:.2} s, to {} ({:.2} bytes an event); {mb_per_second:.1} MB/s read",
            self.recording,
            thousands(self.events),
            thousands(self.tasks),
            self.seconds,
            self.output,
            self.bytes_per_event,
        );
        if self.lost_events > 0 {
            text += &format!("\nthe recorder lost {} events: no replay of it is exact", thousands(self.lost_events));
        }
        if self.detail == Detail::Calls.name() {
            text += "\ncalls only: a replay of it is an upper bound";
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_without_name_is_beside_its_input() {
        for (file, output) in [
            ("perf.data", "perf.tlbt.zst"),
            ("a/perf.data.old", "a/perf.data.tlbt.zst"),
            ("trace", "trace.tlbt.zst"),
            ("x.tlbt", "x.tlbt.zst"),
            ("x.tlbt.zst", "x.tlbt.zst"),
            ("x.txt.zst", "x.tlbt.zst"),
        ] {
            assert_eq!(beside(Path::new(file)), Path::new(output));
        }
    }

    #[test]
    fn a_root_of_digits_is_a_process_id() {
        assert_eq!(root("4711"), Ok(Root::Process(4711)));
        assert_eq!(root("make"), Ok(Root::Named("make".to_owned())));
        assert!(root("").is_err());
        assert!(root("a-name-of-16-byte").is_err());
    }
}
