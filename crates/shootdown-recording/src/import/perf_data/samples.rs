//! What a record means.

use crate::{
    error::Problem,
    event::{FaultAccess, FlushReason, Mode, PreviousState, RecordedCpu},
    import::{
        moment::{Moment, Name, What},
        perf_data::{
            COMM, FORK, LOST, LOST_SAMPLES,
            attributes::{Attributes, Sample},
            bytes::Bytes,
            formats::{Field, Format, Formats},
        },
        symbols::Symbols,
        tracepoint::Tracepoint,
    },
};

/// Of a task's state, the bits of what it waits for; none if it was preempted. `TASK_REPORT` of include/linux/sched.h.
const STATE_BITS: u64 = 0xff;

/// Makes moments of samples.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pub(crate) attributes: Attributes,
    pub(crate) formats: Formats,
    pub(crate) symbols: Symbols,
    /// The latest sample, for records that have no time of their own.
    pub(super) last_ns: u64,
}

impl Decoder {
    /// Decodes a sample; `None` if it is of no interest.
    pub(crate) fn sample(&mut self, body: &[u8]) -> Result<Option<Moment>, Problem> {
        let Some(sample) = self.attributes.sample(body) else {
            return Ok(None);
        };
        let Some(format) = Bytes(sample.raw).u16().and_then(|id| self.formats.get(id.into())) else {
            return Ok(None);
        };
        self.last_ns = sample.at_ns;
        let short = || Problem::PerfData {
            what: format!("a {} of {} bytes", format.tracepoint, sample.raw.len()),
            expected: "as many as its format has fields for",
        };
        let what = self.what(format, &sample)?.ok_or_else(short)?;
        let task = format.task.number(sample.raw).ok_or_else(short)? as u32;
        let cpu = cpu(sample.cpu.into())?;
        Ok(Some(Moment { at_ns: sample.at_ns, cpu, process: Some(sample.process), task, what }))
    }

    fn what(&self, format: &Format, sample: &Sample<'_>) -> Result<Option<What>, Problem> {
        let raw = sample.raw;
        let [first, second, third, fourth] = format.fields;
        let number = |field: Field| field.number(raw);
        let what = || {
            Some(match format.tracepoint {
                Tracepoint::Enter => What::Enter { number: number(first)? as u32, args: args(second, raw)? },
                Tracepoint::Leave => What::Leave { number: number(first)? as u32, result: number(second)? as i64 },
                Tracepoint::NewTask => What::NewTask { child: number(first)? as u32, flags: number(second)? },
                Tracepoint::Exec => What::Exec { old: number(first)? as u32 },
                Tracepoint::Exit => What::Exit,
                Tracepoint::TornDown => What::TornDown,
                Tracepoint::Switch => What::Switch {
                    from: number(first)? as u32,
                    state: state(number(second)?),
                    to: number(third)? as u32,
                    to_name: Name::new(fourth.bytes(raw)?),
                },
                Tracepoint::FaultOfUser => fault(Mode::User, number(first)?, number(second)?),
                Tracepoint::FaultOfKernel => fault(Mode::Kernel, number(first)?, number(second)?),
                Tracepoint::Flush | Tracepoint::Call => return None,
            })
        };
        match (format.tracepoint, number(first), number(second)) {
            (Tracepoint::Flush, Some(reason), Some(pages)) => flush(reason, pages).map(Some),
            (Tracepoint::Call, Some(target), Some(function)) => self.call(target, function).map(Some),
            _ => Ok(what()),
        }
    }

    fn call(&self, target: u64, function: u64) -> Result<What, Problem> {
        if !self.symbols.is_useful() {
            return Err(Problem::NoSymbols { address: function });
        }
        Ok(What::Call { target: cpu(target)?, function: self.symbols.function_at(function) })
    }

    /// Decodes a record about a task, or about records that were lost.
    pub(crate) fn side_note(&self, kind: u32, body: &[u8]) -> Option<Moment> {
        let mut bytes = Bytes(body);
        let what = match kind {
            COMM => {
                let (_process, task) = (bytes.u32()?, bytes.u32()?);
                What::Named { task, name: Name::new(bytes.0) }
            }
            FORK => {
                let (process, _parents, task, parent) = (bytes.u32()?, bytes.u32()?, bytes.u32()?, bytes.u32()?);
                What::Known { task, parent, is_thread: process != task }
            }
            LOST => {
                let (_id, n_events) = (bytes.u64()?, bytes.u64()?);
                What::Lost { n_events }
            }
            LOST_SAMPLES => What::Lost { n_events: bytes.u64()? },
            _ => return None,
        };
        Some(Moment { at_ns: self.last_ns, cpu: 0, process: None, task: 0, what })
    }
}

impl Decoder {
    /// Takes in the description of an event, which streams have as a record.
    pub(crate) fn add_attribute(&mut self, body: &[u8]) -> Result<(), Problem> {
        let size = body.get(4..8).and_then(|size| Bytes(size).u32()).unwrap_or_default() as usize;
        let ids = body.get(size..).unwrap_or_default();
        self.attributes.add(body, ids)
    }
}

/// Where the kernel's code begins, if that is what the record of a mapping is about.
pub(crate) fn first_symbol(body: &[u8]) -> Option<u64> {
    let mut bytes = Bytes(body);
    bytes.skip(8)?;
    let (_address, _length, first) = (bytes.u64()?, bytes.u64()?, bytes.u64()?);
    (bytes.text()? == b"[kernel.kallsyms]_text").then_some(first)
}

fn cpu(number: u64) -> Result<u16, Problem> {
    let cpu = u16::try_from(number).ok().filter(|cpu| RecordedCpu(*cpu) <= RecordedCpu::MAX);
    cpu.ok_or_else(|| Problem::PerfData { what: format!("CPU {number}"), expected: "one from 0 to 4095" })
}

fn args(field: Field, raw: &[u8]) -> Option<[u64; 6]> {
    let mut args = [0; 6];
    for (index, arg) in args.iter_mut().enumerate() {
        *arg = field.element(raw, index, 8)?;
    }
    Some(args)
}

fn fault(from: Mode, address: u64, code: u64) -> What {
    What::Fault { address, from, access: FaultAccess::from_error_code(code as u16) }
}

/// A task that could have gone on was preempted.
fn state(bits: u64) -> PreviousState {
    if bits & STATE_BITS == 0 { PreviousState::Runnable } else { PreviousState::Asleep }
}

fn flush(reason: u64, pages: u64) -> Result<What, Problem> {
    let reason = FlushReason::from_number(reason).ok_or_else(|| Problem::PerfData {
        what: format!("a flush for reason {reason}"),
        expected: "a reason from 0 to 5, as Linux has had so far",
    })?;
    Ok(What::Flush { reason, pages: (pages != u64::MAX).then_some(pages) })
}
