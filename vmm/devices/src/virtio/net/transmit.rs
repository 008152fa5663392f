//! Frames from the guest.

use vm_memory::GuestMemoryError;
use vmm_base::warn_guest;
use vmm_net::spec::{ETHERNET_HEADER, MAX_FRAME};

use super::super::budget::Budget;
use super::super::buffers::total;
use super::super::faults::change_chain;
use super::super::{BufferError, Buffers, Progress, QueueService, ServeError, serve};
use super::Net;
use super::spec::{HEADER_BYTES, Header, MAX_DESCRIPTORS};
use crate::ram::DmaSpace;
use virtio_bindings::virtio_net::VIRTIO_NET_F_CSUM;

/// The reason for which a frame of the guest's is not sent.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error(transparent)]
    Chain(#[from] BufferError),
    #[error(transparent)]
    Memory(#[from] GuestMemoryError),
    #[error("a frame of {0} bytes")]
    Size(u64),
    #[error("a frame that is to be segmented, which was not offered")]
    Segmented,
    #[error("a checksum that cannot be completed")]
    Checksum,
}

impl Net {
    pub(super) fn transmit(&mut self, turn: QueueService<'_>) -> Result<Progress, ServeError> {
        let answer = |_, buffers: Result<Buffers, _>, mem: &_, budget: &mut Budget| {
            match self.frame(buffers, mem) {
                Ok(frame) => {
                    budget.spend(frame.len() as u64);
                    self.summary.sent += 1;
                    self.summary.sent_bytes += frame.len() as u64;
                    self.peer.take(self.clock.now_ns(), &frame);
                }
                Err(error) => {
                    warn_guest!("virtio-net: not sent: {error}");
                    self.summary.lost += 1;
                }
            }
            // Nothing is written: the driver only gets its buffers back (5.1.6.2).
            Some(0)
        };
        let progress = serve(turn.queue, turn.mem, MAX_DESCRIPTORS, turn.budget, answer)?;
        // What the peer answers, the other queue brings.
        self.hold();
        Ok(progress)
    }

    /// Returns the frame in a chain of the guest's, with a complete checksum.
    fn frame(
        &self,
        buffers: Result<Buffers, BufferError>,
        mem: &DmaSpace,
    ) -> Result<Vec<u8>, Unsent> {
        let mut buffers = buffers?;
        if let Some(faults) = &self.faults {
            change_chain(faults, &mut buffers);
        }
        let mut header = [0; HEADER_BYTES];
        // Before anything is allocated: a chain can say any length.
        let size = total(&buffers.readable).saturating_sub(HEADER_BYTES as u64);
        let len = usize::try_from(size).ok();
        let len = len.filter(|len| (ETHERNET_HEADER..=MAX_FRAME).contains(len));
        let len = len.ok_or(Unsent::Size(size))?;
        buffers.read(mem, &mut header)??;
        let mut frame = vec![0; len];
        buffers.read(mem, &mut frame)??;
        let header = Header::parse(&header);
        if header.segmented {
            return Err(Unsent::Segmented);
        }
        if header.needs_csum {
            if self.features & 1 << VIRTIO_NET_F_CSUM == 0 {
                return Err(Unsent::Checksum);
            }
            complete(&mut frame, header).ok_or(Unsent::Checksum)?;
        }
        Ok(frame)
    }
}

/// Writes the Internet checksum (RFC 1071) of what begins at `csum_start`, whose place already
/// holds that of the pseudo-header (5.1.6.2.1), if both are in the frame.
fn complete(frame: &mut [u8], header: Header) -> Option<()> {
    let start = usize::from(header.csum_start);
    let offset = usize::from(header.csum_offset);
    let summed = frame.get_mut(start..)?;
    // Before the sum, so that nothing is written where there is no room.
    summed.get(offset..offset + 2)?;
    let mut sum: u32 = 0;
    for pair in summed.chunks(2) {
        // A last odd octet is followed by zero. A frame's sum fits 32 bits.
        sum += u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "it was folded")]
    let sum = !(sum as u16);
    // Of UDP no sum at all is zero (RFC 768); for TCP both say the same.
    let sum = if sum == 0 { 0xffff } else { sum };
    summed[offset..offset + 2].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(csum_start: u16, csum_offset: u16) -> Header {
        Header {
            needs_csum: true,
            segmented: false,
            csum_start,
            csum_offset,
        }
    }

    #[test]
    fn checksums_are_completed_inside_frames_only() {
        // The example of RFC 1071, 3, with a place for the sum in front.
        let mut frame = [9, 9, 0, 0, 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        complete(&mut frame, header(2, 0)).unwrap();
        assert_eq!(frame[2..4], (!0xddf2_u16).to_be_bytes());
        for (start, offset) in [(12, 0), (13, 0), (11, 0), (2, 9), (u16::MAX, u16::MAX)] {
            let before = frame;
            assert_eq!(complete(&mut frame, header(start, offset)), None);
            assert_eq!(frame, before);
        }
    }
}
