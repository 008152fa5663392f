//! Tables built from random mappings, against a plain map of them.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::builder::{Tables, driver_regime, leaf, leaf_at};
use crate::fault::{Access, FaultReason};
use crate::walk::{Level, walk};

/// One mapping of a page or block, or of 16 contiguous ones.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    iova: u64,
    output: u64,
    level: Level,
    contiguous: bool,
    write: bool,
}

impl Mapping {
    fn size(&self) -> u64 {
        let one = 1 << self.level.shift();
        if self.contiguous { one * 16 } else { one }
    }
}

/// What is mapped: first IOVA to mapping. None overlap.
#[derive(Default)]
struct Model(BTreeMap<u64, Mapping>);

impl Model {
    fn at(&self, iova: u64) -> Option<Mapping> {
        let (_, &mapping) = self.0.range(..=iova).next_back()?;
        (iova - mapping.iova < mapping.size()).then_some(mapping)
    }

    fn is_free(&self, first: u64, size: u64) -> bool {
        self.at(first).is_none() && self.0.range(first..first + size).next().is_none()
    }
}

fn mapping() -> impl Strategy<Value = Mapping> {
    let level = prop_oneof![
        1 => Just(Level::First),
        3 => Just(Level::Second),
        6 => Just(Level::Third)
    ];
    // Mappings crowd within a few MiB of each GiB, so that they share tables and get into each
    // other's way.
    let iova = (0..4u64, 0..48u64 << 20).prop_map(|(gib, offset)| gib << 30 | offset);
    (iova, 0..1u64 << 40, level, any::<[bool; 2]>()).prop_map(
        |(iova, output, level, [contiguous, write])| {
            let mut mapping = Mapping {
                iova,
                output,
                level,
                contiguous: contiguous && level != Level::First,
                write,
            };
            mapping.iova &= !(mapping.size() - 1);
            mapping.output &= !(mapping.size() - 1);
            mapping
        },
    )
}

/// Writes the mapping, unless something else is in the way. Whether it was written.
fn install(tables: &mut Tables, model: &mut Model, mapping: Mapping) -> bool {
    if !model.is_free(mapping.iova, mapping.size()) {
        return false;
    }
    let one = 1u64 << mapping.level.shift();
    for offset in (0..mapping.size()).step_by(one as usize) {
        let descriptor = leaf((mapping.output + offset) | leaf_at(mapping.level), |d| {
            d.set_contiguous(mapping.contiguous);
            d.set_ap_read_only(!mapping.write);
        });
        tables.map(mapping.level, mapping.iova + offset, descriptor);
    }
    model.0.insert(mapping.iova, mapping);
    true
}

fn check(tables: &Tables, model: &Model, iova: u64) -> Result<(), TestCaseError> {
    for access in [Access::Read, Access::Write] {
        let answer = walk(tables, &driver_regime(), iova, access);
        let Some(mapping) = model.at(iova) else {
            prop_assert_eq!(answer.map_err(|f| f.reason), Err(FaultReason::Translation));
            continue;
        };
        if access == Access::Write && !mapping.write {
            let fault = answer.unwrap_err();
            prop_assert_eq!(fault.reason, FaultReason::Permission);
            prop_assert_eq!(fault.level, mapping.level.number());
            continue;
        }
        let walked = answer.expect("it is mapped");
        prop_assert_eq!(walked.output, mapping.output + (iova - mapping.iova));
        prop_assert_eq!(1 << walked.size_log2, mapping.size());
        prop_assert_eq!((walked.read, walked.write), (true, mapping.write));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_mapped_is_found_and_nothing_else(
        mappings in proptest::collection::vec(mapping(), 1..40),
        elsewhere in proptest::collection::vec(any::<u32>(), 64),
    ) {
        let mut tables = Tables::new(4);
        let mut model = Model::default();
        for &mapping in &mappings {
            install(&mut tables, &mut model, mapping);
        }
        for mapping in &mappings {
            let last = mapping.iova + mapping.size() - 1;
            for iova in [mapping.iova, last, mapping.iova.wrapping_sub(1), last + 1, (mapping.iova + last) / 2] {
                if iova <= u64::from(u32::MAX) {
                    check(&tables, &model, iova)?;
                }
            }
        }
        for iova in elsewhere {
            check(&tables, &model, iova.into())?;
        }
    }
}
