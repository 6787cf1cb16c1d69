//! What other tools record, as events.

mod moment;
pub(crate) mod perf_data;
pub(crate) mod strace;
mod symbols;
pub(crate) mod trace_text;
mod tracepoint;
mod tree;

use std::path::{Path, PathBuf};

pub use tracepoint::Tracepoint;

use crate::{
    event::TaskId,
    header::{Detail, Header},
};

/// How to read a file that another tool wrote and that leaves something open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interpretation {
    /// The workload's name; the file's if there is none.
    pub workload: Option<String>,
    /// Whose process tree is the workload, of all that a recorder of whole machines saw; the command that `perf record` ran if
    /// nobody is named. If several of them ran at once, the first.
    pub root: Option<Root>,
    /// A file of kernel symbols in the form of `/proc/kallsyms`, which tells what the functions are that CPUs were asked to
    /// call. Nothing else of it is used.
    pub symbols: Option<PathBuf>,
}

/// The first task of a process tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// By its process id on the recorded machine.
    Process(u32),
    /// By its name there, as the kernel keeps it: at most 15 bytes. The first task that has it.
    Named(String),
    /// As the first child of a process: of the recorder, that is.
    ChildOf(u32),
}

/// What is said of a file of another tool, which itself says nothing.
pub(crate) fn header(
    file: &str,
    detail: Detail,
    notes: Vec<(String, String)>,
    interpretation: &Interpretation,
) -> Header {
    let workload = interpretation.workload.clone().unwrap_or_else(|| name_of(file));
    Header { workload, root: TaskId::FIRST, detail, notes }
}

/// The name of a file, up to the first dot.
fn name_of(file: &str) -> String {
    let name = Path::new(file).file_name().map_or_else(|| file.into(), |name| name.to_string_lossy());
    name.split('.').find(|part| !part.is_empty()).unwrap_or(file).to_owned()
}
