//! What a `perf.data` file says of the machine and of itself.
//!
//! Source: tools/perf/util/header.h (`HEADER_TRACING_DATA` and the others), header.c (how each is written).

use crate::{
    error::Problem,
    import::perf_data::{bytes::Bytes, formats::Formats},
};

const TRACING_DATA: u32 = 1;
const OS_RELEASE: u32 = 4;
const VERSION: u32 = 5;
const ARCHITECTURE: u32 = 6;
const N_CPUS: u32 = 7;

/// The architecture whose tracepoints and syscall numbers are known.
const X86_64: &[u8] = b"x86_64";

/// What is of interest of it.
#[derive(Debug, Default)]
pub(crate) struct Features {
    pub(crate) formats: Formats,
    pub(crate) notes: Vec<(String, String)>,
}

impl Features {
    pub(crate) fn are_of_interest(feature: u32) -> bool {
        matches!(feature, TRACING_DATA | OS_RELEASE | VERSION | ARCHITECTURE | N_CPUS)
    }

    /// Takes in one part.
    pub(crate) fn add(&mut self, feature: u32, bytes: &[u8]) -> Result<(), Problem> {
        let mut note = |name: &str, text: String| self.notes.push((name.to_owned(), text));
        match feature {
            TRACING_DATA => self.formats = Formats::read(bytes)?,
            OS_RELEASE => note("kernel", String::from_utf8_lossy(text(bytes)).into_owned()),
            VERSION => note("recorder", format!("perf {}", String::from_utf8_lossy(text(bytes)))),
            ARCHITECTURE if text(bytes) != X86_64 => {
                let what = format!("a recording of {}", crate::error::shown(text(bytes)));
                return Err(Problem::PerfData { what, expected: "one of x86_64, whose tracepoints are known" });
            }
            N_CPUS => note("cpus", Bytes(bytes.get(4..).unwrap_or_default()).u32().unwrap_or_default().to_string()),
            _ => {}
        }
        Ok(())
    }
}

/// A text that its length precedes, and zeros follow.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.get(4..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default()
}
