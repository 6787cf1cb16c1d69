//! Descriptions of events, and what a file says of the machine.

use arbitrary::Arbitrary;

const TYPE_TRACEPOINT: u32 = 2;
/// Identifier, task, time, CPU and raw data, as `perf record -a` asks for.
const USUAL_FIELDS: u32 = 1 << 16 | 1 << 1 | 1 << 2 | 1 << 7 | 1 << 10;
/// Fields before the raw data that a reader has to step over.
pub(crate) const SAMPLE_IP: u32 = 1;
pub(crate) const SAMPLE_ADDR: u32 = 1 << 3;
pub(crate) const SAMPLE_READ: u32 = 1 << 4;
pub(crate) const SAMPLE_CALLCHAIN: u32 = 1 << 5;
pub(crate) const SAMPLE_ID: u32 = 1 << 6;
pub(crate) const SAMPLE_PERIOD: u32 = 1 << 8;
pub(crate) const SAMPLE_STREAM_ID: u32 = 1 << 9;
pub(crate) const SAMPLE_IDENTIFIER: u32 = 1 << 16;

/// An event that was recorded.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Attribute {
    is_something_else: bool,
    /// What its samples have more, or less, than usual.
    unusual: u32,
    read_format: u8,
    ids: Vec<u16>,
}

impl Attribute {
    pub(crate) const BYTES: usize = 64;

    pub(crate) fn fields(&self) -> u32 {
        USUAL_FIELDS ^ self.unusual
    }

    pub(crate) fn read_format(&self) -> u8 {
        self.read_format
    }

    pub(crate) fn id(&self, index: u8) -> u64 {
        self.ids.get(usize::from(index)).map_or_else(|| u64::from(index), |id| u64::from(*id))
    }

    /// Writes `struct perf_event_attr` as its first version was.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let kind = if self.is_something_else { 0 } else { TYPE_TRACEPOINT };
        let mut bytes = [kind.to_le_bytes(), (Self::BYTES as u32).to_le_bytes()].concat();
        let words = [1, 1, u64::from(self.fields()), u64::from(self.read_format)];
        bytes.extend(words.iter().flat_map(|word: &u64| word.to_le_bytes()));
        bytes.resize(Self::BYTES, 0);
        bytes
    }

    pub(crate) fn ids(&self) -> Vec<u8> {
        self.ids.iter().flat_map(|id| u64::from(*id).to_le_bytes()).collect()
    }
}

/// A further part of a file.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Part {
    Kernel(String),
    Version(String),
    Architecture { is_x86_64: bool },
    Cpus(u32, u32),
    Other { feature: u8, bytes: Vec<u8> },
}

impl Part {
    pub(crate) fn feature(&self) -> u32 {
        match self {
            Self::Kernel(_) => 4,
            Self::Version(_) => 5,
            Self::Architecture { .. } => 6,
            Self::Cpus(..) => 7,
            Self::Other { feature, .. } => u32::from(*feature),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Kernel(name) | Self::Version(name) => text(name),
            Self::Architecture { is_x86_64 } => text(if *is_x86_64 { "x86_64" } else { "aarch64" }),
            Self::Cpus(online, all) => [online.to_le_bytes(), all.to_le_bytes()].concat(),
            Self::Other { bytes, .. } => bytes.clone(),
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32 + 1).to_le_bytes(), text.as_bytes(), &[0]].concat()
}
