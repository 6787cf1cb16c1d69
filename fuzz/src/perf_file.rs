//! `perf.data` files that are well-formed as a whole, so that what is odd in them is found deep inside.

mod formats;
mod parts;
mod records;

use arbitrary::Arbitrary;

use crate::memory::Bound;

pub(crate) use formats::Formats;
pub(crate) use parts::{Attribute, Part};
pub(crate) use records::Record;

/// A file, or the stream that `perf record -o -` writes.
#[derive(Arbitrary, Clone, Debug)]
pub struct PerfFile {
    is_stream: bool,
    attributes: Vec<Attribute>,
    formats: Formats,
    /// Parts that a file has beside the formats; a stream has none.
    parts: Vec<Part>,
    records: Vec<Record>,
    /// Bytes to be something else in the end.
    damage: Vec<(u16, u8)>,
}

const MAGIC: &[u8] = b"PERFILE2";
const HEADER_BYTES: u64 = 104;
const STREAM_HEADER_BYTES: u64 = 16;
const TRACING_DATA: u32 = 1;
const RECORD_OF_ATTRIBUTE: u32 = 64;
const RECORD_OF_TRACING_DATA: u32 = 66;

impl PerfFile {
    /// Writes the file; tells also how much memory reading it may take.
    #[must_use]
    pub fn bytes(&self) -> (Vec<u8>, Bound) {
        let (records, n_unpacked) = records::bytes(&self.records, &self.attributes);
        let mut bytes = if self.is_stream { self.stream(&records) } else { self.file(&records) };
        for (at, value) in &self.damage {
            if let Some(byte) = bytes.get_mut(usize::from(*at)) {
                *byte = *value;
            }
        }
        let bound = Bound::of_unpacked(bytes.len() as u64 + n_unpacked);
        (bytes, bound)
    }

    fn stream(&self, records: &[u8]) -> Vec<u8> {
        let mut bytes = [MAGIC, &STREAM_HEADER_BYTES.to_le_bytes()].concat();
        for attribute in &self.attributes {
            records::put(&mut bytes, RECORD_OF_ATTRIBUTE, &[attribute.bytes(), attribute.ids()].concat());
        }
        let mut tracing = self.formats.bytes();
        records::put(&mut bytes, RECORD_OF_TRACING_DATA, &(tracing.len() as u32).to_le_bytes());
        tracing.resize(tracing.len().next_multiple_of(8), 0);
        bytes.extend(tracing);
        bytes.extend(records);
        bytes
    }

    fn file(&self, records: &[u8]) -> Vec<u8> {
        let mut body = Body::default();
        let ids: Vec<[u64; 2]> = self.attributes.iter().map(|attribute| body.put(&attribute.ids())).collect();
        let table: Vec<u8> =
            self.attributes.iter().zip(ids).flat_map(|(one, ids)| [one.bytes(), words(&ids)].concat()).collect();
        let attribute_bytes = Attribute::BYTES as u64 + 16;
        let (attributes, data) = (body.put(&table), body.put(records));
        // The table of further parts follows the records, and what it leads to may be anywhere.
        let mut parts: Vec<(u32, Vec<u8>)> = vec![(TRACING_DATA, self.formats.bytes())];
        parts.extend(self.parts.iter().map(|part| (part.feature(), part.bytes())));
        parts.sort_by_key(|(feature, _)| *feature);
        parts.dedup_by_key(|(feature, _)| *feature);
        let mut at = body.end() + 16 * parts.len() as u64;
        let mut features = [0_u64; 4];
        let (mut entries, mut contents) = (Vec::new(), Vec::new());
        for (feature, bytes) in parts {
            features[feature as usize / 64] |= 1 << (feature % 64);
            entries.extend(words(&[at, bytes.len() as u64]));
            at += bytes.len() as u64;
            contents.extend(bytes);
        }
        let header = [HEADER_BYTES, attribute_bytes, attributes[0], attributes[1], data[0], data[1], 0, 0];
        [MAGIC, &words(&header), &words(&features), &body.0, &entries, &contents].concat()
    }
}

/// What follows the header.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    /// Appends a part and returns where it is and how long.
    fn put(&mut self, bytes: &[u8]) -> [u64; 2] {
        let at = self.end();
        self.0.extend(bytes);
        [at, bytes.len() as u64]
    }

    fn end(&self) -> u64 {
        HEADER_BYTES + self.0.len() as u64
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
