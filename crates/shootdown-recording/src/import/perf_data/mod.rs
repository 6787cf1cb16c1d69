//! `perf.data`, as files and as streams, compressed by `perf record -z` or not.
//!
//! A reader of our own: every length in the file is checked against the file before anything is allocated, every error has its
//! offset, and the tracing data of streams is read.

mod attributes;
mod bytes;
mod features;
mod formats;
mod layout;
mod records;
mod rounds;
mod samples;

use std::io::Read as _;

use crate::{
    error::{At, Problem},
    event::Event,
    import::{
        Interpretation,
        perf_data::{
            layout::{FOREIGN_MAGIC, Layout, MAGIC},
            records::Records,
            rounds::Rounds,
            samples::Decoder,
        },
        symbols::Symbols,
        tree::Tree,
    },
    input::Seekable,
    source::Source,
};

const MMAP: u32 = 1;
const LOST: u32 = 2;
const COMM: u32 = 3;
const FORK: u32 = 7;
const SAMPLE: u32 = 9;
const LOST_SAMPLES: u32 = 13;
const HEADER_ATTRIBUTE: u32 = 64;
const HEADER_TRACING_DATA: u32 = 66;
const FINISHED_ROUND: u32 = 68;

/// Whether a file that begins so is one of perf's; even if it is none that can be read.
pub(crate) fn begins_like_perf_data(beginning: &[u8]) -> bool {
    [MAGIC, FOREIGN_MAGIC].iter().any(|magic| beginning.starts_with(magic))
}

/// Whether a file, which is left at its start, is one of perf's.
pub(crate) fn is_perf_data(file: &mut dyn Seekable) -> Result<bool, Problem> {
    let mut beginning = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut beginning).map_err(Problem::Read)?;
    file.rewind().map_err(Problem::Read)?;
    Ok(begins_like_perf_data(&beginning))
}

/// The events of a process tree that perf recorded.
pub(crate) struct PerfData {
    records: Records,
    decoder: Decoder,
    rounds: Rounds,
    tree: Tree,
    /// Whether there will be no other symbols: they were asked for, or it is known whether those of this kernel fit.
    has_final_symbols: bool,
    is_at_end: bool,
}

impl PerfData {
    /// Reads what the file says of itself.
    pub(crate) fn open(
        mut file: Box<dyn Seekable>,
        interpretation: &Interpretation,
    ) -> Result<(Notes, Self), (At, Problem)> {
        let at_start = |problem| (At::Byte(0), problem);
        let symbols = interpretation.symbols.as_deref().map(Symbols::read).transpose().map_err(at_start)?;
        let mut decoder = Decoder { symbols: symbols.unwrap_or_default(), ..Decoder::default() };
        let mut notes = Vec::new();
        let (offset, size) = match Layout::read(&mut *file)? {
            Layout::Stream { offset } => (offset, None),
            Layout::File { offset, size, attributes, features } => {
                if !attributes.have_tracepoints() {
                    return Err(at_start(no_tracepoints()));
                }
                notes = features.notes;
                notes.extend(features.formats.missing());
                (decoder.attributes, decoder.formats) = (attributes, features.formats);
                (offset, Some(size))
            }
        };
        let data = Self {
            records: Records::new(file, offset, size),
            decoder,
            rounds: Rounds::default(),
            tree: Tree::new(interpretation.root.as_ref()),
            has_final_symbols: symbols.is_some(),
            is_at_end: false,
        };
        Ok((notes, data))
    }

    /// Takes in one record; `false` if there is none left.
    fn take_record(&mut self) -> Result<bool, Problem> {
        let Self { records, decoder, rounds, .. } = self;
        let Some(record) = records.next()? else {
            return Ok(false);
        };
        let body = record.body;
        match record.kind {
            SAMPLE => {
                if let Some(moment) = decoder.sample(body)? {
                    rounds.add(moment);
                }
            }
            COMM | FORK | LOST | LOST_SAMPLES => {
                if let Some(moment) = decoder.side_note(record.kind, body) {
                    rounds.add(moment);
                }
            }
            FINISHED_ROUND => rounds.finish_round(),
            MMAP if !self.has_final_symbols => {
                if let Some(first) = samples::first_symbol(body) {
                    decoder.symbols = Symbols::of_this_kernel(first).unwrap_or_default();
                    self.has_final_symbols = true;
                }
            }
            HEADER_ATTRIBUTE => decoder.add_attribute(body)?,
            HEADER_TRACING_DATA => decoder.formats = formats::Formats::read(body)?,
            _ => {}
        }
        Ok(true)
    }
}

/// What a file says of where it is from.
pub(crate) type Notes = Vec<(String, String)>;

fn no_tracepoints() -> Problem {
    let expected = "the tracepoints that `shootdown record --print` lists";
    Problem::PerfData { what: "no tracepoint was recorded".to_owned(), expected }
}

impl Source for PerfData {
    fn next_event(&mut self) -> Result<Option<Event>, Problem> {
        loop {
            if let Some(event) = self.tree.next() {
                return Ok(Some(event));
            }
            if let Some(moment) = self.rounds.next() {
                self.tree.observe(&moment);
            } else if self.is_at_end {
                return Ok(None);
            } else if !self.take_record()? {
                self.is_at_end = true;
                self.rounds.finish();
                if !self.decoder.attributes.have_tracepoints() {
                    return Err(no_tracepoints());
                }
                while let Some(moment) = self.rounds.next() {
                    self.tree.observe(&moment);
                }
                self.tree.finish()?;
            }
        }
    }

    fn at(&self) -> At {
        self.records.at()
    }

    fn position_bytes(&self) -> u64 {
        self.records.position_bytes()
    }
}
