//! Tables and regimes for tests.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::fault::FaultReason;
use crate::walk::vmsa64::{Granule, Half, Operation, Vmsa64Access, Vmsa64Regime, walk_vmsa64};
use crate::walk::{ExternalAbort, TableReader};

/// Where the first table of [`Tables`] stands.
pub(super) const BASE: u64 = 0x4000_0000;

/// A page that anybody may read and write: AF, inner shareable, AP\[1\].
pub(super) const PAGE: u64 = 0x743;

/// As [`PAGE`], a block.
pub(super) const BLOCK: u64 = 0x741;

/// A table descriptor without its address.
pub(super) const TABLE: u64 = 3;

/// All granules.
pub(super) const GRANULES: [Granule; 3] = [Granule::Size4K, Granule::Size16K, Granule::Size64K];

/// Memory that holds tables only: it is zero elsewhere near [`BASE`], and absent beyond.
pub(super) struct Tables {
    words: BTreeMap<u64, u64>,
    next: u64,
    reads: Cell<u32>,
}

/// How much there is from [`BASE`] on.
const SIZE: u64 = 1 << 26;

impl TableReader for Tables {
    fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
        assert_eq!(address % 8, 0);
        self.reads.set(self.reads.get() + 1);
        match address.checked_sub(BASE) {
            Some(0..SIZE) => Ok(self.words.get(&address).copied().unwrap_or(0)),
            _ => Err(ExternalAbort),
        }
    }
}

impl Tables {
    /// Creates memory whose first 64 KiB are for the first table.
    pub(super) fn new() -> Self {
        Self {
            words: BTreeMap::new(),
            next: BASE + 0x1_0000,
            reads: Cell::default(),
        }
    }

    /// Returns how many reads there were since the last call.
    pub(super) fn take_reads(&self) -> u32 {
        self.reads.take()
    }

    pub(super) fn set(&mut self, address: u64, descriptor: u64) {
        self.words.insert(address, descriptor);
    }

    /// Returns the address of the entry for `iova` in the table of `level`, making tables on the
    /// way with `table` as their attributes. `None` if a block is in the way.
    pub(super) fn entry(&mut self, half: Half, level: i8, iova: u64, table: u64) -> Option<u64> {
        let granule = half.granule;
        let bits = 64 - half.size_offset;
        let mut at = start(half);
        let mut entry = BASE + (iova & ((1 << bits) - 1)) / (1 << granule.shift(at)) * 8;
        while at < level {
            let found = self.words.get(&entry).copied().unwrap_or(0);
            let next = match found & 3 {
                3 => found & 0xffff_ffff_f000 & !((1 << granule.bits()) - 1),
                1 => return None,
                _ => {
                    let next = self.next;
                    self.next += 1 << 16;
                    self.set(entry, next | table);
                    next
                }
            };
            at += 1;
            entry = next + (iova >> granule.shift(at)) % (1 << granule.stride()) * 8;
        }
        Some(entry)
    }

    /// Writes `leaf` for `iova` at `level`; the address of the descriptor.
    pub(super) fn map(&mut self, half: Half, level: i8, iova: u64, leaf: u64) -> u64 {
        let entry = self
            .entry(half, level, iova, TABLE)
            .expect("no block is in the way");
        self.set(entry, leaf);
        entry
    }
}

/// Returns the level of the first table: the highest at which more than one entry is needed.
pub(super) fn start(half: Half) -> i8 {
    let bits = 64 - half.size_offset;
    (-1..=3)
        .find(|&level| half.granule.shift(level) < bits)
        .expect("no half is smaller than a page")
}

/// Returns [`PAGE`] or [`BLOCK`], whichever `level` has.
pub(super) fn leaf_at(level: i8) -> u64 {
    if level == 3 { PAGE } else { BLOCK }
}

/// Returns the lower half at [`BASE`].
pub(super) fn half(granule: Granule, size_offset: u8) -> Half {
    Half::new(BASE, size_offset, granule)
}

/// Returns a regime of one lower half.
pub(super) fn regime(half: Half) -> Vmsa64Regime {
    let builder = Vmsa64Regime::builder().lower(half).small_tables(true);
    builder.build().expect("the size is possible")
}

/// A way to say an access.
pub(super) fn access(operation: char, privileged: bool) -> Vmsa64Access {
    Vmsa64Access {
        operation: match operation {
            'r' => Operation::Read,
            'w' => Operation::Write,
            _ => Operation::Execute,
        },
        privileged,
    }
}

/// Walks for an unprivileged access; the output or the fault.
pub(super) fn translate(
    tables: &Tables,
    regime: &Vmsa64Regime,
    iova: u64,
    operation: char,
) -> Result<u64, (FaultReason, i8)> {
    walk_vmsa64(tables, regime, iova, access(operation, false))
        .map(|walked| walked.output)
        .map_err(|fault| (fault.reason, fault.level))
}
