//! Snapshots in files. What a file holds is in [`spec`].

mod read;
pub mod spec;
#[cfg(test)]
mod tests;
mod write;

use std::io::{Read, Write};

pub use spec::Header;

use super::Snapshot;
use crate::Moved;
use crate::sections::ReadError;

impl Snapshot {
    /// Writes the snapshot to `out`. Disks' files are named, with a hash of their contents, and
    /// needed again; what the guest has written on top of an overlay is in the snapshot.
    ///
    /// # Errors
    /// The host's.
    pub fn write(&self, out: impl Write) -> std::io::Result<()> {
        write::write(self, out)
    }

    /// Reads a snapshot that [`Snapshot::write`] wrote, and opens its disks' files to be read.
    /// Machines that go on from it leave those as they are.
    ///
    /// # Errors
    /// A sentence that goes on where one about the file has begun.
    pub fn read(input: impl Read) -> Result<Self, ReadError> {
        read::read(input, &Moved::default())
    }

    /// Returns the same, with disks' files that are now where `moved` says.
    ///
    /// # Errors
    /// As [`Snapshot::read`], and that it has no such disk.
    pub fn read_moved(input: impl Read, moved: &Moved) -> Result<Self, ReadError> {
        read::read(input, moved)
    }
}

/// Returns what can be said of a snapshot, all of which is read and checked; its disks are left
/// alone.
///
/// # Errors
/// As [`Snapshot::read`].
pub fn describe(input: impl Read) -> Result<Header, ReadError> {
    read::check(input)
}
