//! Why a snapshot's file is of no use: each a sentence for the user.

use std::io;
use std::path::PathBuf;

use super::spec::VERSION;

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The host's.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is not a snapshot")]
    Foreign,
    /// It was written by another version of this program.
    #[error(
        "it has version {0} of the form of snapshots, but this program reads version {VERSION} only"
    )]
    Version(u32),
    /// It ends before its end.
    #[error("it is not whole: it ends too early")]
    Truncated,
    /// What it holds is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// What it holds is whole, and is no machine.
    #[error("it describes no machine that can be: {0}")]
    Impossible(String),
    /// A disk is not there.
    #[error("cannot open the disk {path}, which it needs: {why}", path = path.display())]
    Disk {
        /// Its name.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A disk's file is another one than it was.
    #[error("the disk {path} has changed since the snapshot was made", path = .0.display())]
    DiskChanged(PathBuf),
}
