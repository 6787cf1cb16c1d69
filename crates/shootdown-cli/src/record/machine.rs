//! Whether this machine lets anybody record, and what it lacks.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
};

use shootdown_recording::{CallFunction, Tracepoint};

/// Where tracefs may be mounted.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;

/// What stands in the way of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Nothing can be recorded, and what to do about it.
    Fatal(String),
    /// A tracepoint is missing that a recording can do without.
    Missing(Tracepoint),
}

impl Obstacle {
    /// What to do about it, if nothing can be recorded before that is done.
    pub(crate) fn fatal(&self) -> Option<&str> {
        match self {
            Obstacle::Fatal(text) => Some(text),
            Obstacle::Missing(..) => None,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Fatal(text) => f.write_str(text),
            Obstacle::Missing(tracepoint) => write!(f, "no tracepoint {tracepoint}: {}", tracepoint.without()),
        }
    }
}

/// What is known of this machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) perf: Option<PathBuf>,
    tracefs: Option<PathBuf>,
    may_trace: bool,
    has_symbols: bool,
}

impl Machine {
    pub(crate) fn look() -> Self {
        Machine {
            perf: find_perf(),
            tracefs: TRACEFS.iter().map(Path::new).find(|path| path.join("events").is_dir()).map(Path::to_owned),
            may_trace: may_trace(),
            has_symbols: has_symbols(),
        }
    }

    /// The tracepoints that are there.
    pub(crate) fn tracepoints(&self) -> Vec<Tracepoint> {
        Tracepoint::ALL.into_iter().filter(|tracepoint| self.has(tracepoint)).collect()
    }

    fn has(&self, tracepoint: &Tracepoint) -> bool {
        let events = self.tracefs.as_ref().map(|tracefs| tracefs.join("events"));
        events.is_some_and(|events| events.join(tracepoint.system()).join(tracepoint.name()).join("id").is_file())
    }

    /// Everything that stands in the way, worst first.
    pub(crate) fn obstacles(&self) -> Vec<Obstacle> {
        let mut obstacles = Vec::new();
        let mut fatal = |text: &str| obstacles.push(Obstacle::Fatal(text.to_owned()));
        if env::consts::ARCH != "x86_64" || env::consts::OS != "linux" {
            fatal("this is no Linux on x86-64, of which recordings are: only there page faults say what was attempted");
        }
        if self.perf.is_none() {
            fatal("perf is not installed: package linux-perf of Debian, linux-tools-generic of Ubuntu, perf of others");
        }
        if !self.may_trace {
            fatal(
                "perf may not look at the whole machine: run this as root, or with CAP_PERFMON, or set \
                 kernel.perf_event_paranoid to -1",
            );
        }
        if self.tracefs.is_none() {
            fatal(
                "the tracepoints are not there, or not for you: `mount -t tracefs nodev /sys/kernel/tracing` as root",
            );
            return obstacles;
        }
        for tracepoint in Tracepoint::ALL.into_iter().filter(|tracepoint| !self.has(tracepoint)) {
            obstacles.push(if tracepoint.is_needed() {
                let cost = tracepoint.without();
                Obstacle::Fatal(format!("this kernel has no tracepoint {tracepoint}, and nothing replaces it: {cost}"))
            } else {
                Obstacle::Missing(tracepoint)
            });
        }
        if !self.has_symbols {
            obstacles.push(Obstacle::Fatal(
                "/proc/kallsyms hides the addresses of functions, so that requests to flush cannot be told from others: set \
                 kernel.kptr_restrict to 0 or 1"
                    .to_owned(),
            ));
        }
        obstacles.sort_by_key(|obstacle| matches!(obstacle, Obstacle::Missing(..)));
        obstacles
    }
}

fn find_perf() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join("perf")).find(|path| path.is_file())
}

fn may_trace() -> bool {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok();
    let is_open = paranoid.and_then(|level| level.trim().parse::<i32>().ok()).is_some_and(|level| level < 0);
    is_open || has_capability(CAP_PERFMON) || has_capability(CAP_SYS_ADMIN)
}

fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or_default();
    bits >> number & 1 != 0
}

/// Whether the kernel shows where its functions are: to whom it does not, all are at 0.
fn has_symbols() -> bool {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let flush = symbols.lines().find(|line| line.split(' ').nth(2) == Some(CallFunction::FlushTlb.symbol()));
    flush.is_some_and(|line| !line.starts_with("0000000000000000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let machine = Machine { perf: None, tracefs: None, may_trace: false, has_symbols: false };
        let text: Vec<String> = machine
            .obstacles()
            .into_iter()
            .map(|obstacle| match obstacle {
                Obstacle::Fatal(text) => text,
                Obstacle::Missing(..) => panic!("without tracefs no tracepoint is looked for"),
            })
            .collect();
        for hint in ["package linux-perf", "as root", "mount -t tracefs"] {
            assert!(text.iter().any(|text| text.contains(hint)), "{hint}: {text:?}");
        }
    }

    #[test]
    fn a_kernel_without_the_truth_can_be_recorded_and_one_without_faults_cannot() {
        let tracefs = tempfile::tempdir().expect("a directory");
        let machine = Machine {
            perf: Some("perf".into()),
            tracefs: Some(tracefs.path().to_owned()),
            may_trace: true,
            has_symbols: true,
        };
        for tracepoint in Tracepoint::ALL {
            let folder = tracefs.path().join("events").join(tracepoint.system()).join(tracepoint.name());
            fs::create_dir_all(&folder).expect("a directory");
            fs::write(folder.join("id"), "1\n").expect("a file");
        }
        let is_x86_64_linux = env::consts::ARCH == "x86_64" && env::consts::OS == "linux";
        assert_eq!(machine.obstacles().is_empty(), is_x86_64_linux);
        let remove = |name: &str| fs::remove_dir_all(tracefs.path().join("events").join(name)).expect("it is there");
        remove("csd");
        let is_about =
            |obstacle: &Obstacle, name: &str| matches!(obstacle, Obstacle::Missing(point) if point.name() == name);
        assert!(machine.obstacles().iter().any(|obstacle| is_about(obstacle, "csd_queue_cpu")));
        remove("exceptions");
        let is_fatal =
            |obstacle: &Obstacle| matches!(obstacle, Obstacle::Fatal(text) if text.contains("page_fault_user"));
        assert!(machine.obstacles().iter().any(is_fatal));
    }
}
