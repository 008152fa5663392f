//! Tables for tests.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::walk::spec::{LeafDescriptor, TableDescriptor};
use crate::walk::{ExternalAbort, Level, Regime, Region, Security, TableReader};

/// Where the first table of [`Tables::new`] stands.
pub(super) const BASE: u64 = 0x4000_0000;

/// A read-write page as the Linux driver writes it, without its address: nG, AF, outer shareable,
/// AP\[1\], NS.
pub(super) const PAGE: u64 = 0xe63;

/// As [`PAGE`], a block.
pub(super) const BLOCK: u64 = 0xe61;

/// A table descriptor as the Linux driver writes it, without its address: NSTable and a software
/// bit.
pub(super) const TABLE: u64 = 0x8080_0000_0000_0003;

/// Memory that holds tables only: what was never written cannot be read.
#[derive(Default)]
pub(super) struct Tables {
    words: BTreeMap<u64, u64>,
    next: u64,
    reads: Cell<u32>,
}

impl TableReader for Tables {
    fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
        self.reads.set(self.reads.get() + 1);
        self.words.get(&address).copied().ok_or(ExternalAbort)
    }
}

impl Tables {
    /// Creates a first table of `entries` invalid entries at [`BASE`].
    pub(super) fn new(entries: u64) -> Self {
        let mut tables = Self {
            next: BASE,
            ..Self::default()
        };
        tables.allocate(entries);
        tables
    }

    fn allocate(&mut self, entries: u64) -> u64 {
        let address = self.next;
        self.next += (entries * 8).next_multiple_of(0x1000);
        self.words
            .extend((0..entries).map(|entry| (address + entry * 8, 0)));
        address
    }

    /// Returns how many reads there were since the last call.
    pub(super) fn take_reads(&self) -> u32 {
        self.reads.take()
    }

    pub(super) fn get(&self, address: u64) -> Option<u64> {
        self.words.get(&address).copied()
    }

    pub(super) fn set(&mut self, address: u64, descriptor: u64) {
        self.words.insert(address, descriptor);
    }

    /// Returns the address of the entry for `iova` in the table of `level`, making tables on the
    /// way with `table` as their attributes. `None` if a block is in the way.
    pub(super) fn entry(
        &mut self,
        start: Level,
        level: Level,
        iova: u64,
        table: u64,
    ) -> Option<u64> {
        let mut at = start;
        let mut entry = BASE + (iova >> start.shift()) * 8;
        while at != level {
            let found = self.words[&entry];
            let next = match found & 3 {
                3 => TableDescriptor::from_bits(found).frame() << 12,
                1 => return None,
                _ => {
                    let next = self.allocate(512);
                    self.set(entry, next | table);
                    next
                }
            };
            at = at
                .next()
                .expect("the level asked for is not above the first");
            entry = next + (iova >> at.shift() & 0x1ff) * 8;
        }
        Some(entry)
    }

    /// Writes `leaf` for `iova` at `level` of the driver's three-level tables.
    pub(super) fn map(&mut self, level: Level, iova: u64, leaf: u64) -> u64 {
        let entry = self
            .entry(Level::First, level, iova, TABLE)
            .expect("no block is in the way");
        self.set(entry, leaf);
        entry
    }
}

/// Returns the regime that the Linux driver programs: 32-bit inputs, four entries in the first
/// table, no access flag faults, Non-secure.
pub(super) fn driver_regime() -> Regime {
    Regime {
        access_flag_faults: false,
        security: Security::NonSecureRequired,
        ..Regime::new(Region::new(BASE, 0, Level::First))
    }
}

/// Returns [`PAGE`] or [`BLOCK`], whichever `level` has.
pub(super) fn leaf_at(level: Level) -> u64 {
    if level == Level::Third { PAGE } else { BLOCK }
}

/// Returns `descriptor` with some fields changed.
pub(super) fn leaf(descriptor: u64, change: impl FnOnce(&mut LeafDescriptor)) -> u64 {
    let mut leaf = LeafDescriptor::from_bits(descriptor);
    change(&mut leaf);
    leaf.into_bits()
}
