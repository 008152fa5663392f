//! The block device on the wire (5.2).

use virtio_bindings::virtio_blk::*;

use crate::disk::SECTOR;

/// Bytes of a request's header: type, reserved, sector.
pub const HEADER_BYTES: usize = 16;
/// Bytes of one range to discard or zero: sector, number of sectors, flags.
pub const RANGE_BYTES: usize = 16;
/// Bytes of the identifier.
pub const ID_BYTES: usize = VIRTIO_BLK_ID_BYTES as usize;

/// Entries of each queue.
pub const QUEUE_SIZE: u16 = 256;
/// Most data segments of a request: what fits a queue beside header and status.
pub const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// Most descriptors of a request: data, header and status, each of the latter possibly split once.
pub const MAX_DESCRIPTORS: usize = SEG_MAX as usize + 4;
/// Most bytes of one segment. With [`SEG_MAX`] it bounds the work of one request to 254 MiB.
pub const SIZE_MAX: u32 = 1 << 20;
/// Most bytes of data of one request.
pub const MAX_REQUEST_BYTES: u64 = SEG_MAX as u64 * SIZE_MAX as u64;
/// Most sectors of one discarded or zeroed range: 128 MiB.
pub const MAX_RANGE_SECTORS: u32 = 1 << 18;
/// Most ranges of one request; Linux sends at most this many.
pub const MAX_RANGES: u32 = 32;

/// Returns the configuration space, 60 bytes (5.2.4).
#[expect(clippy::cast_possible_truncation, reason = "a sector has 512 bytes")]
pub fn config(sectors: u64, queues: u16, discard: bool) -> Vec<u8> {
    let mut config = vec![0; 60];
    // Offsets are those of `struct virtio_blk_config`; fields of features that are not offered stay
    // zero.
    let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &sectors.to_le_bytes());
    put(8, &SIZE_MAX.to_le_bytes());
    put(12, &SEG_MAX.to_le_bytes());
    put(20, &(SECTOR as u32).to_le_bytes());
    put(34, &queues.to_le_bytes());
    if discard {
        put(36, &MAX_RANGE_SECTORS.to_le_bytes());
        put(40, &MAX_RANGES.to_le_bytes());
        put(44, &8_u32.to_le_bytes()); // alignment: a 4 KiB block of the host's file system
        put(48, &MAX_RANGE_SECTORS.to_le_bytes());
        put(52, &MAX_RANGES.to_le_bytes());
        put(56, &[1]); // zeroing may unmap
    }
    config
}

/// A request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// VIRTIO_BLK_T_*.
    pub kind: u32,
    /// First sector.
    pub sector: u64,
}

impl Header {
    /// Returns the header in `bytes`.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = *bytes;
        Self {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            sector: u64::from_le_bytes(sector),
        }
    }
}

/// A range to discard or zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectorRange {
    /// First sector.
    pub sector: u64,
    /// Number of sectors.
    pub sectors: u32,
    /// VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP or nothing.
    pub flags: u32,
}

impl SectorRange {
    /// Returns the range in `bytes`.
    pub fn parse(bytes: &[u8; RANGE_BYTES]) -> Self {
        let [s @ .., n0, n1, n2, n3, f0, f1, f2, f3] = *bytes;
        Self {
            sector: u64::from_le_bytes(s),
            sectors: u32::from_le_bytes([n0, n1, n2, n3]),
            flags: u32::from_le_bytes([f0, f1, f2, f3]),
        }
    }
}
