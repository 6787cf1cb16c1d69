//! What a recorder writes down, one after the other.

use arbitrary::Arbitrary;

use super::{
    formats::{TRACEPOINTS, id},
    parts::{
        Attribute, SAMPLE_ADDR, SAMPLE_CALLCHAIN, SAMPLE_ID, SAMPLE_IDENTIFIER, SAMPLE_IP, SAMPLE_PERIOD, SAMPLE_READ,
        SAMPLE_STREAM_ID,
    },
};

const LOST: u32 = 2;
const COMM: u32 = 3;
const FORK: u32 = 7;
const SAMPLE: u32 = 9;
const LOST_SAMPLES: u32 = 13;
const FINISHED_ROUND: u32 = 68;
const COMPRESSED: u32 = 81;
const COMPRESSED_WITH_SIZE: u32 = 83;

/// As long as a record can say that it is.
const LONGEST_BODY_BYTES: usize = u16::MAX as usize - 8;
/// A body of a tracepoint that has room for all fields of any.
const RAW_BYTES: usize = 64;
/// Names by which tasks are told apart.
const NAMES: [&[u8]; 4] = [b"perf-exec", b"kworker/0:1", b"migration/1", b"sh"];

/// A record.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Record {
    Sample(Sample),
    Named {
        task: u8,
        name: u8,
    },
    NamedAnything {
        task: u32,
        name: [u8; 16],
    },
    Forked {
        task: u8,
        parent: u8,
    },
    Lost(u64),
    LostSamples(u64),
    FinishedRound,
    Any {
        kind: u8,
        body: Vec<u8>,
    },
    /// Records that `perf record -z` has packed, in pieces of some size.
    Packed {
        piece_bytes: u8,
        has_size: bool,
        records: Vec<Unpacked>,
    },
}

/// A record that is packed with others, and perhaps many times.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Unpacked {
    Sample(Sample),
    Named { task: u8, name: u8 },
    Lost { n_times: u8 },
    FinishedRound,
}

/// A tracepoint that was passed.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Sample {
    attribute: u8,
    id: u8,
    at_ns: u16,
    cpu: u8,
    process: u8,
    task: u8,
    tracepoint: u8,
    /// Small numbers are tasks, CPUs and calls; they make relations.
    fields: [Number; 4],
    n_missing: u8,
    count: Number,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Small(u8),
    Any(u64),
}

impl Number {
    fn value(self) -> u64 {
        match self {
            Self::Small(value) => value.into(),
            Self::Any(value) => value,
        }
    }
}

/// Writes records; tells also how many bytes there are when all are unpacked.
pub(super) fn bytes(records: &[Record], attributes: &[Attribute]) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    let mut n_unpacked = 0;
    for record in records {
        n_unpacked += record.put(&mut bytes, attributes);
    }
    (bytes, n_unpacked)
}

/// Appends a record, as long as it can be.
pub(super) fn put(bytes: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let body = &body[..body.len().min(LONGEST_BODY_BYTES)];
    bytes.extend(kind.to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend((body.len() as u16 + 8).to_le_bytes());
    bytes.extend(body);
}

impl Record {
    fn put(&self, bytes: &mut Vec<u8>, attributes: &[Attribute]) -> u64 {
        match self {
            Self::Sample(sample) => put(bytes, SAMPLE, &sample.body(attributes)),
            Self::Named { task, name } => put(bytes, COMM, &named(u32::from(*task), chosen_name(*name))),
            Self::NamedAnything { task, name } => put(bytes, COMM, &named(*task, name)),
            Self::Forked { task, parent } => {
                let tasks = [*task, *parent, *task, *parent].map(|task| u32::from(task).to_le_bytes());
                put(bytes, FORK, tasks.as_flattened());
            }
            Self::Lost(n_events) => put(bytes, LOST, [0, *n_events].map(u64::to_le_bytes).as_flattened()),
            Self::LostSamples(n_events) => put(bytes, LOST_SAMPLES, &n_events.to_le_bytes()),
            Self::FinishedRound => put(bytes, FINISHED_ROUND, &[]),
            Self::Any { kind, body } => put(bytes, u32::from(*kind), body),
            Self::Packed { piece_bytes, has_size, records } => {
                return put_packed(bytes, usize::from(*piece_bytes), *has_size, records, attributes);
            }
        }
        0
    }
}

impl Unpacked {
    fn put(&self, bytes: &mut Vec<u8>, attributes: &[Attribute]) {
        match self {
            Self::Sample(sample) => put(bytes, SAMPLE, &sample.body(attributes)),
            Self::Named { task, name } => put(bytes, COMM, &named(u32::from(*task), chosen_name(*name))),
            Self::Lost { n_times } => (0..*n_times).for_each(|_| put(bytes, LOST_SAMPLES, &1_u64.to_le_bytes())),
            Self::FinishedRound => put(bytes, FINISHED_ROUND, &[]),
        }
    }
}

fn put_packed(
    bytes: &mut Vec<u8>,
    piece_bytes: usize,
    has_size: bool,
    records: &[Unpacked],
    attributes: &[Attribute],
) -> u64 {
    let mut unpacked = Vec::new();
    records.iter().for_each(|record| record.put(&mut unpacked, attributes));
    let packed = zstd::bulk::compress(&unpacked, 1).expect("memory does not fail");
    // 0 is for all at once.
    let piece_bytes = if piece_bytes == 0 { LONGEST_BODY_BYTES - 8 } else { piece_bytes };
    for piece in packed.chunks(piece_bytes) {
        if has_size {
            put(bytes, COMPRESSED_WITH_SIZE, &[&(piece.len() as u64).to_le_bytes(), piece].concat());
        } else {
            put(bytes, COMPRESSED, piece);
        }
    }
    unpacked.len() as u64
}

fn chosen_name(name: u8) -> &'static [u8] {
    NAMES[usize::from(name) % NAMES.len()]
}

fn named(task: u32, name: &[u8]) -> Vec<u8> {
    [&task.to_le_bytes(), &task.to_le_bytes(), name, &[0]].concat()
}

impl Sample {
    fn body(&self, attributes: &[Attribute]) -> Vec<u8> {
        let Some(attribute) = attributes.get(usize::from(self.attribute) % attributes.len().max(1)) else {
            return Vec::new();
        };
        let has = |field: u32| attribute.fields() & field != 0;
        let mut body = Vec::new();
        let put_if = |body: &mut Vec<u8>, field: u32, word: u64| {
            if has(field) {
                body.extend(word.to_le_bytes());
            }
        };
        put_if(&mut body, SAMPLE_IDENTIFIER, attribute.id(self.id));
        put_if(&mut body, SAMPLE_IP, 0);
        body.extend([self.process, self.task].map(|task| u32::from(task).to_le_bytes()).as_flattened());
        body.extend(u64::from(self.at_ns).to_le_bytes());
        [SAMPLE_ADDR, SAMPLE_ID, SAMPLE_STREAM_ID].into_iter().for_each(|field| put_if(&mut body, field, 0));
        body.extend(u64::from(self.cpu).to_le_bytes());
        put_if(&mut body, SAMPLE_PERIOD, 1);
        if has(SAMPLE_READ) {
            body.extend(self.count.value().to_le_bytes());
            body.extend(vec![0; 8 * self.n_read_words(attribute.read_format())]);
        }
        put_if(&mut body, SAMPLE_CALLCHAIN, if has(SAMPLE_READ) { 0 } else { self.count.value() });
        let raw = self.raw();
        body.extend((raw.len() as u32).to_le_bytes());
        body.extend(&raw);
        body.resize(body.len().next_multiple_of(8), 0);
        body.truncate(body.len().saturating_sub(usize::from(self.n_missing / 16)));
        body
    }

    /// How many words of counters there are behind the first, which says how many if they are a group's.
    fn n_read_words(&self, format: u8) -> usize {
        let has = |bit: u8| usize::from(format >> bit & 1);
        let (n_times, n_of_each) = (has(0) + has(1), 1 + has(2) + has(4));
        let n_members = self.count.value().min(4) as usize;
        if has(3) == 0 { n_times + n_of_each - 1 } else { n_times + n_members * n_of_each }
    }

    /// Writes the fields to where they usually are.
    fn raw(&self) -> Vec<u8> {
        let tracepoint = usize::from(self.tracepoint) % TRACEPOINTS.len();
        let mut raw = vec![0; RAW_BYTES];
        let mut set = |offset: u16, size: u16, value: u64| {
            let value = value.to_le_bytes();
            let at = usize::from(offset)..usize::from(offset + size.min(8));
            raw[at].copy_from_slice(&value[..usize::from(size.min(8))]);
        };
        set(0, 2, u64::from(id(tracepoint)));
        set(4, 4, u64::from(self.task));
        for ((_, offset, size, _), number) in TRACEPOINTS[tracepoint].2.iter().zip(self.fields) {
            set(*offset, *size, number.value());
        }
        raw
    }
}
