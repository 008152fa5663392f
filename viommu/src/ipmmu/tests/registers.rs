//! The registers: reset, reserved bits, odd accesses, and a plain model of all of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::harness::{IMCTR, IMTTBCR, Machine, imuctr};
use crate::attachment::Attachment;
use crate::fault::DomainId;
use crate::ipmmu::{ConfigError, Ipmmu, IpmmuConfig, NoInterrupt, Observers};
use crate::test_support::RegisterMachine as _;

#[test]
fn out_of_reset_everything_is_zero_and_nothing_is_translated() {
    for config in [IpmmuConfig::gen2("mmu"), IpmmuConfig::gen3("mm", ["ds0"])] {
        let machine = Machine::new(&config);
        for instance in machine.ipmmu.instances() {
            let mut window = vec![0xff; 0x1000];
            instance.read(0, &mut window);
            assert!(window.iter().all(|&byte| byte == 0));
            for utlb in 0..instance.utlbs() {
                let endpoint = instance.endpoint(utlb).unwrap();
                assert_eq!(
                    machine.ipmmu.unit().attachment(endpoint),
                    Attachment::Bypass
                );
            }
        }
    }
}

#[test]
fn the_secure_bank_of_gen2_holds_nothing() {
    let machine = Machine::gen2();
    let instance = machine.instance(0);
    for offset in (0..0x800).step_by(4) {
        instance.write(offset, &[0xff; 4]);
        let mut word = [0xff; 4];
        instance.read(offset, &mut word);
        assert_eq!(word, [0; 4]);
    }
    assert_eq!(machine.read(IMCTR), 0, "the non-secure bank is another");
}

#[test]
fn any_part_of_registers_may_be_read_and_words_be_written() {
    let machine = Machine::gen2();
    let instance = machine.instance(0);
    // Two registers at once: IMTTLBR0 and IMTTUBR0.
    instance.write(0x810, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut bytes = [0; 8];
    instance.read(0x80e, &mut bytes);
    assert_eq!(bytes, [0, 0, 1, 2, 3, 4, 5, 0]);
    let mut byte = [0];
    instance.read(0x812, &mut byte);
    assert_eq!(byte, [3]);
    instance.read(0x812, &mut []);
    instance.write(0x812, &[]);
    machine.log.take();
    instance.write(0x810, &[0xff]);
    instance.write(0x811, &[0xff; 4]);
    instance.write(0x810, &[0xff; 6]);
    instance.read(0x810, &mut bytes);
    assert_eq!(bytes, [1, 2, 3, 4, 5, 0, 0, 0]);
    assert_eq!(
        machine.log.take()[0],
        "mmu: write of 1 bytes to offset 0x810 ignored: registers are words (2 so far)"
    );
    // Beyond the window, and around the end of all offsets.
    instance.read(0xfffe, &mut bytes);
    assert_eq!(bytes, [0; 8]);
    instance.read(u64::MAX - 3, &mut bytes);
    instance.write(u64::MAX - 3, &bytes);
}

#[test]
fn accesses_to_what_is_not_modelled_are_told_of_ever_more_seldom() {
    let machine = Machine::gen2();
    for _ in 0..1000 {
        machine.read(0x200);
        machine.write(0x204, 0xabcd);
    }
    let log = machine.log.take();
    // The first 16, then the 32nd to the 1024th.
    assert_eq!(log.len(), 16 + 6);
    assert_eq!(
        log[0],
        "mmu: read of offset 0xa00, where no register is modelled (1 so far)"
    );
    assert_eq!(
        log[21],
        "mmu: write of 0x0000abcd to offset 0xa04, where no register is modelled (1024 so far)"
    );
}

#[test]
fn each_generation_has_its_own_bits() {
    let gen2 = Machine::gen2();
    gen2.write(IMTTBCR, u32::MAX);
    assert_eq!(gen2.read(IMTTBCR), 0xff07_3f37);
    let gen3 = Machine::new(&IpmmuConfig::gen3("mm", ["ds0"]));
    gen3.write(IMTTBCR, u32::MAX);
    assert_eq!(gen3.read(IMTTBCR), 0xff07_3fc7);
    gen3.write(0x0c, u32::MAX);
    assert_eq!(gen3.read(0x0c), 0, "no IMBUSCR");
}

#[test]
fn utlbs_that_are_not_wired_are_not_there() {
    let mut config = IpmmuConfig::gen2("mmu");
    config.instances[0].utlbs = 3;
    let machine = Machine::new(&config);
    machine.write(imuctr(2), 1);
    machine.write(imuctr(3), 1);
    assert_eq!((machine.read(imuctr(2)), machine.read(imuctr(3))), (1, 0));
    assert!(machine.instance(0).space(2).is_some());
    assert!(machine.instance(0).space(3).is_none());
}

#[test]
fn impossible_configurations_are_refused() {
    let refused = |config: &IpmmuConfig| -> ConfigError {
        let ram = Machine::gen2().ram;
        Ipmmu::new(ram, config, Box::new(NoInterrupt), Observers::default()).unwrap_err()
    };
    let mut config = IpmmuConfig::gen2("mmu");
    config.instances[0].utlbs = 33;
    assert_eq!(
        refused(&config).to_string(),
        "IPMMU mmu cannot have 33 uTLBs: R-Car Gen2 has at most 32"
    );
    config.instances[0].utlbs = 32;
    config.instances.push(config.instances[0].clone());
    assert_eq!(
        refused(&config).to_string(),
        "an IPMMU of R-Car Gen2 cannot have 2 instances: Gen2 has one, Gen3 one to 32"
    );
    config.instances.clear();
    assert!(matches!(
        refused(&config),
        ConfigError::Instances { count: 0, .. }
    ));
}

/// Returns the registers of one instance as a plain list: offset in the window, and the bits that
/// keep what is written.
fn kept_bits(gen3: bool, utlbs: u64) -> BTreeMap<u64, u32> {
    let bank = if gen3 { 0 } else { 0x800 };
    let mut bits = BTreeMap::new();
    for context in 0..if gen3 { 8 } else { 4 } {
        let registers = [
            // FLUSH reads as zero, for nobody is pinned.
            (0x00, 0x3_003d),
            (0x04, u32::MAX),
            (0x08, if gen3 { 0xff07_3fc7 } else { 0xff07_3f37 }),
            (0x0c, if gen3 { 0 } else { 7 }),
            (0x10, u32::MAX),
            (0x14, 0xff),
            (0x18, u32::MAX),
            (0x1c, 0xff),
            (0x28, u32::MAX),
            (0x2c, u32::MAX),
        ];
        bits.extend(registers.map(|(offset, kept)| (bank + context * 0x40 + offset, kept)));
    }
    for utlb in 0..utlbs {
        bits.insert(bank + imuctr(utlb), 0xf1);
        bits.insert(bank + imuctr(utlb) + 8, 0xffff);
    }
    bits
}

/// Returns what a uTLB must be attached to, by the plain words of its instance and the root.
fn attachment(
    root: &BTreeMap<u64, u32>,
    leaf: &BTreeMap<u64, u32>,
    bank: u64,
    utlb: u64,
    contexts: u32,
) -> Attachment {
    let word = |words: &BTreeMap<u64, u32>, offset| words.get(&offset).copied().unwrap_or(0);
    let control = word(leaf, bank + imuctr(utlb));
    let ttsel = control >> 4 & 15;
    let enabled = |words| word(words, bank + u64::from(ttsel) * 0x40) & 1 == 1;
    if control & 1 == 0 {
        Attachment::Bypass
    } else if ttsel >= contexts {
        Attachment::Blocked
    } else if enabled(root) && enabled(leaf) {
        Attachment::Domain(DomainId(ttsel))
    } else {
        Attachment::Bypass
    }
}

/// Returns one access: the instance, the offset of a word, and what to write there.
fn access() -> impl Strategy<Value = (usize, u64, Option<u32>)> {
    let register = prop_oneof![
        4 => (0..0x1000u64).prop_map(|offset| offset & !3),
        // Those that others depend on.
        3 => (0..8u64, any::<bool>()).prop_map(|(context, alias)| context * 0x40 + if alias { 0x800 } else { 0 }),
        3 => (0..48u64, any::<bool>()).prop_map(|(utlb, alias)| imuctr(utlb) + if alias { 0x800 } else { 0 }),
    ];
    let value = prop_oneof![any::<u32>(), 0..0x100u32];
    (0..3usize, register, proptest::option::weighted(0.7, value))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn registers_keep_what_a_plain_list_says(
        gen3: bool,
        accesses in proptest::collection::vec(access(), 1..200),
    ) {
        let (config, contexts, utlbs) = if gen3 {
            (IpmmuConfig::gen3("mm", ["ds0", "ds1"]), 8, [0u64, 48, 48])
        } else {
            (IpmmuConfig::gen2("mmu"), 4, [32, 0, 0])
        };
        let machine = Machine::new(&config);
        let count = config.instances.len();
        let kept: Vec<_> = (0..count).map(|n| kept_bits(gen3, utlbs[n])).collect();
        let mut words = vec![BTreeMap::new(); count];
        for (instance, offset, write) in accesses {
            let number = instance % count;
            let instance = machine.instance(number);
            if let Some(value) = write {
                instance.write(offset, &value.to_le_bytes());
                if let Some(kept) = kept[number].get(&offset) {
                    words[number].insert(offset, value & kept);
                }
            }
            let mut word = [0xaa; 4];
            instance.read(offset, &mut word);
            let expected = words[number].get(&offset).copied().unwrap_or(0);
            prop_assert_eq!(u32::from_le_bytes(word), expected, "{:#x}", offset);
        }
        for (number, &utlbs) in utlbs[..count].iter().enumerate() {
            for utlb in 0..utlbs {
                let endpoint = machine.instance(number).endpoint(utlb as usize).unwrap();
                let bank = machine.bank();
                let expected = attachment(&words[0], &words[number], bank, utlb, contexts);
                prop_assert_eq!(machine.ipmmu.unit().attachment(endpoint), expected);
            }
        }
        // What was written can be saved and restored.
        let saved = machine.ipmmu.save();
        let fresh = Machine::new(&config);
        fresh.ipmmu.restore(&saved).unwrap();
        prop_assert_eq!(fresh.ipmmu.save(), saved);
        for (number, &utlbs) in utlbs[..count].iter().enumerate() {
            for utlb in 0..utlbs as usize {
                let endpoint = machine.instance(number).endpoint(utlb).unwrap();
                prop_assert_eq!(
                    machine.ipmmu.unit().attachment(endpoint),
                    fresh.ipmmu.unit().attachment(endpoint)
                );
            }
        }
    }
}
