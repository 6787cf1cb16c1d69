//! A file that is not there before it is whole.
//!
//! Owns [`PartialFile`]: what is written goes beside the file that it will be, under a hidden name, and gets its own name at the
//! end. It deliberately leaves the hidden file behind if the process is killed: nobody takes that for a whole one.

use std::{
    fs::Permissions,
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use tempfile::{Builder, NamedTempFile};

/// A file that is being written. Dropped before [`keep`](Self::keep), it is deleted.
pub(crate) struct PartialFile(BufWriter<NamedTempFile>);

impl PartialFile {
    /// Begins what is to be the file `path`.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // As other files are, less what the user's mask takes away; a temporary file would be for nobody else.
        let permissions = Permissions::from_mode(0o666);
        let file = Builder::new().prefix(".shootdown-").permissions(permissions).tempfile_in(folder)?;
        Ok(Self(BufWriter::new(file)))
    }

    /// Makes what was written the file `path`, in place of one that is there.
    pub(crate) fn keep(self, path: &Path) -> io::Result<()> {
        let file = self.0.into_inner().map_err(io::IntoInnerError::into_error)?;
        // The name must not be on the disk before the contents are.
        file.as_file().sync_all()?;
        file.persist(path).map(|_| ()).map_err(|error| error.error)
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
