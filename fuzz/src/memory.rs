//! How much memory reading may take.

/// Whatever the input: buffers for the file, its lines and its records, and the tables of predictions of columns.
const FIXED_BYTES: u64 = 2 << 20;
/// For each byte of the input. The most expensive ones are a `perf.data` file's records about lost samples: 16 bytes, which become a moment and
/// an event, each in a buffer that has doubled; a header's empty notes are next.
const BYTES_PER_BYTE: u64 = 64;
/// RFC 8878 §3.1.1.1.2 lets a frame ask for a window. The decoder grants up to 128 MiB, once more when it begins another frame.
const ZSTD_BYTES: u64 = 3 * (128 << 20);
/// What the reader lets compressed bytes expand to.
const HIGHEST_RATIO: u64 = 1000;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The most memory that reading an input may take at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    bytes: u64,
}

impl Bound {
    /// For a file of which nothing is known.
    #[must_use]
    pub fn of(input: &[u8]) -> Self {
        let n_bytes = input.len() as u64;
        if input.windows(ZSTD_MAGIC.len()).any(|bytes| bytes == ZSTD_MAGIC) {
            let unpacked = Self::of_unpacked(n_bytes.saturating_mul(HIGHEST_RATIO));
            return Bound { bytes: unpacked.bytes + ZSTD_BYTES };
        }
        Self::of_unpacked(n_bytes)
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
