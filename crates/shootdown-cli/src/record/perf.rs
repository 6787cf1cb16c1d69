//! The recorder.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use shootdown_recording::{Syscall, Tracepoint};
use tempfile::TempDir;

use super::{Arguments, Error, machine::Machine};

/// What is left to those who cannot have more.
pub(crate) const FALLBACK: &str = "without all that, `strace -f -ttt -T --seccomp-bpf -e trace=%memory,%process -o FILE CMD` \
                                   records the calls, of which a replay makes an upper bound";

/// What perf has recorded.
pub(crate) struct Recorded {
    pub(crate) path: PathBuf,
    /// perf's process, of which the command was the child. Others may have recorded at the same time.
    pub(crate) recorder: u32,
    /// The machine's count of interrupts for TLBs in the meantime, if it has one.
    interrupts: Option<u64>,
    /// Where the file is, unless it was asked for.
    folder: Option<TempDir>,
}

impl Recorded {
    /// Keeps what was recorded, since it could not be read: it may have taken long to make. Returns the error with where it is.
    pub(crate) fn kept_after(self, error: Error) -> Error {
        if let Some(folder) = self.folder {
            // The folder stays from here on.
            drop(folder.keep());
        }
        format!("{error}\nwhat perf recorded is kept: `shootdown import {}`", self.path.display()).into()
    }

    /// What is noted of the recording beside what perf knows.
    pub(crate) fn notes(&self) -> Vec<(String, String)> {
        let interrupts = self.interrupts.map(|n| ("machine-wide TLB interrupts".to_owned(), n.to_string()));
        interrupts.into_iter().collect()
    }
}

/// Runs the command under perf.
pub(crate) fn record(arguments: &Arguments, machine: &Machine) -> Result<Recorded, Error> {
    let (path, folder) = match &arguments.perf_data {
        Some(path) => (path.clone(), None),
        None => {
            let folder = tempfile::tempdir().map_err(|error| format!("no room for what perf records: {error}"))?;
            (folder.path().join("perf.data"), Some(folder))
        }
    };
    if path.exists() {
        // What an earlier perf recorded must not pass for what this one did.
        fs::remove_file(&path).map_err(|error| format!("--perf-data {}: {error}", path.display()))?;
    }
    // Who interrupts a recording ends it: perf writes what there is, and we go on.
    ctrlc::set_handler(|| {})?;
    let perf = machine.perf.as_deref().unwrap_or(Path::new("perf"));
    let before = interrupts();
    let failed = |error| format!("cannot run {}: {error}", perf.display());
    let mut child = Command::new(perf)
        .args(options(arguments.buffer, &machine.tracepoints(), &path))
        .arg("--")
        .args(&arguments.command)
        .spawn()
        .map_err(failed)?;
    let recorder = child.id();
    let status = child.wait().map_err(failed)?;
    let n_interrupts = before.zip(interrupts()).map(|(before, after)| after.saturating_sub(before));
    let is_there = fs::metadata(&path).is_ok_and(|file| file.len() > 0);
    if !is_there {
        return Err(format!("perf recorded nothing, and ended with {status}; what it said is above").into());
    }
    if !status.success() {
        eprintln!("warning: the command, or perf, ended with {status}");
    }
    Ok(Recorded { path, recorder, interrupts: n_interrupts, folder })
}

/// The options of perf: the whole machine, as few events as will do, and a buffer large enough that none is lost.
fn options(buffer: u32, tracepoints: &[Tracepoint], path: &Path) -> Vec<OsString> {
    let mut options: Vec<OsString> = ["record", "-q", "-a", "-N", "-B", "-m"].map(OsString::from).into_iter().collect();
    options.extend([buffer.to_string().into(), "-o".into(), path.into()]);
    options.extend(tracepoints.iter().flat_map(|tracepoint| event(*tracepoint)).map(OsString::from));
    options
}

/// The options for one tracepoint. Of calls only those are wanted that concern memory, processes and placement.
fn event(tracepoint: Tracepoint) -> Vec<String> {
    let mut options = vec!["-e".to_owned(), tracepoint.to_string()];
    if matches!(tracepoint, Tracepoint::Enter | Tracepoint::Leave) {
        let calls: Vec<String> = Syscall::NAMED.iter().map(|call| format!("id=={}", call.number())).collect();
        options.extend(["--filter".to_owned(), calls.join("||")]);
    }
    options
}

/// The command line, as it can be given to a shell.
pub(crate) fn shown(arguments: &Arguments, tracepoints: &[Tracepoint], path: &Path) -> String {
    let options = options(arguments.buffer, tracepoints, path);
    let words = ["perf".into()].into_iter().chain(options).chain(["--".into()]).chain(arguments.command.clone());
    words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,+@%".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The `TLB` row of `/proc/interrupts`: remote flushes on all CPUs since the machine was started.
fn interrupts() -> Option<u64> {
    let text = fs::read_to_string("/proc/interrupts").ok()?;
    let row = text.lines().find_map(|line| line.trim_start().strip_prefix("TLB:"))?;
    Some(row.split_whitespace().map_while(|count| count.parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_words_as_they_were() {
        assert_eq!(quoted(OsStr::new("id==9||id==10")), "'id==9||id==10'");
        assert_eq!(quoted(OsStr::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(OsStr::new("raw_syscalls:sys_enter")), "raw_syscalls:sys_enter");
        assert_eq!(quoted(OsStr::new("")), "''");
    }
}
