//! Writing columns.

use std::io::{self, Write};

use zstd::bulk::Compressor;

use crate::{
    columns::{
        clock::{Clock, Step},
        layout::{BLOCK_EVENTS, Column, FIRST_LINE, Form, HasPages, VERSION},
        predict::{Place, Predictions, actor_number},
        step,
        totals::Totals,
        varint,
    },
    event::{Event, EventKind},
    header::{Header, check_header},
};

/// Columns shorter than this share a zstd frame with the next: a frame of its own costs more than it saves.
const WORTH_A_FRAME_BYTES: usize = 512;

/// How hard zstd tries. Higher levels save a few parts of a hundred, and take several times as long.
const LEVEL: i32 = 9;

/// Writes a recording in its compact form: columns, compressed with zstd.
///
/// About 65,000 events are kept in memory until they are written. Nothing may be written after an error.
pub struct ColumnWriter<W: Write> {
    frames: Frames<W>,
    block: Block,
    predictions: Predictions,
    step: Step,
    at_ns: u64,
    totals: Totals,
}

impl<W: Write> ColumnWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Those of `out`; and `InvalidInput` if the header is longer than 1 MiB, which no reader accepts.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let mut text = [FIRST_LINE, VERSION, b"\n"].concat();
        for line in header.lines() {
            writeln!(text, "{line}")?;
        }
        text.push(b'\n');
        check_header(&text)?;
        let mut frames = Frames::new(out)?;
        frames.write(&mut text)?;
        let (block, predictions, totals) = (Block::default(), Predictions::new(), Totals::default());
        Ok(Self { frames, block, predictions, step: Step::ONE_NS, at_ns: 0, totals })
    }

    /// Writes an event.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        // Time does not go back in a recording; if it does here it stands still there, as in text.
        let since_ns = event.at_ns.saturating_sub(self.at_ns);
        self.at_ns = event.at_ns;
        self.totals.count(event);
        self.block.times.push((since_ns, event.cpu.0));
        self.block.add(event, &mut self.predictions);
        if self.block.times.len() == BLOCK_EVENTS { self.write_block() } else { Ok(()) }
    }

    /// Writes what is left, and the end; returns what was written to, to be flushed or looked at.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.block.times.is_empty() {
            self.write_block()?;
        }
        let mut end = Vec::new();
        varint::put(&mut end, 0);
        self.totals.numbers().into_iter().for_each(|number| varint::put(&mut end, number));
        self.frames.write(&mut end)?;
        Ok(self.frames.out)
    }

    fn write_block(&mut self) -> io::Result<()> {
        self.step = step::estimate(&self.block.times, self.step);
        let mut bytes = Vec::new();
        varint::put(&mut bytes, self.block.times.len() as u64);
        varint::put(&mut bytes, self.step.code());
        self.block.add_times(self.step);
        for column in &mut self.block.columns {
            // Zstd has one code for all bytes of up to 128 KiB, so bytes of different sorts are best kept apart.
            if column.len() >= WORTH_A_FRAME_BYTES {
                self.frames.write(&mut bytes)?;
            }
            varint::put(&mut bytes, column.len() as u64);
            bytes.append(column);
            if bytes.len() >= WORTH_A_FRAME_BYTES {
                self.frames.write(&mut bytes)?;
            }
        }
        self.frames.write(&mut bytes)
    }
}

/// The zstd frames of a file.
struct Frames<W> {
    out: W,
    compressor: Compressor<'static>,
}

impl<W: Write> Frames<W> {
    fn new(out: W) -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self { out, compressor })
    }

    /// Makes one frame of bytes, which are gone then; none of none.
    fn write(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if !bytes.is_empty() {
            self.out.write_all(&self.compressor.compress(bytes)?)?;
        }
        bytes.clear();
        Ok(())
    }
}

/// Events that are not written yet.
#[derive(Default)]
struct Block {
    /// When, and on which CPU.
    times: Vec<(u64, u16)>,
    columns: [Vec<u8>; Column::ALL.len()],
}

impl Block {
    fn put(&mut self, column: Column, number: u64) {
        if let Some(bytes) = self.columns.get_mut(column as usize) {
            varint::put(bytes, number);
        }
    }

    fn put_byte(&mut self, column: Column, byte: u8) {
        if let Some(bytes) = self.columns.get_mut(column as usize) {
            bytes.push(byte);
        }
    }

    fn add_times(&mut self, step: Step) {
        let mut clock = Clock::new(step);
        let mut number = Vec::new();
        for (since_ns, cpu) in std::mem::take(&mut self.times) {
            let ticks = clock.ticks(since_ns, cpu);
            varint::put(&mut number, ticks.n_steps);
            self.put(Column::StepsRest, varint::zigzag(0, ticks.rest_ns));
            let mut bytes = number.drain(..);
            self.put_byte(Column::StepsLow, bytes.next().unwrap_or_default());
            bytes.for_each(|byte| self.put_byte(Column::StepsHigh, byte));
        }
    }

    /// Adds all of an event but its time.
    fn add(&mut self, event: &Event, predictions: &mut Predictions) {
        let (cpu, actor) = (u64::from(event.cpu.0), actor_number(event.actor));
        self.put(Column::Cpu, predictions.cpu_code(cpu));
        self.put(Column::Actor, predictions.actor_code(cpu, actor));
        let form = match event.kind {
            EventKind::SyscallEntry { call, args } => {
                self.add_entry(predictions, actor, u64::from(call.number()), &args);
                Form::SyscallEntry
            }
            EventKind::SyscallExit { call, result } => {
                let call = u64::from(call.number());
                self.put(Column::Call, predictions.call_code(actor, call));
                self.put(Column::Result, predictions.result_code(actor, call, result.cast_unsigned()));
                Form::SyscallExit
            }
            EventKind::NewTask { child, flags } => {
                self.put(Column::Child, predictions.child_code(u64::from(child.0)));
                self.put(Column::Child, predictions.flags_code(flags));
                Form::NewTask
            }
            EventKind::Exec => Form::Exec,
            EventKind::Exit => Form::Exit,
            EventKind::TornDown => Form::TornDown,
            EventKind::Switch { next, previous } => {
                self.put(Column::Next, predictions.next_code(cpu, actor_number(next)));
                Form::Switch(previous)
            }
            EventKind::Fault { address, from, access } => {
                self.add_address(predictions.fault_code(actor, address));
                Form::Fault(from, access)
            }
            EventKind::FlushTruth { reason, pages: Some(pages) } => {
                self.put(Column::Pages, pages);
                Form::Flush(reason, HasPages::Some)
            }
            EventKind::FlushTruth { reason, pages: None } => Form::Flush(reason, HasPages::All),
            EventKind::CallTruth { target, function } => {
                self.put(Column::Rest, u64::from(target.0));
                Form::Call(function)
            }
            EventKind::Lost { n_events } => {
                self.put(Column::Rest, n_events);
                Form::Lost
            }
        };
        self.put_byte(Column::Form, form.code());
        predictions.ran(event);
    }

    fn add_entry(&mut self, predictions: &mut Predictions, task: u64, call: u64, args: &[u64]) {
        // Those at the end that are 0 are left out.
        let n_args = args.iter().rposition(|arg| *arg != 0).map_or(0, |last| last + 1);
        self.put(Column::Call, predictions.call_code(task, call));
        self.put(Column::NArgs, predictions.n_args_code(call, n_args as u64));
        for (position, arg) in (0..).zip(args.iter().take(n_args)) {
            self.put(Column::Args, predictions.arg_code(task, call, position, *arg));
        }
    }

    fn add_address(&mut self, place: Place) {
        match place {
            Place::Expected => self.put(Column::Page, 0),
            Place::Elsewhere { page, offset } => {
                self.put(Column::Page, 1 + page);
                let [low, high] = offset.to_le_bytes();
                self.put_byte(Column::OffsetLow, low);
                self.put_byte(Column::OffsetHigh, high);
            }
        }
    }
}
