//! An operation of the DMA tester: what it does to memory, piece by piece.

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use viommu::{FaultReason, Refused};
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use super::spec::*;
use crate::ram::DmaSpace;
use crate::virtio::budget::{Budget, PAUSE_NS};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Reads memory into the buffer.
    Read,
    /// Writes the buffer to memory.
    Write,
    /// Reads memory and compares it with the pattern.
    Compare,
    /// Fills memory with the pattern.
    Fill,
}

/// What memory is filled or compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// The same word again and again.
    #[default]
    Word,
    /// Words that follow from a seed and their place.
    Sequence,
    /// The buffer.
    Buffer,
}

/// An operation, as it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// What it does.
    pub kind: OperationKind,
    /// The requester that it accesses memory as.
    pub requester: u32,
    /// The first address, as the requester uses it.
    pub address: u64,
    /// Bytes of one access.
    pub length: u32,
    /// Accesses of a burst.
    pub count: u32,
    /// From one access to the next, in bytes.
    pub stride: i32,
    /// How often the burst is done.
    pub repeat: u32,
    /// Nanoseconds between two bursts.
    pub interval_ns: u64,
    /// What it fills memory or compares it with.
    pub pattern: Pattern,
    /// The pattern's word or seed.
    pub data: u32,
    /// Whether it goes on after a refused access.
    pub go_on: bool,
}

impl Operation {
    /// Returns whether a device of so many requesters can do it.
    pub fn is_possible(&self, requesters: usize) -> bool {
        let requester = usize::try_from(self.requester);
        self.length > 0
            && self.count > 0
            && self.repeat > 0
            && requester.is_ok_and(|requester| requester < requesters)
    }

    /// Returns the address of byte `offset` of an access. Wrapping, as a counter of hardware does.
    fn at(&self, access: u32, offset: u32) -> u64 {
        // In range: 32 bits with a sign times 32 bits without.
        let strides = i64::from(self.stride) * i64::from(access);
        let first = self.address.wrapping_add_signed(strides);
        first.wrapping_add(u64::from(offset))
    }

    /// Fills `bytes` with what the pattern has from byte `place` of a burst on.
    fn pattern(&self, place: u64, buffer: &[u8; BUFFER_SIZE], bytes: &mut [u8]) {
        for (place, byte) in (place..).zip(bytes) {
            let word = match (self.kind, self.pattern) {
                // A write takes the buffer, whatever the pattern is.
                (OperationKind::Write, _) | (_, Pattern::Buffer) => {
                    *byte = buffer[buffer_index(place)];
                    continue;
                }
                (_, Pattern::Word) => self.data,
                (_, Pattern::Sequence) => {
                    // The lower half: the sequence wraps.
                    let [a, b, c, d, ..] = (place / 4).to_le_bytes();
                    let word = self.data.wrapping_add(u32::from_le_bytes([a, b, c, d]));
                    word.wrapping_mul(SEQUENCE_FACTOR)
                }
            };
            let [a, b, c, d] = word.to_le_bytes();
            *byte = match place % 4 {
                0 => a,
                1 => b,
                2 => c,
                _ => d,
            };
        }
    }
}

/// Returns where in the buffer byte `place` of a burst is, which goes round in it.
fn buffer_index(place: u64) -> usize {
    // It is below the size.
    usize::try_from(place % BUFFER_SIZE as u64).unwrap_or_default()
}

/// How far an operation has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// When it goes on, in nanoseconds of the machine's clock.
    pub due_ns: u64,
    /// Bursts that are over.
    pub bursts: u32,
    /// Accesses of this burst that are over.
    pub accesses: u32,
    /// Bytes of this access that are done.
    pub offset: u32,
}

/// What an operation has met so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Met {
    /// Accesses that were refused.
    pub faults: u32,
    /// Why the first of them was, as a register shows it.
    pub reason: u32,
    /// The first address that was refused.
    pub fault: u64,
    /// Accesses that are over.
    pub accesses: u32,
    /// Bytes moved.
    pub moved: u64,
    /// CRC-32 of what was read.
    pub checksum: u32,
    /// Bytes that differed.
    pub mismatches: u32,
    /// The address of the first of them.
    pub mismatch: u64,
}

/// An operation under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Active {
    /// The operation.
    pub operation: Operation,
    /// How far it is.
    pub progress: Progress,
}

impl Active {
    /// Returns whether an operation of a device with so many requesters can have come here.
    pub fn is_possible(&self, requesters: usize) -> bool {
        let (operation, progress) = (&self.operation, &self.progress);
        operation.is_possible(requesters)
            && progress.bursts < operation.repeat
            && progress.accesses < operation.count
            && progress.offset < operation.length
    }

    /// Works at `now_ns` as far as `budget` goes and the operation has no pause. Returns whether
    /// it has come to its end; otherwise it is due again at a later time.
    pub fn work(
        &mut self,
        (met, buffer): (&mut Met, &mut [u8; BUFFER_SIZE]),
        space: &DmaSpace,
        budget: &mut Budget,
        now_ns: u64,
    ) -> bool {
        let Self {
            operation,
            progress,
        } = self;
        while !budget.is_spent() {
            let left = operation.length - progress.offset;
            let len = left.min(PIECE);
            budget.spend(len.into());
            let refused = piece(operation, *progress, len, (met, buffer), space);
            if refused && !operation.go_on {
                met.accesses = met.accesses.wrapping_add(1);
                return true;
            }
            // The rest of a refused access is not tried.
            progress.offset += if refused { left } else { len };
            if progress.offset < operation.length {
                continue;
            }
            met.accesses = met.accesses.wrapping_add(1);
            progress.offset = 0;
            progress.accesses += 1;
            if progress.accesses < operation.count {
                continue;
            }
            progress.accesses = 0;
            progress.bursts += 1;
            if progress.bursts == operation.repeat {
                return true;
            }
            if operation.interval_ns > 0 {
                // From when it was due, not from now: the bursts are where they would be if nothing
                // else had used up the budget.
                let next = progress.due_ns.saturating_add(operation.interval_ns);
                progress.due_ns = next.max(now_ns);
                if progress.due_ns > now_ns {
                    return false;
                }
            }
        }
        progress.due_ns = now_ns.saturating_add(PAUSE_NS);
        false
    }
}

/// Does `len` bytes of an access, at most [`PIECE`]. Returns whether any of them was refused.
fn piece(
    operation: &Operation,
    progress: Progress,
    len: u32,
    (met, buffer): (&mut Met, &mut [u8; BUFFER_SIZE]),
    space: &DmaSpace,
) -> bool {
    let at = operation.at(progress.accesses, progress.offset);
    let place = u64::from(progress.accesses) * u64::from(operation.length);
    let place = place.wrapping_add(progress.offset.into());
    let mut bytes = [0; PIECE as usize];
    let bytes = &mut bytes[..len as usize];
    let writes = matches!(operation.kind, OperationKind::Write | OperationKind::Fill);
    if writes {
        operation.pattern(place, buffer, bytes);
    }
    let (done, refused) = transfer(space, at, bytes, writes);
    met.moved = met.moved.wrapping_add(done as u64);
    if !writes {
        read(operation, (at, place), &bytes[..done], (met, buffer));
    }
    let Some(refused) = refused else {
        return false;
    };
    if met.faults == 0 {
        met.reason = reason(refused);
        met.fault = at.wrapping_add(done as u64);
    }
    met.faults = met.faults.saturating_add(1);
    true
}

/// Takes in what was read at `at`, which is byte `place` of a burst.
fn read(
    operation: &Operation,
    (at, place): (u64, u64),
    bytes: &[u8],
    (met, buffer): (&mut Met, &mut [u8; BUFFER_SIZE]),
) {
    // The length only matters to who combines checksums.
    let mut crc = Hasher::new_with_initial(met.checksum);
    crc.update(bytes);
    met.checksum = crc.finalize();
    if operation.kind == OperationKind::Compare {
        let mut expected = [0; PIECE as usize];
        let expected = &mut expected[..bytes.len()];
        operation.pattern(place, buffer, expected);
        let both = bytes.iter().zip(&*expected).enumerate();
        for (offset, _) in both.filter(|(_, (found, expected))| found != expected) {
            if met.mismatches == 0 {
                met.mismatch = at.wrapping_add(offset as u64);
            }
            met.mismatches = met.mismatches.saturating_add(1);
        }
        return;
    }
    for (place, byte) in (place..).zip(bytes) {
        buffer[buffer_index(place)] = *byte;
    }
}

/// Moves `bytes` at `at` under one pin. Returns how many were moved before one was refused, if one
/// was.
fn transfer(space: &DmaSpace, at: u64, bytes: &mut [u8], writes: bool) -> (usize, Option<Refused>) {
    let wanted = match writes {
        true => Permissions::Write,
        false => Permissions::Read,
    };
    let pin = space.pin();
    let mut done = 0;
    let slices = match pin.get_slices(GuestAddress(at), bytes.len(), wanted) {
        Ok(slices) => slices,
        Err(error) => return (0, Some(Refused::of(&error))),
    };
    for slice in slices {
        let slice = match slice {
            Ok(slice) => slice,
            Err(error) => return (done, Some(Refused::of(&error))),
        };
        let part = &mut bytes[done..done + slice.len()];
        let moved = match writes {
            true => slice.write_slice(part, 0),
            false => slice.read_slice(part, 0),
        };
        if moved.is_err() {
            return (done, Some(Refused::NoMemory));
        }
        done += slice.len();
    }
    (done, None)
}

/// Returns a reason as the register shows it.
fn reason(refused: Refused) -> u32 {
    let reason = match refused {
        Refused::NoMemory => return REASON_NO_MEMORY,
        Refused::Overflow => return REASON_OVERFLOW,
        Refused::Fault(reason) => reason,
        // Of a later version of the library.
        _ => return REASON_NO_MEMORY,
    };
    REASON_IOMMU
        + match reason {
            FaultReason::AccessFlag => 1,
            FaultReason::Permission => 2,
            FaultReason::Format => 3,
            FaultReason::AddressSize => 4,
            FaultReason::Secure => 5,
            FaultReason::WalkAbort => 6,
            FaultReason::MultipleHits => 7,
            FaultReason::Blocked => 8,
            // With those that a later version of the library may have.
            _ => 0,
        }
}
