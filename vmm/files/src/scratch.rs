//! Files of one process: nobody else finds them, and they are gone when it is, however it ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Returns `length` bytes that follow from `seed`: contents for disks that tests can recognise.
pub fn seeded_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Xoshiro256PlusPlus::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// A file without a name in the directory for temporary files. This process can open it by its
/// [`path`](Self::path).
#[derive(Debug)]
pub struct ScratchFile {
    file: File,
    path: PathBuf,
}

impl ScratchFile {
    /// Creates a file with these contents.
    ///
    /// # Errors
    /// The host has no room for it.
    pub fn new(contents: &[&[u8]]) -> io::Result<Self> {
        let mut file = tempfile::tempfile()?;
        for part in contents {
            io::Write::write_all(&mut file, part)?;
        }
        // To open this path makes a new open file with a position of its own, unlike
        // a duplicate of the descriptor.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        Ok(Self { file, path })
    }

    /// Returns the path by which this process can open the file, for as long as this value lives.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_opened_any_number_of_times() {
        let file = ScratchFile::new(&[b"ab", b"c"]).unwrap();
        for _ in 0..2 {
            assert_eq!(std::fs::read(file.path()).unwrap(), b"abc");
        }
        std::fs::write(file.path(), "d").unwrap();
        assert_eq!(file.file().metadata().unwrap().len(), 1);
    }
}
