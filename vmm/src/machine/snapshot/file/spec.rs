//! The form of a snapshot's file. All numbers are little-endian.
//!
//! | | |
//! |---|---|
//! | 16 bytes | [`MAGIC`] |
//! | `u32` | version of the form, [`VERSION`] |
//! | sections | as below, to the end of the file |
//!
//! | section | |
//! |---|---|
//! | `u32` | what it is: a [`Kind`] |
//! | `u32` | bytes of its contents |
//! | `u32` | CRC-32 (that of Ethernet and zip) of kind, length and contents |
//! | contents | |
//!
//! The first section is the header, the last one the end. Header and state are JSON, so that a file can be looked at
//! with ordinary tools; memory and disks are whole pages.

use serde::{Deserialize, Serialize};

use crate::machine::Config;

/// The first bytes of a file.
pub const MAGIC: &[u8; 16] = b"viommu snapshot\n";
/// The version that this program writes, and the only one it reads.
pub const VERSION: u32 = 1;
/// Bytes of the contents of a section at most, save the state's.
pub const MAX_SECTION: u32 = (1 << 20) + 64;
/// Bytes of the state at most: those of four cores and eight IOMMUs with full caches are a tenth of that.
pub const MAX_STATE: u32 = 256 << 20;

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A [`Header`].
    Header = 1,
    /// A [`MachineState`](crate::machine::MachineState).
    State = 2,
    /// `u64`: an offset in RAM, a multiple of 4096; then the pages from there on. RAM that is in no such section is zero.
    Pages = 3,
    /// `u32`: the number of a disk; `u64`: the number of a block of 4096 bytes; then the blocks from there on, which differ
    /// from the disk's file.
    Blocks = 4,
    /// `u64`: how many sections there are before it.
    End = 5,
}

impl Kind {
    /// The kind of this number.
    pub const fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Header,
            2 => Self::State,
            3 => Self::Pages,
            4 => Self::Blocks,
            5 => Self::End,
            _ => return None,
        })
    }

    /// Bytes that its contents have at most.
    pub const fn limit(self) -> u32 {
        match self {
            Self::State => MAX_STATE,
            Self::End => 8,
            Self::Header | Self::Pages | Self::Blocks => MAX_SECTION,
        }
    }
}

/// What can be said of a snapshot without reading all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Header {
    /// The program that wrote the file.
    pub producer: String,
    /// Guest time since power-on, in nanoseconds.
    pub guest_ns: u64,
    /// Instructions retired by all cores.
    pub instructions: u64,
    /// What the machine was made from; paths of disks are absolute.
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
}
