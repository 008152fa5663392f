//! The window: which registers hold what is written, and what the others do.

use super::harness::{CR0, GFSR, Machine, cb, cbar, s2cr, smr};
use crate::smmu_v2::SmmuV2Config;
use crate::test_support::RegisterMachine as _;

#[test]
fn identification_follows_from_the_configuration() {
    let machine = Machine::new();
    let ids = [0x20, 0x24, 0x28].map(|at| machine.read(at));
    assert_eq!(ids, [0x4808_1e10, 0x2000_0008, 0x22]);
    let mut config = SmmuV2Config::new("smmu");
    assert_eq!(config.window(), 0x1_0000);
    (config.groups, config.banks) = (128, 64);
    config.short_descriptors = false;
    assert_eq!(config.window(), 0x8_0000);
    let ids = [0x20, 0x24, 0x28].map(|at| Machine::of(&config).read(at));
    assert_eq!(ids, [0x4940_1e80, 0x5000_0040, 0x22]);
    // Numbers that there cannot be are the nearest.
    (config.groups, config.banks, config.streams) = (u32::MAX, 0, u32::MAX);
    let machine = Machine::of(&config);
    let ids = [0x20, 0x24].map(|at| machine.read(at));
    assert_eq!(ids, [0x4908_1e80, 0x2000_0008]);
}

#[test]
fn registers_hold_the_bits_that_they_have() {
    let machine = Machine::new();
    for (register, held) in [
        (CR0, 0x7fff_fff7),
        (smr(0), 0xffff_7fff),
        (s2cr(15), u32::MAX),
        (cbar(7), u32::MAX),
        (cb(0, 0x00), 0xffff_ff7f),
        (cb(0, 0x10), u32::MAX),
        (cb(0, 0x20), u32::MAX),
        (cb(0, 0x24), 0x00ff_00ff),
        (cb(7, 0x28), u32::MAX),
        (cb(7, 0x2c), 0x00ff_00ff),
        (cb(1, 0x30), 0xbfc7_3f87),
        (cb(1, 0x34), u32::MAX),
        (cb(1, 0x38), u32::MAX),
        (cb(1, 0x3c), u32::MAX),
    ] {
        machine.write(register, u32::MAX);
        assert_eq!(machine.read(register), held, "{register:#x}");
        machine.write(register, 0);
        assert_eq!(machine.read(register), 0, "{register:#x}");
    }
    // With short descriptors TCR has others.
    machine.write(cb(1, 0x30), 0x7fff_ffff);
    assert_eq!(machine.read(cb(1, 0x30)), 0x37);
    assert_eq!(machine.smmu.save().unimplemented, 0);
}

#[test]
fn what_is_written_to_other_registers_is_not_held() {
    let machine = Machine::new();
    let zeros = [GFSR, 0x58, 0x64, 0x68, 0x6c, 0x70, 0x74, 0x1800];
    let of_bank = [
        0x08, 0x50, 0x54, 0x58, 0x60, 0x64, 0x68, 0x6c, 0x618, 0x7f0, 0x7f4, 0x8f0,
    ];
    for register in zeros.into_iter().chain(of_bank.map(|at| cb(3, at))) {
        machine.write(register, u32::MAX);
        assert_eq!(machine.read(register), 0, "{register:#x}");
    }
}

#[test]
fn what_is_not_modelled_is_told_and_counted() {
    let machine = Machine::new();
    assert_eq!(machine.read(0x10), 0);
    machine.write(0x1_0000, 3);
    machine.write(0x20, 5);
    machine.smmu.write(2, &[0; 4]);
    machine.smmu.write(0, &[0; 3]);
    assert_eq!(
        machine.log.take(),
        [
            "read of offset 0x0010, where no register is modelled (1 so far)",
            "write of 0x00000003 to offset 0x10000, where no register is modelled (2 so far)",
            "write of 0x00000005 to ID0, which has no such value (3 so far)",
            "write of 4 bytes to offset 0x0002 ignored: registers are words (4 so far)",
            "write of 3 bytes to offset 0x0000 ignored: registers are words (5 so far)",
        ]
    );
    // A guest that polls does not flood observers.
    for _ in 0..1000 {
        machine.read(0x10);
    }
    assert_eq!(machine.log.take().len(), 11 + 5);
    assert_eq!(machine.smmu.save().unimplemented, 1005);
}

#[test]
fn any_part_of_registers_may_be_read() {
    let machine = Machine::new();
    let mut bytes = [0; 9];
    machine.smmu.read(0x21, &mut bytes);
    assert_eq!(bytes, [0x1e, 0x08, 0x48, 0x08, 0, 0, 0x20, 0x22, 0]);
    machine.smmu.read(u64::MAX - 3, &mut bytes);
}
