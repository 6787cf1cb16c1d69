//! The table at the end.

use std::{fmt, time::Duration};

/// What was measured.
pub(crate) struct Summary {
    sizes: &'static [u64],
    /// What the times are of, beside the numbers of what.
    unit: &'static str,
    /// Each is of as many things as the column says, and not of one.
    is_divided: bool,
    lines: Vec<Line>,
}

struct Line {
    operation: &'static str,
    name: &'static str,
    /// For each column the median, in nanoseconds.
    medians: Vec<(u64, f64)>,
}

impl Summary {
    pub(crate) const fn new(sizes: &'static [u64]) -> Self {
        Summary { sizes, unit: "ns a page", is_divided: true, lines: Vec::new() }
    }

    /// The same for times of one root each, by how many slots it has.
    pub(crate) const fn of_roots(n_slots: &'static [u64]) -> Self {
        Summary { sizes: n_slots, unit: "ns, by slots", is_divided: false, lines: Vec::new() }
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
        let n_things = if self.is_divided { n_times * n_pages } else { *n_times };
        let median = times[times.len() / 2].as_nanos() as f64 / n_things as f64;
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
                write!(f, "\n{:36}", format!("{operation}, {}", self.unit))?;
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
