//! A descriptor chain as two lists of memory: what the device reads and what it writes.

use std::ops::Deref;

use crate::ram::DmaSpace;
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError};

/// A piece of memory, by the device's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its start (IOVA).
    pub addr: GuestAddress,
    /// Its length in bytes.
    pub len: u32,
}

/// The most bytes that a device moves under one pin of its memory: some tens of microseconds, for
/// which an invalidation may have to wait. A driver of an IPMMU gives up after 100 polls of a
/// microsecond each.
pub const PIECE: u32 = 128 << 10;

impl Segment {
    /// Returns the first piece of the segment, of at most [`PIECE`] bytes.
    pub fn piece(self) -> Self {
        Self {
            len: self.len.min(PIECE),
            ..self
        }
    }
}

/// The buffers of one request. Framing carries no meaning (2.7.4): a header may be split over
/// descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffers {
    /// The memory that the device reads, in order.
    pub readable: Vec<Segment>,
    /// The memory that the device writes, in order.
    pub writable: Vec<Segment>,
}

/// The reason for which a chain cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    /// Nothing in it, or its descriptors are out of reach.
    #[error("the descriptor chain is empty or out of reach")]
    Empty,
    /// More descriptors than the device takes.
    #[error("the descriptor chain has more than {0} descriptors")]
    TooLong(usize),
    /// A readable descriptor after a writable one (2.7.4.2).
    #[error("a device-readable descriptor follows a device-writable one")]
    Order,
    /// A descriptor wraps around the address space.
    #[error("a descriptor wraps around the address space")]
    Wrap,
    /// The chain has fewer readable bytes than its kind of request needs.
    #[error("the request is shorter than its header")]
    Short,
}

impl Buffers {
    /// Collects the buffers of `chain`, of at most `max` descriptors. Empty descriptors are
    /// skipped.
    ///
    /// # Errors
    /// The chain makes no sense.
    pub fn new<M>(chain: DescriptorChain<M>, max: usize) -> Result<Self, BufferError>
    where
        M: Deref<Target: GuestMemory> + Clone,
    {
        let mut buffers = Self::default();
        let mut count = 0;
        // Bounded here, as a chain may be a loop; `virtio-queue` follows one only so far, too.
        for descriptor in chain {
            count += 1;
            if count > max {
                return Err(BufferError::TooLong(max));
            }
            let segment = Segment {
                addr: descriptor.addr(),
                len: descriptor.len(),
            };
            if segment.len == 0 {
                continue;
            }
            // The last byte counts, not the end: a segment may reach up to the top of the address
            // space.
            if segment
                .addr
                .0
                .checked_add(u64::from(segment.len - 1))
                .is_none()
            {
                return Err(BufferError::Wrap);
            }
            if descriptor.is_write_only() {
                buffers.writable.push(segment);
            } else if buffers.writable.is_empty() {
                buffers.readable.push(segment);
            } else {
                return Err(BufferError::Order);
            }
        }
        if buffers.readable.is_empty() && buffers.writable.is_empty() {
            return Err(BufferError::Empty);
        }
        Ok(buffers)
    }

    /// Reads the next `data.len()` readable bytes and removes them.
    ///
    /// # Errors
    /// `Ok(Err(..))` when the chain has fewer, `Err(..)` when memory is out of reach.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it reads at most the length of a segment"
    )]
    pub fn read(
        &mut self,
        mem: &DmaSpace,
        mut data: &mut [u8],
    ) -> Result<Result<(), BufferError>, GuestMemoryError> {
        // One pin for all: what is read this way are headers and ranges, a few bytes each.
        let pin = mem.pin();
        while !data.is_empty() {
            let Some(first) = self.readable.first_mut() else {
                return Ok(Err(BufferError::Short));
            };
            let part = data.len().min(first.len as usize);
            let (now, later) = data.split_at_mut(part);
            pin.read_slice(now, first.addr)?;
            data = later;
            // `part` is at most `first.len`, and the segment was checked not to wrap.
            first.len -= part as u32;
            if first.len == 0 {
                self.readable.remove(0);
            } else {
                first.addr.0 += part as u64;
            }
        }
        Ok(Ok(()))
    }

    /// Removes the last writable byte and returns its address.
    pub fn take_last_writable(&mut self) -> Option<GuestAddress> {
        let last = self.writable.last_mut()?;
        // No segment is empty, and none wraps, also where a fault plan has changed one.
        last.len -= 1;
        let addr = GuestAddress(last.addr.0 + u64::from(last.len));
        if last.len == 0 {
            self.writable.pop();
        }
        Some(addr)
    }
}

/// Returns the number of bytes in `segments`; a chain is shorter than 4 GiB, but its sum is taken
/// with care.
pub(super) fn total(segments: &[Segment]) -> u64 {
    segments.iter().map(|s| u64::from(s.len)).sum()
}
