//! The table at the end.

use std::{fmt, time::Duration};

/// What was measured.
pub(crate) struct Summary {
    sizes: &'static [u64],
    lines: Vec<Line>,
}

struct Line {
    operation: &'static str,
    name: &'static str,
    /// For each number of pages the median, in nanoseconds a page.
    medians: Vec<(u64, f64)>,
}

impl Summary {
    pub(crate) const fn new(sizes: &'static [u64]) -> Self {
        Summary { sizes, lines: Vec::new() }
    }

    /// Adds what was measured, as pairs of how often and how long; nothing where it was only tried.
    pub(crate) fn add(
        &mut self,
        operation: &'static str,
        name: &'static str,
        n_pages: u64,
        samples: &[(u64, Duration)],
    ) {
        // The first ones are to warm up, each longer than the one before it; the samples are all of one length.
        let Some((n_times, _)) = samples.last() else { return };
        let mut times: Vec<_> = samples.iter().filter(|sample| sample.0 == *n_times).map(|sample| sample.1).collect();
        if times.len() < 2 {
            return;
        }
        times.sort();
        let median = times[times.len() / 2].as_nanos() as f64 / (n_times * n_pages) as f64;
        match self.lines.iter_mut().find(|line| (line.operation, line.name) == (operation, name)) {
            Some(line) => line.medians.push((n_pages, median)),
            None => self.lines.push(Line { operation, name, medians: vec![(n_pages, median)] }),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut operation = "";
        for line in &self.lines {
            if line.operation != operation {
                operation = line.operation;
                write!(f, "\n{:36}", format!("{operation}, ns a page"))?;
                self.sizes.iter().try_for_each(|n_pages| write!(f, "{n_pages:>8}"))?;
                writeln!(f)?;
            }
            write!(f, "{:36}", line.name)?;
            for n_pages in self.sizes {
                match line.medians.iter().find(|(size, _)| size == n_pages) {
                    Some((_, median)) => write!(f, "{median:8.1}")?,
                    None => write!(f, "{:>8}", "-")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
