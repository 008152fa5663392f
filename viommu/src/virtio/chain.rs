//! A descriptor chain as bytes that the device reads and bytes that it writes.

use std::ops::Deref;

use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemory};

/// Where some of the bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub addr: u64,
    pub len: u32,
}

/// The bytes of one chain. Where one descriptor ends and the next begins has no meaning (virtio
/// 1.2, 2.7.4).
#[derive(Debug, Default)]
pub(super) struct Chain {
    readable: Vec<Segment>,
    writable: Vec<Segment>,
}

// Descriptors have 32-bit lengths and are few, so the sum does not overflow.
fn total(segments: &[Segment]) -> u64 {
    segments.iter().map(|s| u64::from(s.len)).sum()
}

/// Calls `each` with the pieces of `length` bytes from `offset` on; returns false if there are
/// fewer bytes, or if `each` returns false.
#[expect(clippy::cast_possible_truncation, reason = "hosts have 64 bits")]
fn pieces(
    segments: &[Segment],
    offset: u64,
    length: usize,
    mut each: impl FnMut(std::ops::Range<usize>, GuestAddress) -> bool,
) -> bool {
    let (mut skip, mut done) = (offset, 0);
    for segment in segments {
        if done == length {
            break;
        }
        let len = u64::from(segment.len);
        if skip >= len {
            skip -= len;
            continue;
        }
        // A descriptor that reaches beyond the address space is out of reach; its addresses do not
        // wrap.
        let Some(addr) = segment.addr.checked_add(skip) else {
            return false;
        };
        let part = (length - done).min((len - skip) as usize);
        if !each(done..done + part, GuestAddress(addr)) {
            return false;
        }
        done += part;
        skip = 0;
    }
    done == length
}

impl Chain {
    /// Takes the descriptors of a chain, in place of those of the last one. Returns false if there
    /// are more than `max` of them, or one that is readable comes after one that is writable
    /// (2.7.4.2).
    pub fn take<M>(&mut self, chain: DescriptorChain<M>, max: usize) -> bool
    where
        M: Deref<Target: GuestMemory>,
    {
        self.readable.clear();
        self.writable.clear();
        for (count, descriptor) in chain.enumerate() {
            // A loop in the chain ends here too.
            if count == max {
                return false;
            }
            let segment = Segment {
                addr: descriptor.addr().0,
                len: descriptor.len(),
            };
            // Without bytes it does not matter where in the chain it stands.
            if segment.len == 0 {
                continue;
            }
            if descriptor.is_write_only() {
                self.writable.push(segment);
            } else if self.writable.is_empty() {
                self.readable.push(segment);
            } else {
                return false;
            }
        }
        true
    }

    /// Reads what the driver wrote, as far as it fits in `bytes`. Returns the number of bytes, or
    /// `None` if memory is out of reach.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is at most the length of `bytes`"
    )]
    pub fn read(&self, mem: &impl GuestMemory, bytes: &mut [u8]) -> Option<usize> {
        // What follows the longest request is not read: a later version may have put it there.
        let length = total(&self.readable).min(bytes.len() as u64) as usize;
        let read = |range, addr| mem.read_slice(&mut bytes[range], addr).is_ok();
        pieces(&self.readable, 0, length, read).then_some(length)
    }

    /// Returns the number of bytes that the device may write.
    pub fn writable(&self) -> u64 {
        total(&self.writable)
    }

    /// Writes `bytes` at `offset`; returns whether all could be written.
    pub fn write(&self, mem: &impl GuestMemory, offset: u64, bytes: &[u8]) -> bool {
        let write = |range, addr| mem.write_slice(&bytes[range], addr).is_ok();
        pieces(&self.writable, offset, bytes.len(), write)
    }

    /// Returns the place of the four writable bytes at `offset`.
    #[expect(clippy::cast_possible_truncation, reason = "it is a part of 4 bytes")]
    pub fn place(&self, offset: u64) -> Option<ScatteredWord> {
        let mut place = ScatteredWord::default();
        let mut count = 0;
        let found = pieces(&self.writable, offset, 4, |range, addr| {
            // In bounds: each piece has at least one of the four bytes.
            place.0[count] = Segment {
                addr: addr.0,
                len: range.len() as u32,
            };
            count += 1;
            true
        });
        found.then_some(place)
    }
}

/// Where four bytes are, each perhaps somewhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ScatteredWord(pub [Segment; 4]);

impl ScatteredWord {
    /// Returns whether it is four bytes: a saved one may be anything.
    pub fn is_whole(&self) -> bool {
        total(&self.0) == 4
    }

    /// Writes the four bytes; returns whether all could be written.
    pub fn write(&self, mem: &impl GuestMemory, bytes: [u8; 4]) -> bool {
        // Places that are not in use have length 0, and are passed over.
        pieces(&self.0, 0, 4, |range, addr| {
            mem.write_slice(&bytes[range], addr).is_ok()
        })
    }
}
