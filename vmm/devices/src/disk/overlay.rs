//! What differs from a disk's file: blocks that were written, and ranges of blocks that are zero.
//!
//! Up to a limit the blocks are in memory. Those beyond it are in a file without a name in the
//! directory for temporary files (`TMPDIR`, or `/tmp`), which is gone when nobody has it open any
//! more. Clones share blocks until one of them writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rangemap::RangeSet;
use serde::{Deserialize, Serialize};

/// Bytes of a block of an overlay: what file systems write at once.
pub const BLOCK: usize = 4096;
/// Bytes of blocks that an overlay keeps in memory: some of every guest's boot, and little of a
/// host's memory where many machines run.
pub const MAX_MEMORY: u64 = 256 << 20;
/// Bytes of blocks that an overlay takes at all. Each has an entry of about 100 bytes in memory, so
/// these are 1.6 GiB at most.
pub const MAX_BYTES: u64 = 64 << 30;
/// Ranges of zeros that an overlay keeps, of about 50 bytes each. Beyond them every block that is
/// zeroed is an entry of its own, and what is discarded stays as it was, which a guest has to
/// expect.
pub const MAX_RANGES: usize = 1 << 20;

/// The contents of one block.
pub type Bytes = [u8; BLOCK];

/// The limits on what an overlay takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverlayLimits {
    /// Blocks in memory.
    pub memory: usize,
    /// All blocks.
    pub blocks: usize,
    /// Ranges of zeros.
    pub ranges: usize,
}

impl Default for OverlayLimits {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the limits are far below 4 GiB"
    )]
    fn default() -> Self {
        Self {
            memory: MAX_MEMORY as usize / BLOCK,
            blocks: (MAX_BYTES / BLOCK as u64) as usize,
            ranges: MAX_RANGES,
        }
    }
}

/// The amount that an overlay takes, with what it shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaySummary {
    /// Bytes of blocks in memory.
    pub memory_bytes: u64,
    /// Bytes of blocks in temporary files.
    pub file_bytes: u64,
    /// Ranges of blocks that are zero.
    pub zero_ranges: u64,
    /// Bytes of blocks that may be in memory.
    pub memory_limit: u64,
}

impl OverlaySummary {
    /// Returns the sum of this and what `other` takes.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes + other.memory_bytes,
            file_bytes: self.file_bytes + other.file_bytes,
            zero_ranges: self.zero_ranges + other.zero_ranges,
            // Both share one limit, so it is not a sum.
            memory_limit: other.memory_limit,
        }
    }
}

/// The place of a block that was written.
#[derive(Clone, Debug)]
enum BlockLocation {
    Memory(Arc<Bytes>),
    File(Arc<Slot>),
}

/// A block of a temporary file; given back when it is dropped.
#[derive(Debug)]
struct Slot {
    spill: Arc<Spill>,
    number: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.spill.slots().free.push(self.number);
    }
}

/// A temporary file.
#[derive(Debug)]
struct Spill {
    file: File,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    free: Vec<u64>,
    next: u64,
}

impl Spill {
    fn new() -> io::Result<Arc<Self>> {
        let file = tempfile::tempfile().map_err(|error| {
            let dir = std::env::temp_dir();
            io::Error::other(format!(
                "no temporary file for an overlay can be made in {}: {error}",
                dir.display()
            ))
        })?;
        Ok(Arc::new(Self {
            file,
            slots: Mutex::default(),
        }))
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Each change of the slots is a single step, so they are good even if the lock is poisoned.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a slot that holds `bytes`.
    fn put(self: &Arc<Self>, bytes: &Bytes) -> io::Result<Slot> {
        let mut slots = self.slots();
        // Slots that were given back come first, so that the file grows only with what is in use.
        let number = slots.free.pop().unwrap_or_else(|| {
            slots.next += 1;
            slots.next - 1
        });
        // Not held while the file is written. Should that fail, dropping the slot gives its number
        // back.
        drop(slots);
        let slot = Slot {
            spill: Arc::clone(self),
            number,
        };
        slot.write(bytes).map(|()| slot)
    }
}

impl Slot {
    fn offset(&self) -> u64 {
        self.number * BLOCK as u64
    }

    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        let written = self.spill.file.write_all_at(bytes, self.offset());
        written.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the temporary file of an overlay cannot be written: {error}"),
            )
        })
    }

    fn read(&self) -> io::Result<Bytes> {
        let mut bytes = [0; BLOCK];
        self.spill.file.read_exact_at(&mut bytes, self.offset())?;
        Ok(bytes)
    }
}

/// The contents of a block that differs from the file.
#[derive(Debug)]
pub enum Found {
    /// It was written, and holds this.
    Written(Arc<Bytes>),
    /// It is zero.
    Zero,
}

/// Blocks that differ from the file.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    blocks: BTreeMap<u64, BlockLocation>,
    /// Blocks that are zero; none of them is among `blocks`.
    zeros: RangeSet<u64>,
    /// The number of `blocks` that are in memory.
    in_memory: usize,
    spill: Option<Arc<Spill>>,
    limits: OverlayLimits,
}

impl Changes {
    /// Creates an empty set of changes that may grow up to `limits`.
    pub fn with_limits(limits: OverlayLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.zeros.is_empty()
    }

    /// Returns how much there may be.
    pub fn limits(&self) -> OverlayLimits {
        self.limits
    }

    /// Returns how much there is.
    pub fn summary(&self) -> OverlaySummary {
        let bytes = |blocks: usize| (blocks * BLOCK) as u64;
        OverlaySummary {
            memory_bytes: bytes(self.in_memory),
            file_bytes: bytes(self.blocks.len() - self.in_memory),
            zero_ranges: self.zeros.len() as u64,
            memory_limit: bytes(self.limits.memory),
        }
    }

    /// Returns the number of blocks that were written.
    pub fn written(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Returns what block `block` holds, if it differs from the file.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn get(&self, block: u64) -> io::Result<Option<Found>> {
        Ok(match self.blocks.get(&block) {
            Some(BlockLocation::Memory(bytes)) => Some(Found::Written(Arc::clone(bytes))),
            Some(BlockLocation::File(slot)) => Some(Found::Written(Arc::new(slot.read()?))),
            None if self.zeros.contains(&block) => Some(Found::Zero),
            None => None,
        })
    }

    /// Returns what block `block` holds, to be changed, if it is in memory.
    pub fn in_memory(&mut self, block: u64) -> Option<&mut Bytes> {
        match self.blocks.get_mut(&block)? {
            // Copies the block if a clone of these changes shares it, so that only this one sees
            // the write.
            BlockLocation::Memory(bytes) => Some(Arc::make_mut(bytes)),
            BlockLocation::File(_) => None,
        }
    }

    /// Has block `block` hold `bytes`. `below` tells how much is shared with others.
    ///
    /// # Errors
    /// A limit is reached, or the temporary file cannot be written.
    pub fn put(&mut self, block: u64, bytes: &Bytes, below: &Self) -> io::Result<()> {
        // Counts for new blocks only: one that is overwritten takes no more room than before.
        let full = self.blocks.len() + below.blocks.len() >= self.limits.blocks;
        match self.blocks.get_mut(&block) {
            Some(BlockLocation::Memory(old)) => {
                *Arc::make_mut(old) = *bytes;
                return Ok(());
            }
            // A clone may have the slot, too, and must not see the write: then the block gets a
            // place of its own.
            Some(BlockLocation::File(slot)) if Arc::strong_count(slot) == 1 => {
                return slot.write(bytes);
            }
            Some(BlockLocation::File(_)) => {}
            None if full => {
                return Err(io::Error::other(format!(
                    "an overlay takes no more than {} of writes",
                    vmm_base::ByteSize((self.limits.blocks * BLOCK) as u64)
                )));
            }
            None => {}
        }
        let place = if self.in_memory + below.in_memory < self.limits.memory {
            self.in_memory += 1;
            BlockLocation::Memory(Arc::new(*bytes))
        } else {
            // Made when the first block needs it: most overlays fit the memory, and have no file.
            let spill = match &self.spill {
                Some(spill) => spill,
                None => self.spill.insert(Spill::new()?),
            };
            BlockLocation::File(Arc::new(spill.put(bytes)?))
        };
        // It may lie in a range of zeros, which it covers: to cut the range would make two of it,
        // as often as the guest likes.
        self.blocks.insert(block, place);
        Ok(())
    }

    /// Zeroes all of `blocks`. Returns false, and changes nothing, if there would be too many
    /// ranges of zeros.
    pub fn zero(&mut self, blocks: Range<u64>) -> bool {
        if blocks.is_empty() {
            return true;
        }
        // A range adds one at most, and none if it lies within another.
        if self.zeros.len() >= self.limits.ranges && self.zeros.gaps(&blocks).next().is_some() {
            return false;
        }
        // As much work as it was to write them.
        let inside = self.blocks.range(blocks.clone());
        for block in inside.map(|(block, _)| *block).collect::<Vec<_>>() {
            let old = self.blocks.remove(&block);
            self.in_memory -= usize::from(matches!(old, Some(BlockLocation::Memory(_))));
        }
        self.zeros.insert(blocks);
        true
    }

    /// Takes over the changes of `above`, which lie on top of these.
    pub fn absorb(&mut self, above: &Self) {
        for range in above.zeros.iter() {
            // Without the limit: each of the two kept to it, and what a guest has zeroed must not
            // be lost when they are merged.
            let limit = std::mem::replace(&mut self.limits.ranges, usize::MAX);
            self.zero(range.clone());
            self.limits.ranges = limit;
        }
        // After the zeros, which they cover.
        for (block, place) in &above.blocks {
            let old = self.blocks.insert(*block, place.clone());
            self.in_memory -= usize::from(matches!(old, Some(BlockLocation::Memory(_))));
            self.in_memory += usize::from(matches!(place, BlockLocation::Memory(_)));
        }
        // For blocks that are written from now on: each of those taken over knows its own file.
        if self.spill.is_none() {
            self.spill.clone_from(&above.spill);
        }
    }

    /// Returns the blocks that were written, in ascending order.
    pub fn blocks(&self) -> impl Iterator<Item = io::Result<(u64, Arc<Bytes>)>> + '_ {
        self.blocks.iter().map(|(block, place)| {
            let bytes = match place {
                BlockLocation::Memory(bytes) => Arc::clone(bytes),
                BlockLocation::File(slot) => Arc::new(slot.read()?),
            };
            Ok((*block, bytes))
        })
    }

    /// Returns the ranges of blocks that are zero, in ascending order.
    pub fn zeros(&self) -> impl ExactSizeIterator<Item = Range<u64>> + '_ {
        // Collected, since the set's own iterator does not know its length.
        let ranges: Vec<_> = self.zeros.iter().cloned().collect();
        ranges.into_iter()
    }
}
