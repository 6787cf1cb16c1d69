//! Reading columns.

use crate::{
    columns::{
        bytes::{Bytes, Misread},
        clock::{Clock, Step, Ticks},
        layout::{BLOCK_EVENTS, Column, FIRST_LINE, Form, HasPages, MAX_ARGS, VERSION},
        predict::{Place, Predictions, actor_of, task_of},
        totals::Totals,
        varint,
    },
    error::{At, Problem, shown},
    event::{Event, EventKind, RecordedCpu},
    header::{Header, HeaderLines, LONGEST_HEADER_BYTES},
    input::Input,
    source::Source,
    syscall::Syscall,
};

/// The events of columns.
pub(crate) struct Columns {
    bytes: Bytes,
    block: Block,
    predictions: Predictions,
    at_ns: u64,
    /// The place of the last event, or of what is wrong.
    at_byte: u64,
    totals: Totals,
}

impl Columns {
    /// Reads the header.
    pub(crate) fn open(input: Input) -> Result<(Header, Self), (At, Problem)> {
        let mut bytes = Bytes::new(input);
        let header = read_header(&mut bytes).map_err(|misread| (At::Byte(misread.at_byte), misread.problem))?;
        let (block, predictions, at_byte) = (Block::default(), Predictions::new(), bytes.offset());
        Ok((header, Self { bytes, block, predictions, at_ns: 0, at_byte, totals: Totals::default() }))
    }

    fn read_event(&mut self) -> Result<Option<Event>, Misread> {
        if self.block.n_left == 0 && !self.next_block()? {
            return Ok(None);
        }
        self.at_byte = self.block.offset();
        let event = self.block.event(&mut self.predictions, self.at_ns)?;
        self.at_ns = event.at_ns;
        self.totals.count(&event);
        Ok(Some(event))
    }

    /// Goes on to the next block; `false` at the end.
    fn next_block(&mut self) -> Result<bool, Misread> {
        self.block.check_used_up()?;
        self.at_byte = self.bytes.offset();
        match number_up_to(&mut self.bytes, "events in the block", BLOCK_EVENTS, "at most 65536, or 0 for the end")? {
            0 => self.read_end().map(|()| false),
            n_events => self.block.read(&mut self.bytes, n_events).map(|()| true),
        }
    }

    /// Compares what the writer counted with what was read.
    fn read_end(&mut self) -> Result<(), Misread> {
        for (what, read) in Totals::NAMES.into_iter().zip(self.totals.numbers()) {
            let at_byte = self.bytes.offset();
            let written = self.bytes.number("the counts at its end")?;
            if written != read {
                return Err(Misread { at_byte, problem: Problem::Miscounted { what, read, written } });
            }
        }
        let at_byte = self.bytes.offset();
        match self.bytes.next()? {
            None => Ok(()),
            Some(byte) => {
                let (field, found, expected) = ("after the end", shown(&[byte]), "nothing more");
                Err(Misread { at_byte, problem: Problem::Value { field, found, expected } })
            }
        }
    }
}

impl Source for Columns {
    #[inline]
    fn next_event(&mut self) -> Result<Option<Event>, Problem> {
        self.read_event().map_err(|misread| {
            self.at_byte = misread.at_byte;
            misread.problem
        })
    }

    fn at(&self) -> At {
        At::Byte(self.at_byte)
    }

    fn position_bytes(&self) -> u64 {
        self.bytes.position_bytes()
    }
}

/// Reads the lines up to an empty one.
fn read_header(bytes: &mut Bytes) -> Result<Header, Misread> {
    let mut line = Vec::new();
    read_line(bytes, &mut line)?;
    let version = line.strip_prefix(FIRST_LINE).unwrap_or_default();
    if version != VERSION {
        let (field, found, expected) = ("the version of tlbt-columns", shown(version), "1, which this reader knows");
        return Err(Misread { at_byte: 0, problem: Problem::Value { field, found, expected } });
    }
    let mut header = HeaderLines::default();
    loop {
        let at_byte = bytes.offset();
        let misread = |problem| Misread { at_byte, problem };
        read_line(bytes, &mut line)?;
        if line.is_empty() {
            return header.finish().map_err(misread);
        }
        header.add(&line).map_err(misread)?;
    }
}

/// Reads a line without its end, in place of what was in `line`.
fn read_line(bytes: &mut Bytes, line: &mut Vec<u8>) -> Result<(), Misread> {
    line.clear();
    loop {
        match bytes.next()? {
            Some(b'\n') => return Ok(()),
            None => return Err(bytes.misread(Problem::EndsEarly { expected: "the rest of its header" })),
            Some(_) if bytes.offset() > LONGEST_HEADER_BYTES as u64 => {
                return Err(bytes.misread(Problem::HeaderTooLong { limit: LONGEST_HEADER_BYTES }));
            }
            Some(byte) => line.push(byte),
        }
    }
}

/// Takes a number that is not above a limit.
fn number_up_to(
    bytes: &mut Bytes,
    field: &'static str,
    limit: usize,
    expected: &'static str,
) -> Result<usize, Misread> {
    let at_byte = bytes.offset();
    let number = bytes.number("the rest of its blocks and the counts at its end")?;
    let accepted = usize::try_from(number).ok().filter(|number| *number <= limit);
    let problem = || Problem::Value { field, found: number.to_string(), expected };
    accepted.ok_or_else(|| Misread { at_byte, problem: problem() })
}

/// The events of a block that were not asked for yet.
struct Block {
    n_left: usize,
    clock: Clock,
    columns: [Cells; Column::ALL.len()],
}

impl Default for Block {
    fn default() -> Self {
        Self { n_left: 0, clock: Clock::new(Step::ONE_NS), columns: Default::default() }
    }
}

/// What is left of a column.
#[derive(Default)]
struct Cells {
    bytes: Vec<u8>,
    n_taken: usize,
    /// The offset of its first byte.
    offset: u64,
}

impl Cells {
    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.n_taken).copied()?;
        self.n_taken += 1;
        Some(byte)
    }

    fn at_byte(&self) -> u64 {
        self.offset + self.n_taken as u64
    }
}

impl Block {
    fn read(&mut self, bytes: &mut Bytes, n_events: usize) -> Result<(), Misread> {
        const EXPECTED: &str = "from 65536 to 2^62, in 2^-16 ns";
        let at_byte = bytes.offset();
        let code = bytes.number("the rest of a block")?;
        let problem = || Problem::Value { field: "the step of the clock", found: code.to_string(), expected: EXPECTED };
        let step = Step::from_code(code).ok_or_else(|| Misread { at_byte, problem: problem() })?;
        self.clock = Clock::new(step);
        for (column, cells) in Column::ALL.into_iter().zip(&mut self.columns) {
            let limit = n_events * column.most_bytes();
            let n_bytes = number_up_to(bytes, "the length of a column", limit, "at most what its events can need")?;
            (cells.n_taken, cells.offset) = (0, bytes.offset());
            bytes.take(n_bytes, &mut cells.bytes, "the rest of a column")?;
        }
        self.n_left = n_events;
        Ok(())
    }

    /// The place of the next event.
    fn offset(&self) -> u64 {
        self.columns.first().map_or(0, Cells::at_byte)
    }

    fn check_used_up(&self) -> Result<(), Misread> {
        let left = Column::ALL.into_iter().zip(&self.columns).find(|(_, cells)| cells.n_taken < cells.bytes.len());
        left.map_or(Ok(()), |(column, cells)| {
            let found = format!("{} bytes longer than its events", cells.bytes.len() - cells.n_taken);
            Err(Misread { at_byte: cells.at_byte(), problem: column.problem(found) })
        })
    }

    fn cells(&mut self, column: Column) -> Option<&mut Cells> {
        self.columns.get_mut(column as usize)
    }

    /// Takes the next byte of a column.
    #[inline]
    fn byte(&mut self, column: Column) -> Result<u8, Misread> {
        let byte = self.cells(column).and_then(Cells::next);
        byte.ok_or_else(|| self.misread(column, "shorter than its events".to_owned()))
    }

    /// Takes the next number of a column.
    #[inline]
    fn number(&mut self, column: Column) -> Result<u64, Misread> {
        let number = self.cells(column).and_then(|cells| varint::take(|| cells.next()));
        number.ok_or_else(|| self.misread(column, "no number of 64 bits, or too short".to_owned()))
    }

    #[cold]
    fn misread(&self, column: Column, found: String) -> Misread {
        let at_byte = self.columns.get(column as usize).map_or(0, Cells::at_byte);
        Misread { at_byte, problem: column.problem(found) }
    }

    /// Takes a number of a column that stands for something, if `meaning` knows for what.
    fn value<T>(&self, column: Column, number: u64, meaning: impl Fn(u64) -> Option<T>) -> Result<T, Misread> {
        meaning(number).ok_or_else(|| self.misread(column, number.to_string()))
    }

    fn event(&mut self, predictions: &mut Predictions, before_ns: u64) -> Result<Event, Misread> {
        let code = self.byte(Column::Form)?;
        let form = self.value(Column::Form, u64::from(code), |_| Form::from_code(code))?;
        let cpu_code = self.number(Column::Cpu)?;
        let cpu = self.value(Column::Cpu, predictions.cpu(cpu_code), cpu_of)?;
        let since_ns = self.since_ns(cpu)?;
        let too_late = || self.misread(Column::StepsRest, format!("{since_ns} ns after {before_ns} ns"));
        let at_ns = before_ns.checked_add(since_ns).ok_or_else(too_late)?;
        let actor_code = self.number(Column::Actor)?;
        let number = predictions.actor(u64::from(cpu.0), actor_code);
        let actor = self.value(Column::Actor, number, actor_of)?;
        let kind = self.kind(predictions, form, cpu, number)?;
        if actor.task().is_none() && kind.needs_task() {
            return Err(self.misread(Column::Actor, "no task in an event that only a task can have".to_owned()));
        }
        let event = Event { at_ns, cpu, actor, kind };
        predictions.ran(&event);
        self.n_left -= 1;
        Ok(event)
    }

    fn since_ns(&mut self, cpu: RecordedCpu) -> Result<u64, Misread> {
        let mut low = Some(self.byte(Column::StepsLow)?);
        let high = self.cells(Column::StepsHigh);
        let n_steps = high.and_then(|high| varint::take(|| low.take().or_else(|| high.next())));
        let n_steps = n_steps.ok_or_else(|| self.misread(Column::StepsHigh, "no number of 64 bits".to_owned()))?;
        let rest_ns = varint::unzigzag(0, self.number(Column::StepsRest)?);
        Ok(self.clock.since_ns(Ticks { n_steps, rest_ns }, cpu.0))
    }

    fn kind(
        &mut self,
        predictions: &mut Predictions,
        form: Form,
        cpu: RecordedCpu,
        actor: u64,
    ) -> Result<EventKind, Misread> {
        Ok(match form {
            Form::SyscallEntry => self.entry(predictions, actor)?,
            Form::SyscallExit => {
                let (call, number) = self.call(predictions, actor)?;
                let result = predictions.result(actor, number, self.number(Column::Result)?).cast_signed();
                EventKind::SyscallExit { call, result }
            }
            Form::NewTask => {
                let child = predictions.child(self.number(Column::Child)?);
                let child = self.value(Column::Child, child, task_of)?;
                EventKind::NewTask { child, flags: predictions.flags(self.number(Column::Child)?) }
            }
            Form::Exec => EventKind::Exec,
            Form::Exit => EventKind::Exit,
            Form::TornDown => EventKind::TornDown,
            Form::Switch(previous) => {
                let next = predictions.next(u64::from(cpu.0), self.number(Column::Next)?);
                EventKind::Switch { next: self.value(Column::Next, next, actor_of)?, previous }
            }
            Form::Lost => EventKind::Lost { n_events: self.number(Column::Rest)? },
            Form::Call(function) => {
                let target = self.number(Column::Rest)?;
                EventKind::CallTruth { target: self.value(Column::Rest, target, cpu_of)?, function }
            }
            Form::Flush(reason, HasPages::All) => EventKind::FlushTruth { reason, pages: None },
            Form::Flush(reason, HasPages::Some) => {
                EventKind::FlushTruth { reason, pages: Some(self.number(Column::Pages)?) }
            }
            Form::Fault(from, access) => {
                let place = self.place()?;
                let address = predictions.fault(actor, place);
                let problem = || self.misread(Column::Page, "an address beyond 64 bits".to_owned());
                EventKind::Fault { address: address.ok_or_else(problem)?, from, access }
            }
        })
    }

    fn call(&mut self, predictions: &mut Predictions, task: u64) -> Result<(Syscall, u64), Misread> {
        let number = predictions.call(task, self.number(Column::Call)?);
        let call = self.value(Column::Call, number, |number| u32::try_from(number).ok())?;
        Ok((Syscall::from_number(call), number))
    }

    fn entry(&mut self, predictions: &mut Predictions, task: u64) -> Result<EventKind, Misread> {
        let (call, number) = self.call(predictions, task)?;
        let n_args = predictions.n_args(number, self.number(Column::NArgs)?);
        let n_args = self
            .value(Column::NArgs, n_args, |n_args| usize::try_from(n_args).ok().filter(|n_args| *n_args <= MAX_ARGS))?;
        let mut args = [0; MAX_ARGS];
        for (position, arg) in (0..).zip(args.iter_mut().take(n_args)) {
            *arg = predictions.arg(task, number, position, self.number(Column::Args)?);
        }
        Ok(EventKind::SyscallEntry { call, args })
    }

    fn place(&mut self) -> Result<Place, Misread> {
        Ok(match self.number(Column::Page)? {
            0 => Place::Expected,
            code => {
                let offset = u16::from_le_bytes([self.byte(Column::OffsetLow)?, self.byte(Column::OffsetHigh)?]);
                Place::Elsewhere { page: code - 1, offset }
            }
        })
    }
}

/// The CPU of a number, if a recording may have it.
fn cpu_of(number: u64) -> Option<RecordedCpu> {
    u16::try_from(number).ok().map(RecordedCpu).filter(|cpu| *cpu <= RecordedCpu::MAX)
}
