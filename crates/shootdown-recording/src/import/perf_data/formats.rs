//! Where a tracepoint has its fields: the `format` files of tracefs, of which `perf record` puts copies into what it records.
//!
//! Source: tools/perf/util/trace-event-info.c writes them (`tracing_data_get`).

use rustc_hash::FxHashMap;

use crate::{
    error::Problem,
    import::{perf_data::bytes::Bytes, tracepoint::Tracepoint},
    text::digits,
};

/// What the copies begin with.
const MAGIC: &[u8] = b"\x17\x08\x44tracing";

/// Where a field is in the bytes of a tracepoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Field {
    offset: usize,
    size: usize,
    is_signed: bool,
}

impl Field {
    pub(crate) fn bytes(self, raw: &[u8]) -> Option<&[u8]> {
        raw.get(self.offset..self.offset.checked_add(self.size)?)
    }

    /// Reads the number there, with its sign extended if it has one.
    pub(crate) fn number(self, raw: &[u8]) -> Option<u64> {
        self.element(raw, 0, self.size)
    }

    /// Reads one number of an array.
    pub(crate) fn element(self, raw: &[u8], index: usize, size: usize) -> Option<u64> {
        let number = Bytes::number_at(raw, self.offset.checked_add(index.checked_mul(size)?)?, size)?;
        let unused_bits = 64 - 8 * u32::try_from(size).ok()?;
        Some(if self.is_signed { ((number << unused_bits) as i64 >> unused_bits) as u64 } else { number })
    }
}

/// The most fields that are read of a tracepoint.
const MAX_FIELDS: usize = 4;

/// A tracepoint that matters, and where its fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) tracepoint: Tracepoint,
    pub(crate) fields: [Field; MAX_FIELDS],
    /// The task that passed it.
    pub(crate) task: Field,
}

/// The formats of a recording, by the numbers that its tracepoints have.
#[derive(Debug, Default)]
pub(crate) struct Formats(FxHashMap<u64, Format>);

impl Formats {
    pub(crate) fn get(&self, id: u64) -> Option<&Format> {
        self.0.get(&id)
    }

    /// Lists, as notes, which tracepoints were not recorded and what is unknown without them.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (String, String)> {
        let is_missing = |tracepoint: &Tracepoint| !self.0.values().any(|format| format.tracepoint == *tracepoint);
        let note = |tracepoint: Tracepoint| format!("{tracepoint}: {}", tracepoint.without());
        Tracepoint::ALL
            .into_iter()
            .filter(is_missing)
            .map(move |tracepoint| (crate::header::MISSING.to_owned(), note(tracepoint)))
    }

    /// Reads the copies of all formats.
    pub(crate) fn read(section: &[u8]) -> Result<Self, Problem> {
        let cut = || Problem::PerfData {
            what: "the tracing data ends too early".to_owned(),
            expected: "the formats of the tracepoints, whole",
        };
        let mut bytes = Bytes(section);
        if bytes.take(MAGIC.len()) != Some(MAGIC) {
            let expected = "tracing data, as `perf record -e SYSTEM:TRACEPOINT` writes it";
            return Err(Problem::PerfData { what: "the tracing data begins with something else".to_owned(), expected });
        }
        let formats = Self::read_systems(&mut bytes).ok_or_else(cut)?;
        let mut known = Self::default();
        for (system, text) in formats {
            known.add(system, text)?;
        }
        Ok(known)
    }

    /// Splits the copies into the texts, each with the name of its system.
    fn read_systems<'a>(bytes: &mut Bytes<'a>) -> Option<Vec<(&'a [u8], &'a [u8])>> {
        let _version = bytes.text()?;
        // Byte order, size of long, size of a page.
        bytes.skip(1 + 1 + 4)?;
        for _ in ["header_page", "header_event"] {
            let _name = bytes.text()?;
            skip_text(bytes)?;
        }
        // Formats of ftrace itself.
        for _ in 0..bytes.u32()? {
            skip_text(bytes)?;
        }
        let mut formats = Vec::new();
        for _ in 0..bytes.u32()? {
            let system = bytes.text()?;
            for _ in 0..bytes.u32()? {
                let length = usize::try_from(bytes.u64()?).ok()?;
                formats.push((system, bytes.take(length)?));
            }
        }
        Some(formats)
    }

    fn add(&mut self, system: &[u8], text: &[u8]) -> Result<(), Problem> {
        let lines = || text.split(|byte| *byte == b'\n');
        let after = |prefix: &[u8]| lines().find_map(|line| line.strip_prefix(prefix));
        let Some(tracepoint) = after(b"name: ").and_then(|name| Tracepoint::by_name(Some(system), name)) else {
            return Ok(());
        };
        let field = |name: &str| {
            let found = lines().find_map(|line| parse_field(line).filter(|(of, _)| *of == name.as_bytes()));
            found.map(|(_, field)| field).ok_or_else(|| Problem::PerfData {
                what: format!("{tracepoint} has no field `{name}`"),
                expected: "the fields that Linux has had so far",
            })
        };
        let mut fields = [Field::default(); MAX_FIELDS];
        for (slot, name) in fields.iter_mut().zip(tracepoint.fields()) {
            *slot = field(name)?;
        }
        let id = after(b"ID: ").and_then(|id| digits(10, id)).ok_or_else(|| Problem::PerfData {
            what: format!("{tracepoint} has no number"),
            expected: "a line `ID: NUMBER` in its format",
        })?;
        self.0.insert(id, Format { tracepoint, fields, task: field("common_pid")? });
        Ok(())
    }
}

fn skip_text(bytes: &mut Bytes<'_>) -> Option<()> {
    let length = usize::try_from(bytes.u64()?).ok()?;
    bytes.skip(length)
}

/// Parses a line like `field:pid_t prev_pid; offset:24; size:4; signed:1;`.
fn parse_field(line: &[u8]) -> Option<(&[u8], Field)> {
    let declaration = line.trim_ascii_start().strip_prefix(b"field:")?;
    let mut parts = declaration.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next()?.split(|byte| *byte == b' ').next_back()?;
    let name = name.split(|byte| *byte == b'[').next()?;
    let mut number = |prefix: &[u8]| digits(10, parts.next()?.strip_prefix(prefix)?);
    let (offset, size) = (usize::try_from(number(b"offset:")?).ok()?, usize::try_from(number(b"size:")?).ok()?);
    Some((name, Field { offset, size, is_signed: number(b"signed:")? != 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_where_its_format_says() {
        let line = b"\tfield:long prev_state;\toffset:2;\tsize:2;\tsigned:1;";
        let (name, field) = parse_field(line).expect("a field");
        assert_eq!((name, field), (&b"prev_state"[..], Field { offset: 2, size: 2, is_signed: true }));
        assert_eq!(field.number(&[0, 0, 0xfe, 0xff]), Some(-2_i64 as u64));
        assert_eq!(field.number(&[0, 0, 0xfe]), None);
        let (name, field) =
            parse_field(b"\tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;").expect("one");
        assert_eq!(name, b"args");
        assert_eq!(field.element(&[7; 64], 5, 8), Some(0x0707_0707_0707_0707));
        assert_eq!(field.element(&[7; 63], 5, 8), None);
    }
}
