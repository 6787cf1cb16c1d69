//! Reading the text form.

use crate::{
    error::{At, Problem, shown},
    event::Event,
    header::{Header, HeaderLines},
    input::Input,
    lines::Lines,
    source::Source,
    text::parse,
};

/// What the first line of a text begins with; its version follows.
pub(crate) const FIRST_LINE: &[u8] = b"# tlbt-sample ";
/// Version 1 has `L` lines and says how detailed it is.
const VERSIONS: [&[u8]; 2] = [b"0", b"1"];

/// The events of a text.
pub(crate) struct Text {
    lines: Lines,
    at_ns: u64,
}

impl Text {
    /// Reads the header.
    pub(crate) fn open(input: Input) -> Result<(Header, Self), (At, Problem)> {
        let mut lines = Lines::new(input);
        match read_header(&mut lines) {
            Ok(header) => Ok((header, Self { lines, at_ns: 0 })),
            Err(problem) => Err((At::Line(lines.number().max(1)), problem)),
        }
    }
}

impl Source for Text {
    #[inline]
    fn next_event(&mut self) -> Result<Option<Event>, Problem> {
        let Some(line) = self.lines.next_line()? else {
            return Ok(None);
        };
        let event = parse::event(line, self.at_ns)?;
        self.at_ns = event.at_ns;
        Ok(Some(event))
    }

    fn at(&self) -> At {
        At::Line(self.lines.number())
    }

    fn position_bytes(&self) -> u64 {
        self.lines.position_bytes()
    }
}

/// Reads the lines that begin with `#`.
fn read_header(lines: &mut Lines) -> Result<Header, Problem> {
    match lines.next_line()?.and_then(|line| line.strip_prefix(FIRST_LINE)) {
        Some(version) if VERSIONS.contains(&version) => {}
        found => {
            return Err(Problem::Version { found: shown(found.unwrap_or_default()) });
        }
    }
    let mut header = HeaderLines::default();
    while lines.peek(1)? == b"#" {
        header.add(lines.next_line()?.unwrap_or_default())?;
    }
    header.finish()
}
