//! Requests that go wrong as a fault plan has it.

use crate::ram::DmaSpace;
use virtio_bindings::virtio_blk::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError, VolatileSlice, WriteVolatile};
use vmm_faults::spec::DiskFault;
use vmm_faults::{DeviceFaults, MAX_LATER};

use super::super::buffers::total;
use super::super::{Buffers, Segment};
use super::Block;
use super::begun::{After, Begun, SavedBuffers};
use super::failure::Failure;
use super::spec::*;
use crate::disk::SECTOR;

impl Block {
    /// Begins a request, as far as the plan lets it.
    #[expect(clippy::cast_possible_truncation, reason = "a byte is flipped")]
    pub(super) fn begin_with(
        &mut self,
        faults: &DeviceFaults,
        data: Buffers,
        mem: &DmaSpace,
        begun: &mut Begun,
    ) -> Result<(), Failure> {
        let mut rest = data.clone();
        // From a copy, so that `begin` finds the header still in front of the data.
        let mut header = [0; HEADER_BYTES];
        rest.read(mem, &mut header)??;
        let Header { kind, sector, .. } = Header::parse(&header);
        let Some(action) = faults.disk(kind, sector) else {
            return self.begin(data, mem, begun);
        };
        match action.fault {
            DiskFault::IoError {} => Err(Failure::Bad("the disk fails, as the plan has it")),
            DiskFault::Unsupported {} => Err(Failure::Unsupported(kind)),
            DiskFault::Short {} => {
                let mut half = data;
                match kind {
                    VIRTIO_BLK_T_IN => halve(&mut half.writable, 0),
                    // The header, which comes before the data, stays whole.
                    _ => halve(&mut half.readable, HEADER_BYTES as u64),
                }
                self.begin(half, mem, begun)
            }
            DiskFault::Flip { mask } => {
                self.begin(data, mem, begun)?;
                begun.after = After::Flip {
                    kind,
                    sector,
                    data: SavedBuffers::new(&rest),
                    chosen: action.chosen,
                    mask: action.bits(mask) as u8,
                };
                Ok(())
            }
            DiskFault::LateData { delay } if kind == VIRTIO_BLK_T_IN => {
                let late = self.contents(sector, &rest.writable)?;
                // The driver is told that all was written, although the data arrives only after the
                // delay.
                begun.written += total(&rest.writable);
                faults.access_later(delay.0, late, Vec::new());
                Ok(())
            }
            // A write is late by reading its buffers again when the driver believes it complete.
            DiskFault::LateData { delay } | DiskFault::Again { delay } => {
                self.begin(data, mem, begun)?;
                begun.after = After::Again {
                    delay_ns: delay.0,
                    data: SavedBuffers::new(&rest),
                    chosen: action.chosen,
                };
                Ok(())
            }
        }
    }

    /// Does what the plan has follow when the work of a request is done.
    pub(super) fn follow(&mut self, after: &After, mem: &DmaSpace) -> Result<(), Failure> {
        match after {
            After::Nothing => Ok(()),
            After::Flip {
                kind,
                sector,
                data,
                chosen,
                mask,
            } => self.flip(*kind, *sector, &data.buffers(), mem, *chosen, *mask),
            After::Again {
                delay_ns,
                data,
                chosen,
            } => {
                // A machine that goes on without the plan has nothing follow.
                if let Some(faults) = &self.faults {
                    let (writes, reads) = again(&data.buffers(), *chosen);
                    faults.access_later(*delay_ns, writes, reads);
                }
                Ok(())
            }
        }
    }

    /// Flips bits of one byte of the data: of what was read, in memory, and of what was written, on
    /// the disk.
    fn flip(
        &mut self,
        kind: u32,
        sector: u64,
        data: &Buffers,
        mem: &DmaSpace,
        chosen: u64,
        mask: u8,
    ) -> Result<(), Failure> {
        match kind {
            VIRTIO_BLK_T_IN => {
                let bytes = total(&data.writable);
                // A request without data has no byte to flip.
                let Some(at) = nth(&data.writable, chosen.checked_rem(bytes).unwrap_or(0)) else {
                    return Ok(());
                };
                let pin = mem.pin();
                let byte: u8 = pin.read_obj(at)?;
                pin.write_obj(byte ^ mask, at)?;
            }
            VIRTIO_BLK_T_OUT => {
                let bytes = total(&data.readable);
                // Succeeds, as it did in `begin`: the range is that of the request.
                let offset = self.locate(sector, bytes)?;
                if let Some(within) = chosen.checked_rem(bytes) {
                    let mut byte = [0];
                    let storage = &mut self.disk.storage;
                    storage.read_at(offset + within, &mut byte)?;
                    byte[0] ^= mask;
                    storage.seek(offset + within)?;
                    storage
                        .write_all_volatile(&VolatileSlice::from(byte.as_mut_slice()))
                        .map_err(GuestMemoryError::from)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns what the disk has for these buffers, up to a limit.
    fn contents(
        &self,
        sector: u64,
        segments: &[Segment],
    ) -> Result<Vec<(GuestAddress, Vec<u8>)>, Failure> {
        let mut offset = self.locate(sector, total(segments))?;
        let mut left = MAX_LATER;
        let mut late = Vec::new();
        for segment in segments {
            let mut bytes = vec![0; (segment.len as usize).min(left)];
            // Read now, not at the time of the access: a later write must not show in data that is
            // late.
            self.disk.storage.read_at(offset, &mut bytes)?;
            left -= bytes.len();
            offset += u64::from(segment.len);
            late.push((segment.addr, bytes));
        }
        Ok(late)
    }
}

/// Keeps the first half of the bytes after the first `skip`, in whole sectors.
fn halve(segments: &mut Vec<Segment>, skip: u64) {
    let bytes = total(segments).saturating_sub(skip);
    // Whole sectors, or the request would be refused and not cut short.
    let mut left = skip + bytes / 2 / SECTOR * SECTOR;
    segments.retain_mut(|segment| {
        segment.len = segment.len.min(u32::try_from(left).unwrap_or(u32::MAX));
        // Cannot underflow: the length has just been cut to what is left.
        left -= u64::from(segment.len);
        segment.len > 0
    });
}

/// Returns the address of byte `n`.
fn nth(segments: &[Segment], mut n: u64) -> Option<GuestAddress> {
    for segment in segments {
        if n < u64::from(segment.len) {
            return Some(GuestAddress(segment.addr.0 + n));
        }
        n -= u64::from(segment.len);
    }
    None
}

/// The writes and the reads of a device that goes on with buffers it has given back: as much as
/// there is, up to a limit, of bytes that the seed chose.
type Accesses = (Vec<(GuestAddress, Vec<u8>)>, Vec<(GuestAddress, u32)>);

#[expect(
    clippy::cast_possible_truncation,
    reason = "any byte will do, and the limit is small"
)]
fn again(data: &Buffers, chosen: u64) -> Accesses {
    let mut left = MAX_LATER;
    // The limit is shared by all segments: what a plan has remembered does not grow with the
    // guest's request.
    let writes = data.writable.iter().map(|segment| {
        let length = (segment.len as usize).min(left);
        left -= length;
        (segment.addr, vec![chosen as u8; length])
    });
    let writes = writes.collect();
    let mut left = MAX_LATER as u32;
    let reads = data.readable.iter().map(|segment| {
        let length = segment.len.min(left);
        left -= length;
        (segment.addr, length)
    });
    (writes, reads.collect())
}
