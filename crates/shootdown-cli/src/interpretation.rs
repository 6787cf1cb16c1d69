//! What the files of other tools leave open.

use std::path::PathBuf;

use shootdown_recording::{Interpretation, Root};

/// Arguments that answer it.
#[derive(Debug, clap::Args)]
pub(crate) struct OpenQuestions {
    /// Whose process tree to take, by process id or name, of another tool's recording of a whole machine
    #[arg(long, value_name = "PID|NAME", value_parser = root)]
    root: Option<Root>,
    /// Kernel symbols in the form of /proc/kallsyms, to tell what CPUs were asked to call in a perf.data of another machine
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
}

impl OpenQuestions {
    pub(crate) fn interpretation(&self, workload: Option<&str>) -> Interpretation {
        Interpretation { workload: workload.map(str::to_owned), root: self.root.clone(), symbols: self.symbols.clone() }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_of_digits_is_a_process_id() {
        assert_eq!(root("4711"), Ok(Root::Process(4711)));
        assert_eq!(root("make"), Ok(Root::Named("make".to_owned())));
        assert!(root("").is_err());
        assert!(root("a-name-of-16-byte").is_err());
    }
}
