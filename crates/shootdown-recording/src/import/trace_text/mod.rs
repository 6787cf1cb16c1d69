//! The text that tracers print: `perf script`, the `trace` file of tracefs, `trace-cmd report`.

mod line;
mod payload;

use line::Parsed;

use crate::{
    error::{At, Problem},
    event::Event,
    import::{
        Interpretation,
        moment::{Moment, What},
        symbols::Symbols,
        tree::Tree,
    },
    input::Input,
    lines::Lines,
    source::Source,
};

/// The events of a process tree in a tracer's text.
pub(crate) struct TraceText {
    lines: Lines,
    symbols: Symbols,
    tree: Tree,
    last_ns: u64,
}

/// Whether a file with these first bytes is such a text.
pub(crate) fn is_trace_text(beginning: &[u8]) -> bool {
    let mut lines = beginning.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    beginning.starts_with(b"# tracer: ") || lines.any(|line| matches!(line::parse(line), Ok(Parsed::Event(_))))
}

impl TraceText {
    pub(crate) fn open(input: Input, interpretation: &Interpretation) -> Result<Self, (At, Problem)> {
        let symbols = interpretation.symbols.as_deref().map(Symbols::read).transpose();
        Ok(Self {
            lines: Lines::new(input),
            symbols: symbols.map_err(|problem| (At::Line(1), problem))?.unwrap_or_default(),
            tree: Tree::new(interpretation.root.as_ref()),
            last_ns: 0,
        })
    }

    /// Takes in a line; `false` if there is none left.
    fn take_line(&mut self) -> Result<bool, Problem> {
        let Some(line) = self.lines.next_line()? else {
            return Ok(false);
        };
        match line::parse(line)? {
            Parsed::Remark => {}
            Parsed::Lost { n_events } => {
                let what = What::Lost { n_events };
                self.tree.observe(&Moment { at_ns: self.last_ns, cpu: 0, process: None, task: 0, what });
            }
            Parsed::Event(event) => {
                self.last_ns = event.at_ns;
                if let Some((task, what)) = payload::parse(&event, &self.symbols)? {
                    let task = task.or(event.task).unwrap_or(UNKNOWN);
                    let (at_ns, cpu, process) = (event.at_ns, event.cpu, event.process);
                    self.tree.observe(&Moment { at_ns, cpu, process, task, what });
                }
            }
        }
        Ok(true)
    }
}

/// A task that the tracer could not name, as it was gone.
const UNKNOWN: u32 = u32::MAX;

impl Source for TraceText {
    fn next_event(&mut self) -> Result<Option<Event>, Problem> {
        loop {
            if let Some(event) = self.tree.next() {
                return Ok(Some(event));
            }
            if !self.take_line()? {
                return self.tree.finish().map(|()| None);
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
