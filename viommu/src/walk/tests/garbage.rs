//! The walk over garbage, against the slow reference.

use std::cell::Cell;

use proptest::prelude::*;

use super::reference::{Slow, slow};
use crate::fault::Access;
use crate::walk::{ExternalAbort, Level, MAX_READS, Regime, Region, Security, TableReader, walk};

const MEMORY: u64 = 0x4000_0000;
const WORDS: usize = 4096;

/// Memory full of descriptors.
struct Garbage {
    /// What it was made from, to be shown when a test fails.
    recipe: (Vec<u64>, [u64; 2]),
    words: Vec<u64>,
    reads: Cell<u32>,
}

impl std::fmt::Debug for Garbage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Garbage {:#x?}", self.recipe)
    }
}

impl Garbage {
    fn new(recipe: (Vec<u64>, [u64; 2])) -> Self {
        let (kinds, [seed, step]) = &recipe;
        let mut seed = *seed;
        let words = (0..WORDS)
            .map(|_| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(step | 1);
                // The top bits are the most random ones of such a generator.
                kinds[(seed >> 58) as usize]
            })
            .collect();
        Self {
            recipe,
            words,
            reads: Cell::default(),
        }
    }

    fn get(&self, address: u64) -> Option<u64> {
        let index = usize::try_from(address.checked_sub(MEMORY)? / 8).ok()?;
        self.words.get(index).copied()
    }
}

impl TableReader for Garbage {
    fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
        assert_eq!(address % 8, 0);
        self.reads.set(self.reads.get() + 1);
        self.get(address).ok_or(ExternalAbort)
    }
}

/// Returns a descriptor that often leads on, within the memory, and often has what the checks want.
fn descriptor() -> impl Strategy<Value = u64> {
    let frame = prop_oneof![
        8 => (0..WORDS as u64 / 512).prop_map(|page| MEMORY + page * 0x1000),
        2 => any::<u64>().prop_map(|frame| frame & 0xff_ffff_f000),
        1 => any::<u64>().prop_map(|frame| frame & 0xffff_ffff_f000),
    ];
    let attributes = prop_oneof![
        Just(0x8000_0000_0000_0460u64),
        any::<u64>().prop_map(|bits| bits & !0xffff_ffff_f003 | 0x8000_0000_0000_0420),
        any::<u64>().prop_map(|bits| bits & !0xffff_ffff_f003),
    ];
    let kind = prop_oneof![1 => Just(0u64), 2 => Just(1), 8 => Just(3), 1 => Just(2)];
    (frame, attributes, kind).prop_map(|(frame, attributes, kind)| frame | attributes | kind)
}

fn garbage() -> impl Strategy<Value = Garbage> {
    // Few different descriptors, many places: what differs matters less than what leads where.
    (
        proptest::collection::vec(descriptor(), 64),
        any::<[u64; 2]>(),
    )
        .prop_map(Garbage::new)
}

fn region() -> impl Strategy<Value = Region> {
    let level = prop_oneof![
        3 => Just(Level::First),
        2 => Just(Level::Second),
        1 => Just(Level::Third)
    ];
    let base = prop_oneof![
        8 => (0..WORDS as u64 / 4).prop_map(|n| MEMORY + n * 32),
        1 => any::<u64>(),
        1 => any::<u64>().prop_map(|base| base & 0xff_ffff_ffff),
    ];
    (base, 0..8u8, level, proptest::bool::weighted(0.05)).prop_map(
        |(base, size_offset, start, disabled)| Region {
            base,
            size_offset,
            start,
            disabled,
        },
    )
}

fn regime() -> impl Strategy<Value = Regime> {
    let security = prop_oneof![
        Just(Security::Secure),
        Just(Security::NonSecure),
        Just(Security::NonSecureRequired)
    ];
    (
        prop_oneof![3 => Just(32u8), 1 => Just(40)],
        prop_oneof![3 => Just(40u8), 1 => 32..=48u8],
        region(),
        proptest::option::of(region()),
        security,
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(
                input_bits,
                output_bits,
                ttbr0,
                ttbr1,
                security,
                [access_flag_faults, privileged],
            )| {
                Regime {
                    input_bits,
                    output_bits,
                    ttbr0,
                    ttbr1,
                    access_flag_faults,
                    security,
                    privileged,
                }
            },
        )
}

fn iova() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => any::<u32>().prop_map(u64::from),
        2 => 0..1u64 << 25,
        2 => (0..1u64 << 25).prop_map(|n| 0xffff_ffff - n),
        2 => 0..1u64 << 40,
        1 => any::<u64>(),
    ]
}

fn reference(memory: &Garbage, regime: &Regime, iova: u64, access: Access) -> Option<Slow> {
    slow(regime, |address| memory.get(address), iova, access).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn garbage_means_what_the_slow_reference_says(
        memory in garbage(),
        regime in regime(),
        iovas in proptest::collection::vec((iova(), any::<[u64; 4]>()), 32),
    ) {
        for (iova, elsewhere) in iovas {
            for access in [Access::Read, Access::Write] {
                let answer = walk(&memory, &regime, iova, access);
                prop_assert!(memory.reads.take() <= MAX_READS);
                let expected = slow(&regime, |address| memory.get(address), iova, access);
                let walked = match answer {
                    Ok(walked) => walked,
                    Err(fault) => {
                        prop_assert_eq!(expected, Err((fault.reason, fault.level)));
                        continue;
                    }
                };
                let said = Slow {
                    output: walked.output,
                    level: walked.level.number(),
                    read: walked.read,
                    write: walked.write,
                    xn: walked.xn,
                    pxn: walked.pxn,
                    attr_index: walked.attr_index,
                    shareability: walked.shareability.into_bits(),
                    ns: walked.ns,
                    global: walked.global,
                    ..expected.expect("the walk found a translation")
                };
                prop_assert_eq!(Ok(said), expected);
                prop_assert!(said.hint || !walked.contiguous);
                // The hint is taken on trust, and garbage does not have sixteen entries that agree.
                if walked.contiguous {
                    continue;
                }
                // All of the range that the answer is said to hold for is of the same descriptor.
                let within = (1u64 << walked.size_log2) - 1;
                let ends = [iova & !within, iova | within];
                for other in elsewhere.map(|n| iova & !within | n & within).into_iter().chain(ends) {
                    let there = reference(&memory, &regime, other, access);
                    prop_assert_eq!(there.map(|slow| slow.entry), Some(said.entry), "{:#x}", other);
                    let distance = other.wrapping_sub(iova);
                    prop_assert_eq!(
                        there.map(|slow| slow.output),
                        Some(said.output.wrapping_add(distance))
                    );
                }
            }
        }
    }
}

#[test]
fn garbage_reaches_every_level_and_fault() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let memory = garbage().new_tree(&mut runner).unwrap().current();
        for _ in 0..20 {
            let regime = regime().new_tree(&mut runner).unwrap().current();
            let iova = iova().new_tree(&mut runner).unwrap().current();
            let answer = walk(&memory, &regime, iova, Access::Write);
            let kind = match answer {
                Ok(walked) => format!("mapped at level {}", walked.level.number()),
                Err(fault) => fault.to_string(),
            };
            *seen.entry(kind).or_insert(0) += 1;
        }
    }
    let kinds = [
        "mapped",
        "translation fault",
        "secure access fault",
        "access flag fault",
        "permission fault",
        "address size fault",
        "external abort on a table walk",
    ];
    for kind in kinds {
        for level in 1..=3 {
            let name = format!("{kind} at level {level}");
            assert!(seen.contains_key(&name), "{name}: {seen:?}");
        }
    }
    for name in ["address size fault at level 0", "format fault at level 3"] {
        assert!(seen.contains_key(name), "{name}: {seen:?}");
    }
}
