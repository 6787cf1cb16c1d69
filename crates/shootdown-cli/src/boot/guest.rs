//! The emulated machine: starting it, listening to its serial line, and ending it if it does not.

use std::{
    io::{self, ErrorKind, Read, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{Arguments, Error, Outcome, outcome::Ending};

const QEMU: &str = "qemu-system-x86_64";

/// Without `cx16`, with which older versions go wrong.
const MACHINE: [&str; 15] = [
    "-cpu",
    "max,-cx16",
    "-machine",
    "q35",
    "-m",
    "128",
    "-nodefaults",
    "-no-reboot",
    "-display",
    "none",
    "-serial",
    "stdio",
    "-device",
    "isa-debug-exit,iobase=0xf4,iosize=1",
    "-kernel",
];

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
    /// Starts a machine that boots `kernel`.
    pub(super) fn start(arguments: &Arguments, kernel: &Path) -> Result<Guest, Error> {
        let mut qemu = Command::new(QEMU);
        // Otherwise one thread for all: more CPUs than cores would wait for each other's time slices.
        qemu.args(["-accel", if arguments.parallel { "tcg,thread=multi" } else { "tcg,thread=single" }]);
        qemu.args(MACHINE).arg(kernel);
        qemu.args(["-smp", &arguments.cpus.to_string(), "-append", &kernel_command_line(arguments)]);
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
        loop {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    if shows && let Err(error) = show(&bytes) {
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

fn show(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

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
