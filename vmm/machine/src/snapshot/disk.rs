//! The disks of a snapshot: a file that is never written, and the differences from it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};
use vmm_devices::disk::Disk;
use vmm_devices::disk::SECTOR;
use vmm_devices::disk::storage::{Changes, Storage};

use super::memory::{CHUNK, data};

/// Most bytes of a disk's file that are copied into memory.
pub const MAX_COPIED: u64 = 1 << 30;

/// The contents of a disk at one moment.
#[derive(Clone, Debug)]
pub(super) struct DiskImage {
    /// It is never written.
    pub file: Arc<File>,
    /// The differences from it.
    pub changes: Arc<Changes>,
    /// Its size.
    pub sectors: u64,
    /// Whether the guest may not write it.
    pub read_only: bool,
}

impl DiskImage {
    /// Captures what `disk` holds now. If its file may be written after this (`goes_on`), it is
    /// copied.
    ///
    /// # Errors
    /// The file cannot be read, or holds more than [`MAX_COPIED`] if it is to be copied.
    pub fn capture(disk: &Disk, goes_on: bool) -> io::Result<Self> {
        let Disk {
            storage,
            sectors,
            read_only,
        } = disk;
        let changes = storage.changes();
        // Below an overlay the file itself is never written.
        let written = changes.is_none() && !read_only;
        // Without `goes_on` nobody writes the file any more, and its
        // lock stays with the descriptor.
        let file = if written && goes_on {
            Arc::new(copy(storage.file(), sectors * SECTOR)?)
        } else {
            Arc::clone(storage.file())
        };
        Ok(Self {
            file,
            changes: changes.unwrap_or_default(),
            sectors: *sectors,
            read_only: *read_only,
        })
    }

    /// Creates a disk that begins with this, and whose writes are its own.
    pub fn open(&self) -> Disk {
        // An overlay even for a guest that wrote its file directly:
        // others go on from the same file.
        let (file, changes) = (Arc::clone(&self.file), Arc::clone(&self.changes));
        Disk {
            storage: Storage::overlay(file, changes),
            sectors: self.sectors,
            read_only: self.read_only,
        }
    }
}

/// Copies into memory the first `size` bytes of `file`.
fn copy(file: &File, size: u64) -> io::Result<File> {
    // Holes are left out: how large the file looks costs nothing, how much it holds does.
    let runs = data(file, size)?;
    if runs.iter().map(|run| run.end - run.start).sum::<u64>() > MAX_COPIED {
        return Err(io::Error::other(format!(
            "it holds more than {} and the guest writes to it: make it an overlay, whose writes stay in memory",
            vmm_base::ByteSize(MAX_COPIED)
        )));
    }
    let copy = File::from(memfd_create("disk", MemfdFlags::CLOEXEC)?);
    // One hole at first, which reads as zeros as the holes of the original do.
    copy.set_len(size)?;
    let mut buffer = vec![0; CHUNK];
    for run in runs {
        let mut at = run.start;
        while at < run.end {
            #[expect(clippy::cast_possible_truncation, reason = "it is at most CHUNK")]
            let part = &mut buffer[..(run.end - at).min(CHUNK as u64) as usize];
            file.read_exact_at(part, at)?;
            copy.write_all_at(part, at)?;
            at += part.len() as u64;
        }
    }
    Ok(copy)
}
