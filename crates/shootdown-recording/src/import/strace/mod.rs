//! What `strace -f -ttt -T` writes, as a recording of calls only.
//!
//! Owns [`Strace`]. `line` splits a line, `scan`, `value`, `flags` and `errno` say what is in its call, `call` which arguments a
//! call has, `tasks` who is who and which line ends which call, and `order` when which event is told.
//!
//! strace writes a line when a call has returned, or when another task does something meanwhile; then the rest of it comes later,
//! behind `<... name resumed>`. Either way lines come in the order of what they begin with: their times never decrease.

mod call;
mod errno;
mod flags;
mod line;
mod order;
mod scan;
mod tasks;
mod value;

use crate::{
    error::{At, Problem},
    event::Event,
    header::{Detail, Header},
    import::{self, Interpretation, Root},
    input::Input,
    lines::Lines,
    source::Source,
};

pub(crate) use line::begins_like_strace;

/// The longest line accepted. Strace cuts strings, but `-s` says where, and `execve` has many.
const LONGEST_LINE_BYTES: usize = 64 * 1024;

/// The events of a text that strace wrote.
pub(crate) struct Strace {
    lines: Lines,
    /// The first part of a line into which strace's own message went.
    begun: Vec<u8>,
    tasks: tasks::Tasks,
}

impl Strace {
    /// Makes the header, of which the file has nothing.
    pub(crate) fn open(
        input: Input,
        file: &str,
        interpretation: &Interpretation,
    ) -> Result<(Header, Self), (At, Problem)> {
        let root = match &interpretation.root {
            None => None,
            Some(Root::Process(process)) => Some(*process),
            Some(Root::Named(name)) => return Err((At::Line(1), Problem::NoNames { name: name.clone() })),
            Some(Root::ChildOf(process)) => {
                let root = format!("strace does not say whose child the first task is, and not that it is {process}'s");
                return Err((At::Line(1), Problem::NoRoot { root }));
            }
        };
        let notes = vec![("recorder".to_owned(), "strace".to_owned())];
        let header = import::header(file, Detail::Calls, notes, interpretation);
        let lines = Lines::with_longest(input, LONGEST_LINE_BYTES);
        Ok((header, Self { lines, begun: Vec::new(), tasks: tasks::Tasks::new(root) }))
    }

    /// Takes in one line; `false` at the end of the file.
    fn read_line(&mut self) -> Result<bool, Problem> {
        let Self { lines, begun, tasks } = self;
        let Some(text) = lines.next_line()? else {
            tasks.finish()?;
            return Ok(false);
        };
        match line::before_message(text) {
            // On a line of its own.
            Some([]) => return Ok(true),
            Some(before) => begun.extend_from_slice(before),
            None if begun.is_empty() => tasks.observe(&line::split(text)?)?,
            None => {
                begun.extend_from_slice(text);
                tasks.observe(&line::split(begun)?)?;
                begun.clear();
            }
        }
        match begun.len() <= LONGEST_LINE_BYTES {
            true => Ok(true),
            false => Err(Problem::LineTooLong { limit: LONGEST_LINE_BYTES }),
        }
    }
}

impl Source for Strace {
    fn next_event(&mut self) -> Result<Option<Event>, Problem> {
        loop {
            if let Some(event) = self.tasks.next() {
                return Ok(Some(event));
            }
            if !self.read_line()? {
                return Ok(self.tasks.next());
            }
        }
    }

    fn at(&self) -> At {
        At::Line(self.lines.number())
    }

    fn position_bytes(&self) -> u64 {
        self.lines.position_bytes()
    }
}
