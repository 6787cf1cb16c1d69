//! How much memory reading may take.

use std::io::{self, Write};

/// Whatever the input: buffers for the file, its lines and its records, and the tables of predictions of columns.
const FIXED_BYTES: u64 = 2 << 20;
/// For each byte that is read, packed or not. The most expensive ones are a `perf.data` file's records about lost samples:
/// 16 bytes, which become a moment and an event, each in a buffer that has doubled. Empty notes of a header are next.
const BYTES_PER_BYTE: u64 = 64;
/// RFC 8878 §3.1.1.1.2 lets a frame ask for a window. The decoder grants up to 128 MiB, for one frame after another.
const ZSTD_BYTES: u64 = 3 * (128 << 20);
/// What records that perf has compressed may expand to.
const HIGHEST_RATIO: u64 = 1000;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const PERF_MAGIC: &[u8] = b"PERFILE2";

/// The most memory that reading an input may take at any time. The C decoder's own, of 8 MiB at most, does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    bytes: u64,
}

impl Bound {
    /// For a file of which nothing is known.
    #[must_use]
    pub fn of(input: &[u8]) -> Self {
        let is_compressed = input.starts_with(&ZSTD_MAGIC);
        let mut unpacked = Unpacked::default();
        if is_compressed {
            // What comes before the damage counts.
            drop(zstd::stream::copy_decode(input, &mut unpacked));
        }
        let n_bytes = input.len() as u64 + unpacked.n_bytes;
        let has_packed_records = input.windows(ZSTD_MAGIC.len()).any(|bytes| bytes == ZSTD_MAGIC);
        let may_expand = if is_compressed { unpacked.beginning == PERF_MAGIC } else { has_packed_records };
        let Bound { bytes } = Self::of_unpacked(n_bytes * if may_expand { HIGHEST_RATIO } else { 1 });
        Bound { bytes: bytes + if is_compressed { ZSTD_BYTES } else { 0 } }
    }

    /// For a file that is known to unpack to this many bytes.
    #[must_use]
    pub fn of_unpacked(n_bytes: u64) -> Self {
        Bound { bytes: FIXED_BYTES + n_bytes.saturating_mul(BYTES_PER_BYTE) }
    }

    /// Runs something that may take as much.
    ///
    /// # Panics
    /// If it takes more.
    pub fn hold<T>(self, run: impl FnOnce() -> T) -> T {
        let mut result = None;
        let used = allocation_counter::measure(|| result = Some(run()));
        assert!(used.bytes_max <= self.bytes, "{} bytes of memory were in use; expected {self:?}", used.bytes_max);
        result.expect("what is measured has run")
    }
}

/// Counts bytes, and keeps the first.
#[derive(Default)]
struct Unpacked {
    beginning: Vec<u8>,
    n_bytes: u64,
}

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_missing = PERF_MAGIC.len() - self.beginning.len();
        self.beginning.extend(bytes.iter().take(n_missing));
        self.n_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
