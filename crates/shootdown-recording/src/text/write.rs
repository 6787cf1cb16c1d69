//! Writing the text form.

use std::io::{self, Write};

use crate::{
    event::{Actor, Event, EventKind, Mode, PreviousState},
    header::{Header, check_header},
    lines::LONGEST_LINE_BYTES,
    syscall::Syscall,
    text::parse::HIGHEST_DECIMAL_RESULT,
};

/// The highest result whose hexadecimal digits could be a decimal result.
const HIGHEST_AMBIGUOUS_RESULT: i64 = 0x4096;

/// Writes a recording as text.
#[derive(Debug)]
pub struct TextWriter<W: Write> {
    out: W,
    at_ns: u64,
}

impl<W: Write> TextWriter<W> {
    /// Writes the header. `out` is written to in small pieces.
    ///
    /// # Errors
    /// Those of `out`; and `InvalidInput` if the header is longer than 1 MiB, which no reader accepts.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let mut text = b"# tlbt-sample 1\n".to_vec();
        for line in header.lines() {
            // A note can be longer in other forms; a text of which the rest could not be read would be worse.
            let (line, _) = line.split_at(line.floor_char_boundary(LONGEST_LINE_BYTES));
            writeln!(text, "{line}")?;
        }
        check_header(&text)?;
        out.write_all(&text)?;
        Ok(Self { out, at_ns: 0 })
    }

    /// Writes an event.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        let since_ns = event.at_ns.saturating_sub(self.at_ns);
        self.at_ns = event.at_ns;
        write!(self.out, "{since_ns}\t{}\t{}\t", event.cpu, actor(event.actor))?;
        write_kind(&mut self.out, &event.kind)?;
        self.out.write_all(b"\n")
    }

    /// Returns what was written to, to be flushed or looked at.
    pub fn finish(self) -> W {
        self.out
    }
}

fn actor(actor: Actor) -> i64 {
    match actor {
        Actor::Task(task) => i64::from(task.0),
        Actor::Idle => 0,
        Actor::KernelThread => -1,
        Actor::Foreign => -2,
    }
}

fn write_kind(out: &mut impl Write, kind: &EventKind) -> io::Result<()> {
    match *kind {
        EventKind::SyscallEntry { call, args } => write_entry(out, call, &args),
        EventKind::SyscallExit { call, result } => write_exit(out, call, result),
        EventKind::NewTask { child, flags } => write!(out, "N\t{child}\t{flags:x}"),
        EventKind::Exec => write!(out, "C"),
        EventKind::Exit => write!(out, "Q"),
        EventKind::TornDown => write!(out, "M"),
        EventKind::Switch { next, previous } => write!(out, "S\t{}\t{}", actor(next), state(previous)),
        EventKind::Fault { address, from, access } => {
            let letter = if from == Mode::User { 'F' } else { 'K' };
            write!(out, "{letter}\t{address:x}\t{}", access.error_code())
        }
        EventKind::FlushTruth { reason, pages: Some(pages) } => write!(out, "T\t{}\t{pages}", reason.number()),
        EventKind::FlushTruth { reason, pages: None } => write!(out, "T\t{}\t-1", reason.number()),
        EventKind::CallTruth { target, function } => write!(out, "I\t{target}\t{}", function.symbol()),
        EventKind::Lost { n_events } => write!(out, "L\t{n_events}"),
    }
}

/// Arguments at the end that are 0 are left out.
fn write_entry(out: &mut impl Write, call: Syscall, args: &[u64; 6]) -> io::Result<()> {
    write!(out, "E\t{}", call.number())?;
    let n_args = args.iter().rposition(|arg| *arg != 0).map_or(0, |last| last + 1);
    args.iter().take(n_args).try_for_each(|arg| write!(out, "\t{arg:x}"))
}

fn write_exit(out: &mut impl Write, call: Syscall, result: i64) -> io::Result<()> {
    let number = call.number();
    if call.creates_task() || result <= HIGHEST_DECIMAL_RESULT as i64 {
        return write!(out, "X\t{number}\t{result}");
    }
    // The digits alone could be decimal.
    let prefix = if result <= HIGHEST_AMBIGUOUS_RESULT { "0x" } else { "" };
    write!(out, "X\t{number}\t{prefix}{result:x}")
}

const fn state(state: PreviousState) -> char {
    match state {
        PreviousState::Runnable => 'R',
        PreviousState::Asleep => 'S',
    }
}
