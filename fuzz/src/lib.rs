//! What all fuzz targets do with their input.

mod memory;
mod read;

pub use memory::Bound;
pub use read::{Told, read, read_of_bytes};
