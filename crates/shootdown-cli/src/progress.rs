//! A progress bar, if the work takes long enough for anybody to wonder and a person is watching.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Before this much time nobody has begun to wonder.
const PATIENCE: Duration = Duration::from_millis(500);

/// How far something has come of a total, in whatever unit.
pub(crate) struct Progress {
    name: String,
    total: u64,
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(name: &str, total: u64) -> Self {
        Progress { name: name.to_owned(), total, began: Instant::now(), bar: None }
    }

    pub(crate) fn update(&mut self, done: u64) {
        if self.bar.is_none() && self.began.elapsed() > PATIENCE && std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(self.total).with_message(self.name.clone());
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}%  {eta} left") {
                bar.set_style(style);
            }
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    pub(crate) fn finish(self) -> Duration {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.began.elapsed()
    }
}
