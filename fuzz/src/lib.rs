//! What all fuzz targets do with their input.

mod events;
mod memory;
mod perf_file;
mod read;
mod round_trip;

pub use events::{any_recording, events};
pub use memory::Bound;
pub use perf_file::PerfFile;
pub use read::{NAME, Told, read, read_bytes, read_within};
pub use round_trip::{round_trip_as_columns, round_trip_as_text, write_as_text};
