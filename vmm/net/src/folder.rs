//! The files that a network peer serves: all of a folder, read once.
//!
//! What is served cannot change during a run, and a request can name nothing but what was found:
//! there is no path of a request that the host's file system ever sees.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use vmm_files::input;

/// The most files of a folder.
pub const MAX_FILES: usize = 4096;
/// The most bytes of all of them.
pub const MAX_BYTES: u64 = 256 << 20;
/// The most folders inside one another.
pub const MAX_DEPTH: usize = 16;
/// The most entries of directories that are looked at, whatever they are.
const MAX_ENTRIES: usize = 16 * MAX_FILES;

/// A folder that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Something cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has too many files.
    #[error("it has more than {MAX_FILES} files: serve a smaller one")]
    TooMany,
    /// It is too large.
    #[error("its files have more than {} MiB: serve a smaller one", MAX_BYTES >> 20)]
    TooLarge,
    /// It is too deep.
    #[error("it has more than {MAX_DEPTH} folders inside one another: serve a flatter one")]
    TooDeep,
}

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path in the folder, with `/` between names and none in front.
    pub name: String,
    /// Its contents.
    pub data: Vec<u8>,
}

/// What is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// Sorted by name.
    files: Vec<File>,
}

impl Folder {
    /// Reads the folder at `path`. Symbolic links and what is no file are left out, as are names
    /// that are no UTF-8.
    ///
    /// # Errors
    /// The end of a sentence about the folder.
    pub fn read(path: &Path) -> Result<Self, FolderError> {
        let mut reader = Reader {
            files: Vec::new(),
            left: MAX_BYTES,
            entries: 0,
        };
        reader.directory(path, "", 0)?;
        let mut files = reader.files;
        // The host lists a directory in any order.
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { files })
    }

    /// Creates a folder of `files`.
    pub fn of(mut files: Vec<File>) -> Self {
        files.sort_by(|one, other| one.name.cmp(&other.name));
        files.dedup_by(|one, other| one.name == other.name);
        Self { files }
    }

    /// Returns the number of the file of that name.
    pub fn find(&self, name: &str) -> Option<usize> {
        let found = self
            .files
            .binary_search_by(|file| file.name.as_str().cmp(name));
        found.ok()
    }

    /// Returns file `index`.
    pub fn file(&self, index: usize) -> Option<&File> {
        self.files.get(index)
    }

    /// Returns all files, by name.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Returns the SHA-256 of names and contents, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for File { name, data } in &self.files {
            // With lengths, or bytes could move from a name to its contents.
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update((data.len() as u64).to_le_bytes());
            hash.update(data);
        }
        let digest = hash.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

struct Reader {
    files: Vec<File>,
    /// Bytes that may still be read.
    left: u64,
    entries: usize,
}

impl Reader {
    fn directory(&mut self, path: &Path, prefix: &str, depth: usize) -> Result<(), FolderError> {
        if depth > MAX_DEPTH {
            return Err(FolderError::TooDeep);
        }
        let fail = |source| FolderError::Read {
            path: path.into(),
            source,
        };
        for entry in std::fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(FolderError::TooMany);
            }
            let Ok(name) = entry.file_name().into_string() else {
                tracing::warn!("{:?} is not served: its name is no UTF-8", entry.path());
                continue;
            };
            // The entry's own kind, so that no link leads out of the folder, or round in it.
            let kind = entry.file_type().map_err(fail)?;
            let name = format!("{prefix}{name}");
            if kind.is_dir() {
                self.directory(&entry.path(), &format!("{name}/"), depth + 1)?;
            } else if kind.is_file() {
                self.file(&entry.path(), name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: String) -> Result<(), FolderError> {
        if self.files.len() >= MAX_FILES {
            return Err(FolderError::TooMany);
        }
        let fail = |source| FolderError::Read {
            path: path.into(),
            source,
        };
        let file = input::open_file(path).map_err(fail)?;
        let mut data = Vec::new();
        // One byte more than is allowed, to tell that there is more. The file may grow meanwhile.
        let read = file.take(self.left + 1).read_to_end(&mut data);
        read.map_err(fail)?;
        self.left = self
            .left
            .checked_sub(data.len() as u64)
            .ok_or(FolderError::TooLarge)?;
        self.files.push(File { name, data });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_without_its_links() {
        let home = tempfile::tempdir().unwrap();
        let served = home.path().join("served");
        std::fs::create_dir_all(served.join("sub")).unwrap();
        std::fs::write(home.path().join("secret"), "secret").unwrap();
        std::fs::write(served.join("b"), "bb").unwrap();
        std::fs::write(served.join("sub/a"), "aaa").unwrap();
        std::os::unix::fs::symlink("../secret", served.join("link")).unwrap();
        std::os::unix::fs::symlink("..", served.join("up")).unwrap();
        let folder = Folder::read(&served).unwrap();
        let names: Vec<_> = folder.files().iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["b", "sub/a"]);
        assert_eq!(folder.find("sub/a"), Some(1));
        for name in ["link", "up/secret", "../secret", "/b", "sub", ""] {
            assert_eq!(folder.find(name), None, "{name}");
        }
        let before = folder.sha256();
        std::fs::write(served.join("b"), "bc").unwrap();
        assert_ne!(Folder::read(&served).unwrap().sha256(), before);
        assert!(matches!(
            Folder::read(&served.join("none")),
            Err(FolderError::Read { .. })
        ));
    }

    #[test]
    fn a_folder_that_is_too_deep_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let deep = "d/".repeat(MAX_DEPTH + 1);
        std::fs::create_dir_all(home.path().join(deep)).unwrap();
        assert!(matches!(
            Folder::read(home.path()),
            Err(FolderError::TooDeep)
        ));
    }
}
