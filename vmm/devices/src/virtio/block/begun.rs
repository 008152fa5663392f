//! A request that takes more than one turn, as plain data: what is left of it.

use std::collections::VecDeque;

use crate::ram::DmaSpace;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::super::budget::{Budget, MIN_COST};
use super::super::{Buffers, Segment};
use super::failure::Failure;
use super::spec::*;
use super::{Block, count};
use crate::disk::{Disk, SECTOR};

/// Bytes of a range that are discarded at a time.
const ZERO_PIECE: u64 = 8 << 20;
/// Bytes that can be discarded, or have holes made, in the time in which one is copied.
const DISCARD_SHARE: u64 = 64;

/// Memory of a request that is still to be moved: its start by the device's addresses, and its
/// length in bytes.
pub(super) type SavedSegment = (u64, u32);

/// A range of the disk that is still to be zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ZeroRange {
    /// Its beginning, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Whether its room may be given back.
    pub unmap: bool,
}

/// The work that is left of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// No more than the answer.
    #[default]
    Nothing,
    /// To read from the disk.
    Read {
        offset: u64,
        segments: VecDeque<SavedSegment>,
    },
    /// To write to it.
    Write {
        offset: u64,
        segments: VecDeque<SavedSegment>,
        /// The number of bytes written already.
        done: u64,
    },
    /// To have what was written survive.
    Flush,
    /// To zero ranges of it.
    Zero {
        discard: bool,
        ranges: VecDeque<ZeroRange>,
    },
}

/// The consequence that a fault plan has when the work is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum After {
    /// Nothing.
    #[default]
    Nothing,
    /// Bits of one byte of the data flip.
    Flip {
        kind: u32,
        sector: u64,
        data: SavedBuffers,
        chosen: u64,
        mask: u8,
    },
    /// The device goes on with the buffers that it has given back.
    Again {
        delay_ns: u64,
        data: SavedBuffers,
        chosen: u64,
    },
}

/// The data of a request: what the device reads, and what it writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedBuffers {
    readable: VecDeque<SavedSegment>,
    writable: VecDeque<SavedSegment>,
}

impl SavedBuffers {
    pub fn new(data: &Buffers) -> Self {
        Self {
            readable: saved(&data.readable),
            writable: saved(&data.writable),
        }
    }

    pub fn buffers(&self) -> Buffers {
        let segments = |saved: &VecDeque<SavedSegment>| {
            let segment = |(addr, len): &SavedSegment| Segment {
                addr: GuestAddress(*addr),
                len: *len,
            };
            saved.iter().map(segment).collect()
        };
        Buffers {
            readable: segments(&self.readable),
            writable: segments(&self.writable),
        }
    }

    fn is_possible(&self) -> bool {
        self.readable.len() + self.writable.len() <= MAX_DESCRIPTORS
            && self.readable.iter().chain(&self.writable).all(is_whole)
    }
}

/// Returns whether a segment is one of a chain that makes sense.
fn is_whole((addr, len): &SavedSegment) -> bool {
    *len > 0 && addr.checked_add(u64::from(*len) - 1).is_some()
}

fn saved(segments: &[Segment]) -> VecDeque<SavedSegment> {
    segments.iter().map(|s| (s.addr.0, s.len)).collect()
}

impl Work {
    pub fn read(offset: u64, segments: &[Segment]) -> Self {
        let segments = saved(segments);
        Self::Read { offset, segments }
    }

    pub fn write(offset: u64, segments: &[Segment]) -> Self {
        Self::Write {
            offset,
            segments: saved(segments),
            done: 0,
        }
    }
}

/// A request that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The index of its chain's head.
    pub head: u16,
    /// The address of its status byte.
    pub(super) status_at: u64,
    /// Bytes before that in its buffers that the device may write.
    pub(super) room: u64,
    /// Bytes of those that it has written.
    pub(super) written: u64,
    pub(super) work: Work,
    /// The consequence. Older snapshots have none.
    #[serde(default)]
    pub(super) after: After,
}

/// Returns the next piece of `segments`.
fn piece(segments: &VecDeque<SavedSegment>) -> Option<Segment> {
    let (addr, len) = *segments.front()?;
    let addr = GuestAddress(addr);
    Some(Segment { addr, len }.piece())
}

/// Removes `piece`, which has been moved.
fn moved(segments: &mut VecDeque<SavedSegment>, piece: Segment) {
    match segments.front_mut() {
        Some((addr, len)) if *len > piece.len => {
            // Cannot overflow: bytes of the segment are left, and it does not wrap.
            *addr += u64::from(piece.len);
            *len -= piece.len;
        }
        _ => drop(segments.pop_front()),
    }
}

/// Moves the bytes of `segments` until there are none left or `budget` is spent, by `copy`, which
/// should take a pin of its own each time: so an invalidation waits for one piece at most, and each
/// piece takes the translation that holds then. `counts` go on by what was moved. Returns whether
/// it was all.
fn transfer(
    segments: &mut VecDeque<SavedSegment>,
    counts: [&mut u64; 2],
    budget: &mut Budget,
    mut copy: impl FnMut(GuestAddress, usize) -> Result<(), GuestMemoryError>,
) -> Result<bool, Failure> {
    let [offset, done] = counts;
    while let Some(piece) = piece(segments) {
        if budget.is_spent() {
            return Ok(false);
        }
        copy(piece.addr, piece.len as usize)?;
        moved(segments, piece);
        *offset += u64::from(piece.len);
        *done += u64::from(piece.len);
        budget.spend(piece.len.into());
    }
    Ok(true)
}

impl Block {
    /// Goes on with a request of queue `index` until it is over, `budget` is spent or it has to
    /// wait for the host. Returns whether it is over.
    pub(super) fn advance(
        &mut self,
        index: usize,
        begun: &mut Begun,
        mem: &DmaSpace,
        budget: &mut Budget,
    ) -> Result<bool, Failure> {
        let Begun { written, work, .. } = begun;
        let storage = &mut self.disk.storage;
        match work {
            Work::Nothing => {}
            Work::Read { offset, segments } => {
                // The position is the disk's, and another queue's request may have moved it since
                // the last turn.
                storage.seek(*offset)?;
                let all = transfer(segments, [offset, written], budget, |at, len| {
                    mem.pin().read_exact_volatile_from(at, storage, len)
                })?;
                if !all {
                    return Ok(false);
                }
                // Once for the whole request: `written` also has what earlier turns have read.
                count(&self.counters.bytes_read, *written);
            }
            Work::Write {
                offset,
                segments,
                done,
            } => {
                storage.seek(*offset)?;
                let all = transfer(segments, [offset, done], budget, |at, len| {
                    mem.pin().write_all_volatile_to(at, storage, len)
                })?;
                if !all {
                    return Ok(false);
                }
                count(&self.counters.bytes_written, *done);
            }
            Work::Flush => return self.flush(index, budget),
            Work::Zero { discard, ranges } => return self.zero(*discard, ranges, budget),
        }
        Ok(true)
    }

    fn zero(
        &mut self,
        discard: bool,
        ranges: &mut VecDeque<ZeroRange>,
        budget: &mut Budget,
    ) -> Result<bool, Failure> {
        let storage = &mut self.disk.storage;
        while let Some(range) = ranges.front_mut() {
            if budget.is_spent() {
                return Ok(false);
            }
            // A piece at a time, so that a range of 128 MiB does not outlast a turn.
            let length = range.length.min(ZERO_PIECE);
            // What it costs depends on nothing but the request: a replay may have the same disk as
            // an overlay.
            if discard {
                storage.discard(range.offset, length)?;
                budget.spend(length / DISCARD_SHARE);
            } else {
                storage.zero(range.offset, length, range.unmap)?;
                // Where no hole may be made zeros are written, as data is.
                let share = if range.unmap { DISCARD_SHARE } else { 1 };
                budget.spend(length / share);
            }
            range.offset += length;
            range.length -= length;
            if range.length == 0 {
                ranges.pop_front();
            }
        }
        Ok(true)
    }
}

impl Begun {
    /// Creates a request of which nothing has been done.
    pub(super) fn new(head: u16, status_at: GuestAddress, room: u64) -> Self {
        Self {
            head,
            status_at: status_at.0,
            room,
            written: 0,
            work: Work::Nothing,
            after: After::Nothing,
        }
    }

    /// Returns whether `disk` can have begun such a request.
    pub(super) fn is_possible(&self, disk: &Disk) -> bool {
        let Self {
            head,
            status_at: _,
            room,
            written,
            work,
            after,
        } = self;
        // Cannot overflow: the sectors were computed from a length in bytes.
        let size = disk.sectors * SECTOR;
        let inside =
            |offset: u64, length: u64| offset.checked_add(length).is_some_and(|end| end <= size);
        let segments = |offset: u64, done: u64, segments: &VecDeque<SavedSegment>| {
            // Lengths of 32 bits: no snapshot holds enough of them for their sum to overflow.
            let left = segments.iter().map(|(_, len)| u64::from(*len)).sum::<u64>();
            // The bounds of a request that a guest makes: a snapshot must not ask for more work.
            segments.len() <= MAX_DESCRIPTORS
                && segments.iter().all(is_whole)
                && inside(offset, left)
                && left
                    .checked_add(done)
                    .is_some_and(|all| all <= MAX_REQUEST_BYTES)
        };
        let possible = match work {
            Work::Nothing | Work::Flush => true,
            Work::Read {
                offset,
                segments: left,
            } => segments(*offset, *written, left),
            Work::Write {
                offset,
                segments: left,
                done,
            } => !disk.read_only && segments(*offset, *done, left),
            Work::Zero { discard: _, ranges } => {
                !disk.read_only
                    && ranges.len() <= MAX_RANGES as usize
                    && ranges.iter().all(|range| {
                        (1..=u64::from(MAX_RANGE_SECTORS) * SECTOR).contains(&range.length)
                            && inside(range.offset, range.length)
                    })
            }
        };
        let possible = possible
            && match after {
                After::Nothing => true,
                After::Flip { data, .. } | After::Again { data, .. } => data.is_possible(),
            };
        // A request that fails before it has found its work has nothing written, so these bounds
        // hold for all kinds.
        possible && *head < QUEUE_SIZE && written <= room && *written <= MAX_REQUEST_BYTES
    }
}

// Or `Budget::spend` would count the cheapest full piece as more than it is.
const _: () = assert!(ZERO_PIECE / DISCARD_SHARE >= MIN_COST);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_an_older_snapshot_has_nothing_follow() {
        let begun = Begun {
            head: 3,
            status_at: 0x4000_0000,
            room: 0,
            written: 0,
            work: Work::Flush,
            after: After::Nothing,
        };
        let mut saved = serde_json::to_value(&begun).unwrap();
        saved.as_object_mut().unwrap().remove("after").unwrap();
        assert_eq!(serde_json::from_value::<Begun>(saved).unwrap(), begun);
    }
}
