//! The file of a page: whole, or not there.

use std::{
    fs::Permissions,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile};

use crate::{html::page, replayed::Replayed};

type Error = Box<dyn std::error::Error>;

/// A page that is going to be written. Until it is, whatever was at its path stays there.
pub(crate) struct PageFile {
    path: PathBuf,
    // Beside it, so that renaming is all that is left to do. It goes away with this if that does not happen.
    temporary: NamedTempFile,
}

impl PageFile {
    /// Makes sure that a page can be written here, before anybody has waited for what is to be in it.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let refused = |what: &dyn std::fmt::Display| {
            format!("--html {}: {what}; expected the path of a page in a folder that can be written", path.display())
        };
        if path.exists() && !path.is_file() {
            return Err(refused(&"it is no file").into());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // As other files are, less what the user's mask takes away; a temporary file would be for nobody else.
        let temporary = Builder::new()
            .prefix(".shootdown-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(|error| refused(&error))?;
        Ok(PageFile { path: path.to_owned(), temporary })
    }

    /// Writes the page of these replays, in the place of whatever was there.
    pub(crate) fn finish(self, replays: &[Replayed]) -> Result<(), Error> {
        let PageFile { path, mut temporary } = self;
        temporary.write_all(page::page(replays).into_string().as_bytes())?;
        temporary.persist(&path).map_err(|error| format!("--html {}: {}", path.display(), error.error))?;
        Ok(())
    }
}
