//! Where things are in a `perf.data` file.
//!
//! Source: tools/perf/Documentation/perf.data-file-format.txt.

use std::io::SeekFrom;

use crate::{
    error::{At, Problem},
    import::perf_data::{attributes::Attributes, bytes::Bytes, features::Features},
    input::Seekable,
};

/// The first bytes of a file, and of a stream, that a little-endian machine wrote.
pub(crate) const MAGIC: &[u8] = b"PERFILE2";
/// Those of a big-endian one.
pub(crate) const FOREIGN_MAGIC: &[u8] = b"2ELIFREP";

/// The header of what `perf record -o -` writes.
const PIPE_HEADER_BYTES: u64 = 16;
const HEADER_BYTES: usize = 104;
/// A description of an event begins with 64 bytes that every version has; perf puts it into 8 times as many at most.
const ATTRIBUTE_BYTES: std::ops::RangeInclusive<u64> = 64 + SECTION_BYTES..=512 + SECTION_BYTES;
const SECTION_BYTES: u64 = 16;
/// No machine that is recorded has events enough to reach this.
const MAX_ATTRIBUTES_BYTES: u64 = 64 << 20;

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Section {
    offset: u64,
    size: u64,
}

/// The beginning of a file.
pub(crate) enum Layout {
    /// All of it is a stream of records, from here on.
    Stream { offset: u64 },
    /// Records are in one part, and what they mean is said in others.
    File { offset: u64, size: u64, attributes: Attributes, features: Features },
}

impl Layout {
    /// Reads the parts of a file that say what its records mean, and leaves it where the records begin.
    pub(crate) fn read(file: &mut dyn Seekable) -> Result<Self, (At, Problem)> {
        let length = file.seek(SeekFrom::End(0)).map_err(|error| (At::Byte(0), Problem::Read(error)))?;
        let mut reader = Parts { file, length };
        let start = reader.bytes(Section { offset: 0, size: PIPE_HEADER_BYTES }, "the header")?;
        let mut start = Bytes(&start);
        if start.take(MAGIC.len()) != Some(MAGIC) {
            let expected = "a recording of a little-endian machine, as x86-64 is";
            return Err((At::Byte(0), Problem::PerfData { what: "a big-endian machine's".to_owned(), expected }));
        }
        let header_size = start.u64();
        let layout = if header_size == Some(PIPE_HEADER_BYTES) {
            Layout::Stream { offset: PIPE_HEADER_BYTES }
        } else {
            reader.read_parts(header_size)?
        };
        let (Layout::Stream { offset } | Layout::File { offset, .. }) = layout;
        reader.file.seek(SeekFrom::Start(offset)).map_err(|error| (At::Byte(offset), Problem::Read(error)))?;
        Ok(layout)
    }
}

struct Parts<'a> {
    file: &'a mut dyn Seekable,
    length: u64,
}

impl Parts<'_> {
    fn read_parts(&mut self, header_size: Option<u64>) -> Result<Layout, (At, Problem)> {
        if header_size != Some(HEADER_BYTES as u64) {
            let what = format!("a header of {} bytes", header_size.unwrap_or_default());
            return Err((At::Byte(8), Problem::PerfData { what, expected: "104, or 16 of a stream" }));
        }
        let header = self.bytes(Section { offset: 0, size: HEADER_BYTES as u64 }, "the header")?;
        let word = |index: usize| Bytes::number_at(&header, 8 * index, 8).unwrap_or_default();
        let attribute_size = word(2);
        let (attributes, data) =
            (Section { offset: word(3), size: word(4) }, Section { offset: word(5), size: word(6) });
        let attributes = self.attributes(attributes, attribute_size)?;
        if data.size == 0 {
            let what = "the part with the records is empty".to_owned();
            let expected = "a recorder that was not killed, so that it could write how long that part is";
            return Err((At::Byte(48), Problem::PerfData { what, expected }));
        }
        self.check(data, "the part with the records")?;
        let mut features = Features::default();
        let words = [9, 10, 11, 12].map(word);
        self.features(data.offset + data.size, words, &mut features)?;
        Ok(Layout::File { offset: data.offset, size: data.size, attributes, features })
    }

    fn attributes(&mut self, section: Section, size: u64) -> Result<Attributes, (At, Problem)> {
        if !ATTRIBUTE_BYTES.contains(&size) || !section.size.is_multiple_of(size) || section.size > MAX_ATTRIBUTES_BYTES
        {
            let what = format!("{} bytes of events of {size} bytes each", section.size);
            return Err((At::Byte(16), Problem::PerfData { what, expected: "whole events of 80 to 528 bytes each" }));
        }
        let table = self.bytes(section, "the events")?;
        let mut attributes = Attributes::default();
        let mut at = section.offset;
        let mut n_id_bytes = 0;
        for entry in table.chunks_exact(usize::try_from(size).unwrap_or(usize::MAX)) {
            let (attribute, mut ids) = (entry, Bytes(entry.get(entry.len() - 16..).unwrap_or_default()));
            let ids = Section { offset: ids.u64().unwrap_or_default(), size: ids.u64().unwrap_or_default() };
            n_id_bytes += ids.size.min(self.length);
            if n_id_bytes > self.length {
                // The same part again and again: reading it would take forever.
                let what = "the same numbers for several events".to_owned();
                return Err((At::Byte(at), Problem::PerfData { what, expected: "numbers of its own for each event" }));
            }
            let ids = self.bytes(ids, "the numbers of an event")?;
            attributes.add(attribute, &ids).map_err(|problem| (At::Byte(at), problem))?;
            at += size;
        }
        Ok(attributes)
    }

    /// Reads the table of further parts, one for each bit that is set, which follows the records.
    fn features(&mut self, offset: u64, words: [u64; 4], features: &mut Features) -> Result<(), (At, Problem)> {
        let present = (0..256_u32).filter(|bit| words[*bit as usize / 64] >> (bit % 64) & 1 != 0);
        let mut at = offset;
        for feature in present {
            let entry = self.bytes(Section { offset: at, size: SECTION_BYTES }, "the table of further parts")?;
            at += SECTION_BYTES;
            if Features::are_of_interest(feature) {
                let mut entry = Bytes(&entry);
                let part = Section { offset: entry.u64().unwrap_or_default(), size: entry.u64().unwrap_or_default() };
                let bytes = self.bytes(part, "a part that the file says it has")?;
                features.add(feature, &bytes).map_err(|problem| (At::Byte(part.offset), problem))?;
            }
        }
        Ok(())
    }

    /// Reads a part, if the file has it whole.
    fn bytes(&mut self, section: Section, what: &'static str) -> Result<Vec<u8>, (At, Problem)> {
        self.check(section, what)?;
        let failed = |error| (At::Byte(section.offset), Problem::Read(error));
        self.file.seek(SeekFrom::Start(section.offset)).map_err(failed)?;
        let mut bytes = vec![0; usize::try_from(section.size).unwrap_or_default()];
        self.file.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn check(&self, Section { offset, size }: Section, what: &'static str) -> Result<(), (At, Problem)> {
        match offset.checked_add(size) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err((At::Byte(offset), Problem::CutShort { what, size, length: self.length })),
        }
    }
}
