//! Text for the console.

use core::fmt;

use crate::calls;

const MOST_BYTES: usize = 256;

/// A line, so that it is written at once.
pub(crate) struct Line {
    bytes: [u8; MOST_BYTES],
    n_bytes: usize,
}

impl Line {
    pub(crate) fn print(text: fmt::Arguments<'_>) {
        let mut line = Line { bytes: [0; MOST_BYTES], n_bytes: 0 };
        // What does not fit is cut off.
        fmt::Write::write_fmt(&mut line, text).unwrap_or_default();
        // Nobody could be told that the console does not take it.
        calls::write(1, &line.bytes[..line.n_bytes]).unwrap_or_default();
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = &mut self.bytes[self.n_bytes..];
        let n_bytes = text.len().min(left.len());
        left[..n_bytes].copy_from_slice(&text.as_bytes()[..n_bytes]);
        self.n_bytes += n_bytes;
        if n_bytes == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

macro_rules! println {
    ($($text:tt)*) => { $crate::output::Line::print(format_args!("{}\n", format_args!($($text)*))) };
}
pub(crate) use println;
