//! What a snapshot's file holds: sections as [`sections`](crate::sections) has them.
//!
//! The first one is the header, the second the state; both are JSON, so that a file can be looked
//! at with ordinary tools. Memory and disks are whole pages.

use serde::{Deserialize, Serialize};

use crate::Config;
use crate::sections::Form;

/// Snapshots.
pub static FORM: Form = Form {
    magic: b"viommu snapshot\n",
    version: 3,
    name: "snapshot",
    limit,
};

/// A [`Header`].
pub const HEADER: u32 = 1;
/// A [`MachineState`](crate::MachineState).
pub const STATE: u32 = 2;
/// `u64`: an offset in RAM, a multiple of 4096; then the pages from there on. RAM that is in no
/// such section is zero.
pub const PAGES: u32 = 3;
/// `u32`: the number of a disk; `u64`: the number of a block of 4096 bytes; then the blocks from
/// there on, which differ from the disk's file.
pub const BLOCKS: u32 = 4;

/// `u32`: the number of a disk; then pairs of `u64`: the first block of a range that is zero, and
/// the one behind its last.
pub const ZEROS: u32 = 5;

/// Bytes of memory or of a disk in a section at most.
pub const RUN: usize = 1 << 20;
/// Bytes of the state at most: those of four cores and eight IOMMUs with full caches are a tenth of
/// that.
const MAX_STATE: u32 = 256 << 20;

#[expect(clippy::cast_possible_truncation, reason = "a run is far below 4 GiB")]
const fn limit(kind: u32) -> Option<u32> {
    match kind {
        STATE => Some(MAX_STATE),
        // 64 bytes are more than the numbers take that stand in front of a run.
        HEADER | PAGES | BLOCKS | ZEROS => Some(RUN as u32 + 64),
        _ => None,
    }
}

/// The facts of a snapshot that are known without reading all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Header {
    /// The program that wrote the file.
    pub producer: String,
    /// Guest time since power-on, in nanoseconds.
    pub guest_ns: u64,
    /// Instructions retired by all cores.
    pub instructions: u64,
    /// What the machine was made from; paths are absolute.
    pub config: Config,
    /// The disks, in the order of the configuration.
    pub disks: Vec<DiskHeader>,
}

/// A disk's file, which is needed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DiskHeader {
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of what it held, in hexadecimal digits.
    pub sha256: String,
    /// How many blocks of 4096 bytes differ from it; they are in the snapshot.
    pub changed: u64,
    /// How many ranges of blocks are zero and were not there.
    pub zeroed: u64,
}
