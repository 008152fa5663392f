//! One request from its chain to its status byte.

use std::collections::VecDeque;

use crate::ram::DmaSpace;
use virtio_bindings::virtio_blk::*;
use vm_memory::{Bytes, GuestAddress};
use vmm_base::warn_guest;

use super::super::budget::Budget;
use super::super::buffers::total;
use super::super::{BufferError, Buffers};
use super::begun::{Begun, Work, ZeroRange};
use super::failure::Failure;
use super::spec::*;
use super::{Block, count};
use crate::disk::SECTOR;

impl Block {
    /// Answers the request of queue `index` whose chain begins at `head`. Returns the number of
    /// bytes written to its buffers, from the first one on without a gap, or nothing if the request
    /// is not over when `budget` is spent.
    pub(super) fn answer(
        &mut self,
        index: usize,
        head: u16,
        buffers: Result<Buffers, BufferError>,
        mem: &DmaSpace,
        budget: &mut Budget,
    ) -> Option<u32> {
        count(&self.counters.requests, 1);
        let located = buffers.map_err(Failure::from).and_then(|mut data| {
            // The last byte that the device may write is the status, wherever descriptors are cut.
            let status = data.take_last_writable();
            let status = status.ok_or(Failure::Bad("a request without a status byte"))?;
            Ok((data, status))
        });
        let (data, status_at) = match located {
            Ok(located) => located,
            Err(error) => {
                // Without a status byte there is nobody to answer.
                count(&self.counters.errors, 1);
                warn_guest!("virtio-blk: request dropped: {error}");
                return Some(0);
            }
        };
        let mut begun = Begun::new(head, status_at, total(&data.writable));
        // Taken out for the call, which borrows the whole device, and put back.
        let result = match self.faults.take() {
            None => self.begin(data, mem, &mut begun),
            Some(faults) => {
                let result = self.begin_with(&faults, data, mem, &mut begun);
                self.faults = Some(faults);
                result
            }
        };
        match result {
            Ok(()) => self.go_on(index, begun, mem, budget),
            Err(failure) => Some(self.finish(&begun, mem, Err(failure))),
        }
    }

    /// Goes on with a request of queue `index`, with the result of [`Block::answer`].
    pub(super) fn go_on(
        &mut self,
        index: usize,
        mut begun: Begun,
        mem: &DmaSpace,
        budget: &mut Budget,
    ) -> Option<u32> {
        match self.advance(index, &mut begun, mem, budget) {
            Ok(true) => {
                let result = self.follow(&begun.after, mem);
                Some(self.finish(&begun, mem, result))
            }
            Ok(false) => {
                self.begun[index] = Some(begun);
                None
            }
            Err(failure) => Some(self.finish(&begun, mem, Err(failure))),
        }
    }

    /// Tells the driver how its request ended, and returns the number of bytes written.
    #[expect(clippy::cast_possible_truncation, reason = "the constant is a byte")]
    fn finish(&mut self, begun: &Begun, mem: &DmaSpace, result: Result<(), Failure>) -> u32 {
        let status = match result {
            Ok(()) => VIRTIO_BLK_S_OK as u8,
            Err(failure) => {
                count(&self.counters.errors, 1);
                failure.tell();
                failure.status()
            }
        };
        let written = begun.written;
        // Data that a fault plan has come late is not bounded as that of other requests.
        let length = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Err(error) = mem.pin().write_obj(status, GuestAddress(begun.status_at)) {
            warn_guest!("virtio-blk: status not written: {error}");
            return length(written);
        }
        // The status byte counts only when everything before it was written.
        length(if written == begun.room {
            written + 1
        } else {
            written
        })
    }

    /// Checks what a request asks for, and whether it may; work that takes time is noted in
    /// `begun`, and done by [`Block::advance`].
    pub(super) fn begin(
        &mut self,
        mut data: Buffers,
        mem: &DmaSpace,
        begun: &mut Begun,
    ) -> Result<(), Failure> {
        let mut header = [0; HEADER_BYTES];
        // Two errors: memory out of reach, and a chain without room for a header. Both fail the
        // request.
        data.read(mem, &mut header)??;
        let header = Header::parse(&header);
        match header.kind {
            VIRTIO_BLK_T_IN => {
                let bytes = bounded(&data.writable)?;
                let offset = self.locate(header.sector, bytes)?;
                begun.work = Work::read(offset, &data.writable);
            }
            // With VIRTIO_BLK_F_RO a write ends with IOERR (5.2.6.2), not with UNSUPP as others
            // below do.
            VIRTIO_BLK_T_OUT if self.disk.read_only => {
                return Err(Failure::Bad("a write to a read-only disk"));
            }
            VIRTIO_BLK_T_OUT => {
                let bytes = bounded(&data.readable)?;
                let offset = self.locate(header.sector, bytes)?;
                begun.work = Work::write(offset, &data.readable);
            }
            VIRTIO_BLK_T_FLUSH => {
                count(&self.counters.flushes, 1);
                begun.work = Work::Flush;
            }
            // Twenty bytes are done at once, and leave no work.
            VIRTIO_BLK_T_GET_ID => self.get_id(&data, mem, &mut begun.written)?,
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES if !self.disk.read_only => {
                let ranges = self.ranges(header.kind, data, mem)?;
                begun.work = Work::Zero {
                    discard: header.kind == VIRTIO_BLK_T_DISCARD,
                    ranges,
                };
            }
            kind => return Err(Failure::Unsupported(kind)),
        }
        Ok(())
    }

    /// Returns the offset in the file of `bytes` bytes from `sector` on, if that is whole sectors
    /// of the disk.
    pub(super) fn locate(&self, sector: u64, bytes: u64) -> Result<u64, Failure> {
        if !bytes.is_multiple_of(SECTOR) {
            return Err(Failure::Bad("the data is not a whole number of sectors"));
        }
        // The sector is any number that the guest chose.
        let end = sector.checked_add(bytes / SECTOR);
        if end.is_none_or(|end| end > self.disk.sectors) {
            return Err(Failure::Bad(
                "the request reaches beyond the end of the disk",
            ));
        }
        // Cannot overflow: the end is within a disk whose size in bytes fits.
        Ok(sector * SECTOR)
    }

    fn get_id(&self, data: &Buffers, mem: &DmaSpace, written: &mut u64) -> Result<(), Failure> {
        let mut id = self.id.as_slice();
        for segment in &data.writable {
            let (now, later) = id.split_at(id.len().min(segment.len as usize));
            mem.pin().write_slice(now, segment.addr)?;
            *written += now.len() as u64;
            id = later;
        }
        if id.is_empty() {
            Ok(())
        } else {
            Err(Failure::Bad("the buffer for the identifier is too short"))
        }
    }

    /// Returns what a request discards or zeroes. All ranges are checked before the first is
    /// touched.
    fn ranges(
        &self,
        kind: u32,
        mut data: Buffers,
        mem: &DmaSpace,
    ) -> Result<VecDeque<ZeroRange>, Failure> {
        let bytes = total(&data.readable);
        if bytes == 0
            || !bytes.is_multiple_of(RANGE_BYTES as u64)
            || bytes / RANGE_BYTES as u64 > u64::from(MAX_RANGES)
        {
            return Err(Failure::Bad(
                "a discard or write-zeroes request with a bad number of ranges",
            ));
        }
        let mut ranges = VecDeque::new();
        for _ in 0..bytes / RANGE_BYTES as u64 {
            let mut raw = [0; RANGE_BYTES];
            data.read(mem, &mut raw)??;
            let range = SectorRange::parse(&raw);
            // A flag that the device does not know fails the request with UNSUPP (5.2.6.2), as does
            // unmap in a discard.
            let allowed = if kind == VIRTIO_BLK_T_DISCARD {
                0
            } else {
                VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
            };
            if range.flags & !allowed != 0 {
                return Err(Failure::Unsupported(kind));
            }
            if range.sectors > MAX_RANGE_SECTORS {
                return Err(Failure::Bad("a range longer than the device takes"));
            }
            let length = u64::from(range.sectors) * SECTOR;
            let offset = self.locate(range.sector, length)?;
            // An empty range is no work, and may begin at the very end of the disk.
            if length > 0 {
                ranges.push_back(ZeroRange {
                    offset,
                    length,
                    unmap: range.flags != 0,
                });
            }
        }
        Ok(ranges)
    }
}

/// Returns the size of a request's data, within what the device announces.
fn bounded(segments: &[super::super::Segment]) -> Result<u64, Failure> {
    let bytes = total(segments);
    // Drivers need not keep to the limits in the configuration space.
    if bytes > MAX_REQUEST_BYTES {
        return Err(Failure::Bad("more data than the device takes at once"));
    }
    Ok(bytes)
}
