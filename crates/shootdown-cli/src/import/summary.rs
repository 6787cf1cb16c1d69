//! What was imported, in a few words.

use std::{path::Path, time::Duration};

use serde::Serialize;
use shootdown_recording::{Detail, Event, EventKind, Header};

use super::Error;
use crate::rows::thousands;

/// The version of the summary in JSON.
const SCHEMA: u32 = 1;

/// What was imported.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    schema: u32,
    input: String,
    output: String,
    form: &'static str,
    recording: String,
    detail: &'static str,
    pub(super) events: u64,
    /// Tasks that ever were.
    tasks: u64,
    lost_events: u64,
    /// Recorded time.
    seconds: f64,
    input_bytes: u64,
    output_bytes: u64,
    bytes_per_event: f64,
    took_seconds: f64,
    #[serde(skip)]
    n_ns: u64,
}

impl Summary {
    pub(super) fn new(input: String, form: &'static str, header: &Header) -> Self {
        Self {
            schema: SCHEMA,
            input,
            output: String::new(),
            form,
            recording: header.workload.clone(),
            detail: header.detail.name(),
            events: 0,
            tasks: 1,
            lost_events: 0,
            seconds: 0.0,
            input_bytes: 0,
            output_bytes: 0,
            bytes_per_event: 0.0,
            took_seconds: 0.0,
            n_ns: 0,
        }
    }

    pub(super) fn count(&mut self, event: &Event) {
        self.events += 1;
        self.n_ns = event.at_ns;
        match event.kind {
            EventKind::NewTask { .. } => self.tasks += 1,
            EventKind::Lost { n_events } => self.lost_events = self.lost_events.saturating_add(n_events),
            _ => {}
        }
    }

    pub(super) fn end(&mut self, input_bytes: u64, output_bytes: u64, took: Duration) {
        (self.input_bytes, self.output_bytes) = (input_bytes, output_bytes);
        self.seconds = Duration::from_nanos(self.n_ns).as_secs_f64();
        self.bytes_per_event = output_bytes as f64 / self.events.max(1) as f64;
        self.took_seconds = took.as_secs_f64();
    }

    pub(crate) fn shown(mut self, output: &Path, json: bool) -> Result<String, Error> {
        self.output = output.display().to_string();
        if json {
            return Ok(serde_json::to_string(&self)?);
        }
        let mb_per_second = self.input_bytes as f64 / 1e6 / self.took_seconds.max(1e-6);
        let mut text = format!(
            "{}: {} events of {} tasks, {:.2} s, to {} ({:.2} bytes an event); {mb_per_second:.1} MB/s read",
            self.recording,
            thousands(self.events),
            thousands(self.tasks),
            self.seconds,
            self.output,
            self.bytes_per_event,
        );
        if self.lost_events > 0 {
            text += &format!("\nthe recorder lost {} events: no replay of it is exact", thousands(self.lost_events));
        }
        if self.detail == Detail::Calls.name() {
            text += "\ncalls only: a replay of it is an upper bound";
        }
        Ok(text)
    }
}
