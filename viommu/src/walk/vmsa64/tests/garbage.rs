//! The walk over garbage, against the slow reference.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::builder::access;
use super::reference::{Machine, Slow, sizes, slow};
use super::subject::{self, regime_of};
use crate::walk::vmsa64::{MAX_VMSA64_READS, Vmsa64Fault, Vmsa64Walked, walk_vmsa64};
use crate::walk::{ExternalAbort, TableReader};

/// Sixteen tables of 64 KiB.
const MEMORY: u64 = 0x4000_0000;
const TABLES: u64 = 16;

/// Memory full of descriptors, of which there are few different ones.
#[derive(Debug)]
struct Garbage {
    kinds: Vec<u64>,
    seed: u64,
    reads: Cell<u32>,
}

impl Garbage {
    fn get(&self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(MEMORY)?;
        // What differs matters less than what leads where: a hash of the place chooses.
        let hash = (offset ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let kind = (hash >> 58) as usize % self.kinds.len();
        (offset < TABLES << 16).then(|| self.kinds[kind])
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
        12 => (0..TABLES << 4).prop_map(|page| MEMORY + page * 0x1000),
        2 => any::<u64>().prop_map(|frame| frame & 0xff_ffff_f000),
        1 => any::<u64>().prop_map(|frame| frame & 0x3_ffff_ffff_f300),
    ];
    let attributes = prop_oneof![
        3 => Just(0x440u64),
        1 => any::<u64>().prop_map(|bits| bits & 0xf870_0000_0000_0cfc | 0x440),
        1 => any::<u64>().prop_map(|bits| bits & 0xfff0_0000_0000_0ffc),
    ];
    let kind = prop_oneof![1 => Just(0u64), 3 => Just(1), 10 => Just(3), 1 => Just(2)];
    (frame, attributes, kind).prop_map(|(frame, attributes, kind)| frame | attributes | kind)
}

fn garbage() -> impl Strategy<Value = Garbage> {
    (proptest::collection::vec(descriptor(), 32), any::<u64>()).prop_map(|(kinds, seed)| Garbage {
        kinds,
        seed,
        reads: Cell::default(),
    })
}

/// Registers whose sizes are possible ones.
fn machine() -> impl Strategy<Value = Machine> {
    let ttbr = || {
        prop_oneof![
            8 => (0..TABLES << 4).prop_map(|page| MEMORY + page * 0x1000),
            1 => (0..TABLES << 10).prop_map(|n| MEMORY + n * 64),
            1 => any::<u64>().prop_map(|base| base & 0xffff_00ff_ffff_ffff),
            1 => any::<u64>(),
        ]
    };
    let sized = prop_oneof![5 => 0..=5u64, 5 => Just(6), 1 => Just(7)];
    (
        any::<u64>(),
        [ttbr(), ttbr()],
        (sized.clone(), sized),
        any::<[u8; 2]>(),
        any::<[bool; 5]>(),
        proptest::bool::weighted(0.1),
        any::<u8>(),
    )
        .prop_map(
            |(tcr, ttbr, (ips, pa_range), [t0sz, t1sz], bits, el2, rare)| {
                let [lva, ttst, wxn, pan, secure] = bits;
                // Walks are seldom disabled.
                let tcr = tcr & !(7 << 32 | 0x3f | 0x3f << 16) | ips << 32;
                let tcr = if rare < 16 {
                    tcr
                } else {
                    tcr & !(1 << 7 | 1 << 23)
                };
                let mut machine = Machine {
                    tcr,
                    ttbr,
                    pa_range,
                    lva,
                    ttst,
                    wxn,
                    pan,
                    secure,
                    affd: rare & 1 == 1,
                    el2,
                };
                for (upper, n) in [(false, t0sz), (true, t1sz)] {
                    let sizes = sizes(&machine, upper);
                    let size = sizes.start() + u64::from(n) % (sizes.end() - sizes.start() + 1);
                    machine.tcr |= size << if upper { 16 } else { 0 };
                }
                machine
            },
        )
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => any::<u64>().prop_map(|n| n & 0xff_ffff),
        4 => (any::<u64>(), 16..52u32).prop_map(|(n, bits)| n & ((1 << bits) - 1)),
        4 => (any::<u64>(), 16..52u32).prop_map(|(n, bits)| n | u64::MAX << bits),
        // With a tag.
        3 => any::<u64>().prop_map(|n| n & 0xff00_ffff_ffff_ffff),
        1 => any::<u64>(),
    ]
}

/// Returns what the walk says, in the reference's terms.
fn said(answer: Result<Vmsa64Walked, Vmsa64Fault>) -> Result<Slow, (String, i64)> {
    let walked = answer.map_err(|fault| {
        let reason = fault
            .reason
            .to_string()
            .replace("external abort on a table walk", "abort");
        (
            reason.trim_end_matches(" fault").to_owned(),
            i64::from(fault.level),
        )
    })?;
    Ok(subject::said(&walked))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn garbage_means_what_the_slow_reference_says(
        memory in garbage(),
        machine in machine(),
        addresses in proptest::collection::vec((address(), any::<u64>()), 32),
    ) {
        let regime = regime_of(&machine).expect("sizes are possible ones");
        for (iova, elsewhere) in addresses {
            for operation in ['r', 'w', 'x'] {
                for privileged in [false, true] {
                    let access = access(operation, privileged);
                    let answer = walk_vmsa64(&memory, &regime, iova, access);
                    prop_assert!(memory.reads.take() <= MAX_VMSA64_READS);
                    let reference = |iova| {
                        slow(&machine, |address| memory.get(address), iova, operation, privileged)
                            .map_err(|(reason, level)| (reason.to_owned(), level))
                    };
                    prop_assert_eq!(said(answer), reference(iova), "{:#x}", iova);
                    let Ok(walked) = answer else { continue };
                    // All of the range that the answer is said to hold for is alike.
                    let mapping = walked.mapping(iova);
                    let within = mapping.last - mapping.first;
                    prop_assert_eq!(within, (1 << walked.size_log2) - 1);
                    for other in [mapping.first, mapping.last, mapping.first + (elsewhere & within)] {
                        let there = reference(other).map(|slow| (slow.output, slow.rights));
                        let output = mapping.address + (other - mapping.first);
                        let rights = [walked.read, walked.write, walked.execute];
                        prop_assert_eq!(there, Ok((output, rights)), "{:#x}", other);
                    }
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
    let mut seen = BTreeMap::new();
    for _ in 0..4000 {
        let memory = garbage().new_tree(&mut runner).unwrap().current();
        let machine = machine().new_tree(&mut runner).unwrap().current();
        let regime = regime_of(&machine).unwrap();
        for _ in 0..10 {
            let iova = address().new_tree(&mut runner).unwrap().current();
            let kind = match walk_vmsa64(&memory, &regime, iova, access('w', true)) {
                Ok(walked) => format!("mapped at level {}", walked.level),
                Err(fault) => fault.to_string(),
            };
            *seen.entry(kind).or_insert(0) += 1;
        }
    }
    let kinds = [
        ("mapped", 0),
        ("access flag fault", 0),
        ("permission fault", 0),
        ("translation fault", -1),
        ("address size fault", -1),
        ("external abort on a table walk", -1),
    ];
    for (kind, first) in kinds {
        for level in first..=3 {
            let name = format!("{kind} at level {level}");
            assert!(seen.contains_key(&name), "{name}: {seen:?}");
        }
    }
}
