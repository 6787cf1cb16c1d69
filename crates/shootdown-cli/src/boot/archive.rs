//! The archive that Linux finds its first process in, as a file.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use super::Error;

const EXECUTABLE: u32 = 0o100_755;
const FOLDER: u32 = 0o040_755;

/// A file that is removed when this is dropped.
pub(super) struct Archive(PathBuf);

impl Archive {
    /// Makes one with the program as `/init`.
    pub(super) fn with_program(program: &Path) -> Result<Archive, Error> {
        let path = std::env::temp_dir().join(format!("shootdown-{}.cpio", process::id()));
        let bytes = bytes(&fs::read(program)?)?;
        fs::write(&path, bytes).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        Ok(Archive(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // It lies where such files are removed sooner or later.
        fs::remove_file(&self.0).unwrap_or_default();
    }
}

fn bytes(program: &[u8]) -> Result<Vec<u8>, Error> {
    let size = u32::try_from(program.len())?;
    let folder = cpio::newc::Builder::new("proc").ino(1).mode(FOLDER).write(Vec::new(), 0).finish()?;
    let mut file = cpio::newc::Builder::new("init").ino(2).mode(EXECUTABLE).write(folder, size);
    std::io::Write::write_all(&mut file, program)?;
    Ok(cpio::newc::trailer(file.finish()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_in_it_as_a_whole() {
        let program: Vec<u8> = (0..=255).cycle().take(4099).collect();
        let archive = bytes(&program).expect("it fits");
        let mut reader = cpio::newc::Reader::new(&archive[..]).expect("there is an entry");
        assert_eq!(reader.entry().name(), "proc");
        reader = cpio::newc::Reader::new(reader.finish().expect("it ends")).expect("there is a second one");
        assert_eq!((reader.entry().name(), reader.entry().mode()), ("init", EXECUTABLE));
        let mut found = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut found).expect("it can be read");
        assert_eq!(found, program);
    }
}
