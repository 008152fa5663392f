//! Tables built from random mappings, against a plain map of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::builder::{BASE, GRANULES, Tables, access, leaf_at, start};
use crate::fault::FaultReason;
use crate::walk::vmsa64::{AddressSize, Granule, Half, Vmsa64Regime, walk_vmsa64};

/// A page or block.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    iova: u64,
    output: u64,
    size: u64,
    level: i8,
    write: bool,
}

/// A half and what is mapped in it: first address to mapping. None overlap.
struct Model {
    half: Half,
    upper: bool,
    large: bool,
    mappings: BTreeMap<u64, Mapping>,
}

impl Model {
    fn at(&self, iova: u64) -> Option<Mapping> {
        let (_, &mapping) = self.mappings.range(..=iova).next_back()?;
        (iova - mapping.iova < mapping.size).then_some(mapping)
    }

    /// Adds a mapping in tables and model, unless something else is in its way.
    fn map(&mut self, tables: &mut Tables, level: i8, [at, to]: [u64; 2], write: bool) {
        let granule = self.half.granule;
        let size = 1 << granule.shift(level);
        let bits = 64 - self.half.size_offset;
        // Crowded at both ends of the half, so that mappings get into each other's way.
        let low = at & ((1 << bits.min(28)) - 1);
        let low = if at >> 63 == 1 {
            (1 << bits) - 1 - low
        } else {
            low
        };
        let high = if self.upper { u64::MAX << bits } else { 0 };
        let iova = (high | low) & !(size - 1);
        let output = to & ((1 << if self.large { 52 } else { 48 }) - 1) & !(size - 1);
        let taken = self.at(iova).is_some()
            || self
                .mappings
                .range(iova..=iova + (size - 1))
                .next()
                .is_some();
        let descriptor = self.descriptor(output) | leaf_at(level) & !0x300 | u64::from(!write) << 7;
        if taken {
            return;
        }
        let entry = tables
            .entry(self.half, level, iova, 3)
            .expect("nothing is in the way");
        tables.set(entry, descriptor);
        let mapping = Mapping {
            iova,
            output,
            size,
            level,
            write,
        };
        self.mappings.insert(iova, mapping);
    }

    /// Returns where a descriptor has an address.
    fn descriptor(&self, address: u64) -> u64 {
        let low = address & 0xffff_ffff_ffff;
        let high = address >> 48;
        match self.half.granule {
            Granule::Size64K => low | high << 12,
            _ => low | (high & 3) << 48 | (high >> 2) << 8,
        }
    }
}

/// Returns the levels that have leaves.
fn leaf_levels(granule: Granule, large: bool) -> Vec<i8> {
    let first = match (granule, large) {
        (Granule::Size4K, true) => 0,
        (Granule::Size4K, false) | (_, true) => 1,
        (_, false) => 2,
    };
    (first..=3).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_was_mapped_is_found_and_nothing_else(
        granule in 0..3usize,
        size_offset in 12..=47u8,
        [large, upper] in any::<[bool; 2]>(),
        wanted in proptest::collection::vec((any::<u8>(), any::<[u64; 2]>(), any::<bool>()), 1..40),
        elsewhere in proptest::collection::vec(any::<u64>(), 32),
    ) {
        let granule = GRANULES[granule];
        let size_offset = if large { size_offset } else { size_offset.max(16) };
        let half = Half::new(BASE, size_offset, granule);
        let builder = Vmsa64Regime::builder().small_tables(true);
        let builder = if upper { builder.upper(half) } else { builder.lower(half) };
        let size = if large { AddressSize::Bits52 } else { AddressSize::Bits48 };
        let builder = builder.output(size).physical(size).ds(large).large_va(large);
        let regime = builder.build().unwrap();
        let mut tables = Tables::new();
        let mut model = Model { half, upper, large, mappings: BTreeMap::new() };
        let levels: Vec<i8> = leaf_levels(granule, large)
            .into_iter()
            .filter(|&level| level >= start(half))
            .collect();
        for (level, addresses, write) in wanted {
            // Pages more often than blocks, which leave no room.
            let level = levels[usize::from(level).min(levels.len() * 12 - 1) / 12];
            model.map(&mut tables, level, addresses, write);
        }
        let inside = |n: u64| {
            let bits = 64 - half.size_offset;
            n & ((1 << bits) - 1) | if upper { u64::MAX << bits } else { 0 }
        };
        let ends = model.mappings.values().flat_map(|mapping| {
            let last = mapping.iova + (mapping.size - 1);
            [mapping.iova, last, mapping.iova.wrapping_sub(1), last.wrapping_add(1)]
        });
        for iova in ends.chain(elsewhere.iter().map(|&n| inside(n))) {
            for operation in ['r', 'w'] {
                let answer = walk_vmsa64(&tables, &regime, iova, access(operation, false));
                let Some(mapping) = model.at(iova) else {
                    let fault = answer.map_err(|fault| fault.reason);
                    prop_assert_eq!(fault, Err(FaultReason::Translation), "{:#x}", iova);
                    continue;
                };
                if operation == 'w' && !mapping.write {
                    let fault = answer.unwrap_err();
                    prop_assert_eq!((fault.reason, fault.level), (FaultReason::Permission, mapping.level));
                    continue;
                }
                let walked = answer.expect("it is mapped");
                prop_assert_eq!(walked.output, mapping.output + (iova - mapping.iova));
                prop_assert_eq!((1 << walked.size_log2, walked.level), (mapping.size, mapping.level));
                prop_assert_eq!((walked.read, walked.write), (true, mapping.write));
            }
        }
    }
}
