//! What each event of a `perf.data` file was opened with, which says what its samples hold.
//!
//! Source: include/uapi/linux/perf_event.h (`struct perf_event_attr`, `PERF_RECORD_SAMPLE`).

use rustc_hash::FxHashMap;

use crate::{error::Problem, import::perf_data::bytes::Bytes};

const SAMPLE_IP: u64 = 1;
const SAMPLE_TID: u64 = 1 << 1;
const SAMPLE_TIME: u64 = 1 << 2;
const SAMPLE_ADDR: u64 = 1 << 3;
const SAMPLE_READ: u64 = 1 << 4;
const SAMPLE_CALLCHAIN: u64 = 1 << 5;
const SAMPLE_ID: u64 = 1 << 6;
const SAMPLE_CPU: u64 = 1 << 7;
const SAMPLE_PERIOD: u64 = 1 << 8;
const SAMPLE_STREAM_ID: u64 = 1 << 9;
const SAMPLE_RAW: u64 = 1 << 10;
const SAMPLE_IDENTIFIER: u64 = 1 << 16;

const READ_TIMES: [u64; 2] = [1, 1 << 1];
const READ_ID: u64 = 1 << 2;
const READ_GROUP: u64 = 1 << 3;
const READ_LOST: u64 = 1 << 4;

const TYPE_TRACEPOINT: u32 = 2;

/// Which fields samples have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    fields: u64,
    read: u64,
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample<'a> {
    pub(crate) at_ns: u64,
    pub(crate) cpu: u32,
    pub(crate) process: u32,
    /// What the tracepoint wrote.
    pub(crate) raw: &'a [u8],
}

impl Shape {
    /// Reads the `perf_event_attr` that `bytes` begin with; `None` if they are too few. Tells also whether it is a tracepoint.
    fn read(bytes: &[u8]) -> Option<(Self, bool)> {
        let mut bytes = Bytes(bytes);
        let kind = bytes.u32()?;
        let _size = bytes.u32()?;
        let (_config, _period) = (bytes.u64()?, bytes.u64()?);
        Some((Shape { fields: bytes.u64()?, read: bytes.u64()? }, kind == TYPE_TRACEPOINT))
    }

    /// Reads a sample; `None` if it is too short.
    fn sample<'a>(&self, body: &'a [u8]) -> Option<Sample<'a>> {
        let has = |field| self.fields & field != 0;
        let n_words = |fields: &[u64]| fields.iter().filter(|field| has(**field)).count();
        let mut bytes = Bytes(body);
        bytes.skip(8 * n_words(&[SAMPLE_IDENTIFIER, SAMPLE_IP]))?;
        let (process, _task) = (bytes.u32()?, bytes.u32()?);
        let at_ns = bytes.u64()?;
        bytes.skip(8 * n_words(&[SAMPLE_ADDR, SAMPLE_ID, SAMPLE_STREAM_ID]))?;
        let (cpu, _reserved) = (bytes.u32()?, bytes.u32()?);
        bytes.skip(8 * n_words(&[SAMPLE_PERIOD]))?;
        if has(SAMPLE_READ) {
            self.skip_read(&mut bytes)?;
        }
        if has(SAMPLE_CALLCHAIN) {
            let n_frames = usize::try_from(bytes.u64()?).ok()?;
            bytes.skip(n_frames.checked_mul(8)?)?;
        }
        let length = usize::try_from(bytes.u32()?).ok()?;
        Some(Sample { at_ns, cpu, process, raw: bytes.take(length)? })
    }

    fn skip_read(&self, bytes: &mut Bytes<'_>) -> Option<()> {
        let has = |field| usize::from(self.read & field != 0);
        let n_times = READ_TIMES.into_iter().map(has).sum::<usize>();
        let n_of_each = 1 + has(READ_ID) + has(READ_LOST);
        if self.read & READ_GROUP == 0 {
            return bytes.skip(8 * (n_times + n_of_each));
        }
        let n_members = usize::try_from(bytes.u64()?).ok()?;
        bytes.skip(n_members.checked_mul(n_of_each)?.checked_add(n_times)?.checked_mul(8)?)
    }
}

/// All events of a file.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// Events by the numbers that their samples have; needed only if shapes differ.
    shapes: FxHashMap<u64, Shape>,
    /// The shape of tracepoints, and whether all have the same.
    of_tracepoints: Option<(Shape, bool)>,
}

impl Attributes {
    /// Takes in one event and the numbers of its samples.
    pub(crate) fn add(&mut self, attribute: &[u8], ids: &[u8]) -> Result<(), Problem> {
        let (shape, is_tracepoint) = Shape::read(attribute).ok_or_else(|| Problem::PerfData {
            what: format!("a description of an event of {} bytes", attribute.len()),
            expected: "at least the 64 bytes of the first version",
        })?;
        let mut ids = Bytes(ids);
        while let Some(id) = ids.u64() {
            self.shapes.insert(id, shape);
        }
        if is_tracepoint {
            const NEEDED: u64 = SAMPLE_TID | SAMPLE_TIME | SAMPLE_CPU | SAMPLE_RAW;
            if shape.fields & NEEDED != NEEDED {
                return Err(Problem::PerfData {
                    what: format!("a tracepoint whose samples hold {:#x}", shape.fields),
                    expected: "task, time, CPU and raw data in each (perf record -a, or -T -R --sample-cpu)",
                });
            }
            let is_same = self.of_tracepoints.is_none_or(|(first, is_same)| is_same && first == shape);
            self.of_tracepoints = Some((shape, is_same));
        }
        Ok(())
    }

    /// Whether any of the events is a tracepoint.
    pub(crate) fn have_tracepoints(&self) -> bool {
        self.of_tracepoints.is_some()
    }

    /// Reads a sample; `None` if it is of another kind of event, or too short.
    pub(crate) fn sample<'a>(&self, body: &'a [u8]) -> Option<Sample<'a>> {
        let (shape, is_same) = self.of_tracepoints?;
        let shape = match Bytes(body).u64().and_then(|id| self.shapes.get(&id)) {
            Some(shape) if shape.fields & SAMPLE_IDENTIFIER != 0 => *shape,
            _ if is_same => shape,
            _ => return None,
        };
        if shape.fields & SAMPLE_RAW == 0 {
            return None;
        }
        shape.sample(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_more_members_than_fit_is_no_sample() {
        for n_members in [5, u64::MAX / 8, u64::MAX] {
            let words = [0, 0, 0, n_members, 0, 0, 0, 0].map(u64::to_le_bytes);
            let shape =
                Shape { fields: SAMPLE_TID | SAMPLE_TIME | SAMPLE_CPU | SAMPLE_READ | SAMPLE_RAW, read: 0b1011 };
            assert_eq!(shape.sample(words.as_flattened()), None, "{n_members}");
        }
    }
}
