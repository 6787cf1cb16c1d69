//! The file of a page: whole, or not there.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use crate::{html::page, partial::PartialFile, replayed::Replayed};

type Error = Box<dyn std::error::Error>;

/// A page that is going to be written. Until it is, whatever was at its path stays there.
pub(crate) struct PageFile {
    path: PathBuf,
    file: PartialFile,
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
        let file = PartialFile::create(path).map_err(|error| refused(&error))?;
        Ok(PageFile { path: path.to_owned(), file })
    }

    /// Writes the page of these replays, in the place of whatever was there.
    pub(crate) fn finish(self, replays: &[Replayed]) -> Result<(), Error> {
        let PageFile { path, mut file } = self;
        let page = page::page(replays).into_string();
        let written = file.write_all(page.as_bytes()).and_then(|()| file.keep(&path));
        written.map_err(|error| format!("--html {}: {error}", path.display()).into())
    }
}
