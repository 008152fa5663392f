//! The file behind a block device, and the lock that keeps two writers apart.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::spec::SECTOR;
use super::storage::Storage;

/// An opened, locked disk.
#[derive(Debug)]
pub struct Disk {
    /// Its contents.
    pub storage: Storage,
    /// Its size in sectors; a last partial sector is out of reach.
    pub sectors: u64,
    /// Whether it may not be written.
    pub read_only: bool,
}

/// What a guest may do to a disk's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Read it and write it.
    Write,
    /// Read it, and write what stays in memory.
    Overlay,
}

/// Why a disk cannot be opened.
#[derive(Debug)]
pub enum DiskError {
    /// The host refused.
    Open(io::Error),
    /// It is a directory or the like.
    Kind,
    /// Someone else has it: a writer, or a reader when we want to write.
    Locked,
}

impl Disk {
    /// Opens the raw image at `path`. Any number may read it at once, or one may write it; the lock is advisory
    /// (`flock`) and ends with the file descriptor, whatever happens to the process.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn open(path: &Path, access: Access) -> Result<Self, DiskError> {
        // Looked at before opening: to open a named pipe would wait for its other end.
        let kind = std::fs::metadata(path)
            .map_err(DiskError::Open)?
            .file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(DiskError::Kind);
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .open(path)
            .map_err(DiskError::Open)?;
        let how = match access {
            Access::Read | Access::Overlay => FlockOperation::NonBlockingLockShared,
            Access::Write => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&file, how) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(DiskError::Locked),
            Err(error) => return Err(DiskError::Open(error.into())),
        }
        // The length of a block device is where its end is.
        let bytes = io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(DiskError::Open)?;
        Ok(Self {
            storage: match access {
                Access::Read | Access::Write => Storage::direct(file),
                Access::Overlay => Storage::overlay(Arc::new(file), Arc::default()),
            },
            sectors: bytes / SECTOR,
            read_only: access == Access::Read,
        })
    }
}
