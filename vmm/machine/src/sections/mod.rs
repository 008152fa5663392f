//! Files made of sections with checksums: the form that snapshots and recordings share. All numbers
//! are little-endian.
//!
//! | | |
//! |---|---|
//! | 16 bytes | magic: what the file is, as text that ends with a line feed |
//! | `u32` | version of the form |
//! | sections | as below, to the end of the file |
//!
//! | section | |
//! |---|---|
//! | `u32` | what it is; [`END`] for the last one |
//! | `u32` | bytes of its contents |
//! | `u32` | CRC-32 (that of Ethernet and zip) of the eight bytes before and of the contents |
//! | contents | of the last one: `u64`, how many sections there are before it |

pub(super) mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{ReadError, Reader};
pub use write::Writer;

/// What the last section is.
pub const END: u32 = 0;

/// A kind of file.
#[derive(Debug)]
pub struct Form {
    /// Its first bytes.
    pub magic: &'static [u8; 16],
    /// The version that this program writes, and the only one it reads.
    pub version: u32,
    /// What it is, for sentences.
    pub name: &'static str,
    /// How many bytes the contents of a section of this kind have at most; `None` if there is no
    /// such kind.
    pub limit: fn(u32) -> Option<u32>,
}
