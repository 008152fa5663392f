//! A network device on the wire (virtio 1.2, 5.1), and limits.

use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
    VIRTIO_NET_F_STATUS, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE,
    VIRTIO_NET_S_LINK_UP,
};
use vmm_net::spec::MTU;

/// The queue of frames for the guest (5.1.2).
pub const RECEIVE: usize = 0;
/// The queue of frames from the guest (5.1.2).
pub const TRANSMIT: usize = 1;
/// Entries of each queue.
pub const QUEUE_SIZE: u16 = 256;
/// Most descriptors of one chain: Linux sends a frame in up to 19 (`MAX_SKB_FRAGS` + 2).
pub const MAX_DESCRIPTORS: usize = 64;

/// The features that the device offers: its address, its link, the size of its packets, frames in
/// more than one buffer, and checksums that it completes for the guest. No segmentation: no frame
/// is larger than the network's.
pub const FEATURES: u64 = 1 << VIRTIO_NET_F_CSUM
    | 1 << VIRTIO_NET_F_MTU
    | 1 << VIRTIO_NET_F_MAC
    | 1 << VIRTIO_NET_F_MRG_RXBUF
    | 1 << VIRTIO_NET_F_STATUS;

/// Bytes of the header in front of each frame (5.1.6), with `num_buffers`, as every driver of
/// version 1 has it.
pub const HEADER_BYTES: usize = 12;
/// The place of `num_buffers` in it.
pub const NUM_BUFFERS: usize = 10;

/// Bytes of the configuration space up to `mtu` (5.1.4).
pub const CONFIG_BYTES: usize = 12;

/// Returns the configuration space of an interface of this address, whose link is up.
pub fn config(mac: [u8; 6]) -> [u8; CONFIG_BYTES] {
    let mut config = [0; CONFIG_BYTES];
    config[..6].copy_from_slice(&mac);
    #[expect(clippy::cast_possible_truncation, reason = "it is a flag of 16 bits")]
    config[6..8].copy_from_slice(&(VIRTIO_NET_S_LINK_UP as u16).to_le_bytes());
    config[8..10].copy_from_slice(&1_u16.to_le_bytes());
    config[10..12].copy_from_slice(&MTU.to_le_bytes());
    config
}

/// The header in front of a frame of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether a checksum is to be completed.
    pub needs_csum: bool,
    /// Whether the frame is to be cut into several.
    pub segmented: bool,
    /// Where the octets begin that are summed up.
    pub csum_start: u16,
    /// The place of the sum, from there.
    pub csum_offset: u16,
}

impl Header {
    /// Reads it.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            needs_csum: u32::from(bytes[0]) & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0,
            segmented: u32::from(bytes[1]) != VIRTIO_NET_HDR_GSO_NONE,
            csum_start: word(6),
            csum_offset: word(8),
        }
    }
}
