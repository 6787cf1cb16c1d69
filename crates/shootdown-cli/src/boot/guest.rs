//! The emulated machine: starting it, listening to its serial line, and ending it if it does not.

use std::{
    ffi::OsString,
    io::{self, ErrorKind, Read, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{Arguments, Error, Outcome, outcome::Ending};

const QEMU: &str = "qemu-system-x86_64";

/// Without `cx16`, with which older versions go wrong; and without `erms`, so that who clears a page stores words: otherwise
/// a kernel that knows of it would be counted an instruction for each byte.
const CPU: &str = "max,-cx16,-erms";

const MACHINE: [&str; 9] =
    ["-machine", "q35", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-cpu"];

/// What runs on a machine.
pub(super) enum System<'s> {
    /// Our kernel, and the program for user mode.
    Ours { kernel: &'s Path, program: &'s Path },
    /// A Linux kernel, and an archive with the program as its first process.
    Linux { kernel: &'s Path, archive: &'s Path },
}

impl System<'_> {
    /// Options of QEMU's.
    fn options(&self, arguments: &Arguments) -> Vec<OsString> {
        let (kernel, initrd, command_line, rest): (_, _, _, &[&str]) = match self {
            System::Ours { kernel, program } => (
                kernel,
                program,
                kernel_command_line(arguments),
                &["-m", "512", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"],
            ),
            // Large pages for the tables of the bench, one each, and some to spare.
            System::Linux { kernel, archive } => (
                kernel,
                archive,
                "console=ttyS0 quiet panic=-1 mitigations=off nokaslr norandmaps tsc=reliable hugepages=80 rdinit=/init -- bench"
                    .to_owned(),
                &["-m", "1024"],
            ),
        };
        let mut options: Vec<OsString> = rest.iter().map(OsString::from).collect();
        options.extend([
            "-kernel".into(),
            kernel.as_os_str().to_owned(),
            "-initrd".into(),
            initrd.as_os_str().to_owned(),
            "-append".into(),
            command_line.into(),
        ]);
        options
    }
}

/// Looks whether there is a QEMU.
pub(super) fn find_qemu() -> Result<(), Error> {
    match Command::new(QEMU).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(format!("there is no {QEMU}: install the package qemu-system-x86").into())
        }
        Err(error) => Err(format!("{QEMU} cannot be started: {error}").into()),
    }
}

/// A machine that runs.
pub(super) struct Guest(Child);

impl Guest {
    /// Starts a machine.
    pub(super) fn start(arguments: &Arguments, system: &System<'_>) -> Result<Guest, Error> {
        let mut qemu = Command::new(QEMU);
        // Otherwise one thread for all: more CPUs than cores would wait for each other's time slices.
        qemu.args(["-accel", if arguments.parallel { "tcg,thread=multi" } else { "tcg,thread=single" }]);
        qemu.args(MACHINE).args([CPU, "-smp", &arguments.cpus.to_string()]).args(system.options(arguments));
        if arguments.icount {
            // One nanosecond an instruction, and nothing from outside: the seed decides everything.
            qemu.args(["-icount", "shift=0,sleep=off", "-rtc", "clock=vm,base=2020-01-01", "-seed", "1"]);
        }
        let child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Guest(child))
    }

    /// Listens until the machine ends, and shows what it says if asked to.
    pub(super) fn watch(mut self, time_limit: Duration, shows: bool) -> Result<Outcome, Error> {
        let deadline = Instant::now() + time_limit;
        let (sender, receiver) = mpsc::channel();
        let mut serial = self.0.stdout.take().ok_or("the serial line is not there")?;
        thread::spawn(move || {
            let mut bytes = [0; 256];
            while let Ok(n_bytes @ 1..) = serial.read(&mut bytes) {
                // Fails if nobody listens any more.
                if sender.send(bytes[..n_bytes].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut said = Vec::new();
        let mut console = Console::default();
        loop {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    if shows && let Err(error) = console.show(&bytes) {
                        // Nobody reads any more: then nobody needs the machine either.
                        self.end()?;
                        return Err(error.into());
                    }
                    said.extend(bytes);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.end()?;
                    return Ok(Outcome::new(&said, Ending::TimeLimit(time_limit)));
                }
            }
        }
        let output = self.0.wait_with_output()?;
        let ending = Ending::of_status(output.status.code());
        if let Ending::Strange(_) = ending
            && !output.stderr.is_empty()
        {
            return Err(format!("{QEMU}: {}", String::from_utf8_lossy(&output.stderr).trim_end()).into());
        }
        Ok(Outcome::new(&said, ending))
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

/// Shows what a machine says, but for lines that are meant for this command.
#[derive(Default)]
struct Console {
    // The beginning of a line, as long as it may be one of those.
    pending: Vec<u8>,
    // Whether the rest of the line is shown, once that is known.
    is_shown: Option<bool>,
}

impl Console {
    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        let shown = self.take(bytes);
        let mut out = io::stdout().lock();
        out.write_all(&shown)?;
        out.flush()
    }

    /// Takes what was said and returns what of it is to be shown by now.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        for byte in bytes {
            match self.is_shown {
                Some(true) => shown.push(*byte),
                Some(false) => {}
                None => {
                    self.pending.push(*byte);
                    let is_data = FOR_COMMAND.iter().any(|begin| self.pending.starts_with(begin));
                    let may_be_data = FOR_COMMAND.iter().any(|begin| begin.starts_with(&self.pending));
                    if is_data || !may_be_data {
                        self.is_shown = Some(!is_data);
                        let pending = std::mem::take(&mut self.pending);
                        shown.extend(pending.into_iter().filter(|_| !is_data));
                    }
                }
            }
            if *byte == b'\n' {
                self.is_shown = None;
            }
        }
        shown
    }
}

/// How lines begin that the program has for this command.
const FOR_COMMAND: [&[u8]; 3] = [b"row\t", b"kernel\t", b"status\t"];

/// What the kernel reads, see its `command_line.rs`.
fn kernel_command_line(arguments: &Arguments) -> String {
    let mut words = vec![format!("seed={}", arguments.seed), format!("operations={}", arguments.operations)];
    words.extend(arguments.test.iter().map(|name| format!("test={name}")));
    words.extend(arguments.without.iter().map(|name| format!("without={name}")));
    if arguments.icount {
        words.push("icount".to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_the_command_are_not_shown_however_they_come() {
        let said = b"test bench ... row of things\nrow\tx\t1\t2\nrows\nstatus\t0\nok\n";
        for n_bytes in 1..said.len() {
            let mut console = Console::default();
            let shown: Vec<u8> = said.chunks(n_bytes).flat_map(|bytes| console.take(bytes)).collect();
            assert_eq!(String::from_utf8_lossy(&shown), "test bench ... row of things\nrows\nok\n");
        }
    }

    #[test]
    fn what_is_no_line_for_the_command_is_shown_before_it_ends() {
        assert_eq!(Console::default().take(b"test stress ... "), b"test stress ... ");
    }
}
