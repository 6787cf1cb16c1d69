//! A file that is not there before it is whole.
//!
//! Owns [`PartialFile`]: what is written goes beside the file that it will be, under a hidden name, and gets its own name at the
//! end. It deliberately leaves the hidden file behind if the process is killed: nobody takes that for a whole one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process,
};

/// A file that is being written. Dropped before [`keep`](Self::keep), it is deleted.
pub(crate) struct PartialFile {
    out: BufWriter<File>,
    hidden: Hidden,
}

/// The file's name until it is whole.
struct Hidden(PathBuf);

impl PartialFile {
    /// Begins what is to be the file `path`.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hidden = path.with_file_name(format!(".{name}.{}.partial", process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&hidden)?;
        Ok(Self { out: BufWriter::new(file), hidden: Hidden(hidden) })
    }

    /// Makes what was written the file `path`, in place of one that is there.
    pub(crate) fn keep(self, path: &Path) -> io::Result<()> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        // The name must not be on the disk before the contents are.
        file.sync_all()?;
        fs::rename(&self.hidden.0, path)
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Not there after `keep`. Otherwise there is an error to be told already, and it is the one to know.
        drop(fs::remove_file(&self.0));
    }
}
