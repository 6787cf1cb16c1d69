//! `shootdown import`.

mod conversion;
mod summary;

use std::{
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
};

pub(crate) use self::conversion::Conversion;
use crate::{FINE, interpretation::OpenQuestions};

/// Arguments of `shootdown import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shootdown import perf.data                          to perf.tlbt.zst, which `shootdown replay` takes
  shootdown import perf.data -o gcc.tlbt.zst --root make
                                                      the tree of the first process of that name
  shootdown import gcc.tlbt.zst -o gcc.tlbt           to text, for reading
  shootdown import gcc.tlbt.zst -o - | grep -c F      the same, through a pipe
  shootdown import perf.data --symbols kallsyms       with a copy of the recorded machine's /proc/kallsyms

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
    #[command(flatten)]
    interpretation: OpenQuestions,
    /// What to call the workload
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

type Error = Box<dyn std::error::Error>;

/// Runs the command and returns its exit status.
pub(crate) fn run(arguments: &Arguments) -> Result<u8, Error> {
    let conversion = Conversion {
        input: arguments.file.clone(),
        output: arguments.output.clone().unwrap_or_else(|| beside(&arguments.file)),
        force: arguments.force,
        interpretation: arguments.interpretation.interpretation(arguments.name.as_deref()),
        notes: Vec::new(),
    };
    let text = conversion.run()?.shown(&conversion.output, arguments.json)?;
    if conversion.is_to_standard_output() {
        writeln!(io::stderr(), "{text}")?;
    } else {
        writeln!(io::stdout(), "{text}")?;
    }
    Ok(FINE)
}

/// What the name of a compact recording ends in.
pub(crate) const COMPACT: &str = ".tlbt.zst";

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
}
