//! The registers: reset, stalls, odd accesses, and a bus master that is in the middle of something.

use strum::VariantArray as _;

use super::harness::{
    AUTO_GATING, COMMAND, DISABLE_PAGING, DISABLE_STALL, DTE_ADDR, ENABLE_PAGING, ENABLE_STALL,
    FORCE_RESET, INT_CLEAR, INT_MASK, INT_RAWSTAT, INT_STATUS, Machine, PAGE_FAULT_ADDR, RAM,
    RESTING, STATUS, ZAP_CACHE, ZAP_ONE_LINE, page_at,
};
use super::linux::{Domain, with_one_page};
use crate::rockchip::Register;
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x1040_3000;

#[test]
fn registers_are_where_the_driver_has_them() {
    let offsets = [
        ("DTE_ADDR", DTE_ADDR),
        ("STATUS", STATUS),
        ("COMMAND", COMMAND),
        ("PAGE_FAULT_ADDR", PAGE_FAULT_ADDR),
        ("ZAP_ONE_LINE", ZAP_ONE_LINE),
        ("INT_RAWSTAT", INT_RAWSTAT),
        ("INT_CLEAR", INT_CLEAR),
        ("INT_MASK", INT_MASK),
        ("INT_STATUS", INT_STATUS),
        ("AUTO_GATING", AUTO_GATING),
    ];
    let found = Register::VARIANTS
        .iter()
        .map(|&register| (register.name(), register as u64));
    let found: Vec<_> = found.collect();
    assert_eq!(found, offsets);
    for offset in [0x28, 0x2, 0x100, u64::MAX - 3] {
        assert_eq!(Register::at(offset), None);
    }
}

#[test]
fn out_of_reset_all_is_zero_and_nothing_is_translated() {
    let machine = Machine::v1();
    machine.mark_pages();
    for &register in Register::VARIANTS {
        let expected = if register == Register::Status {
            RESTING
        } else {
            0
        };
        assert_eq!(machine.read(register as u64), expected, "{register:?}");
    }
    assert_eq!(page_at(&machine.dma(), PAGE), Some(PAGE));
}

#[test]
fn the_directory_has_the_bits_of_its_format() {
    for (machine, kept) in [(Machine::v1(), 0xffff_f000), (Machine::v2(), 0xffff_fff0)] {
        machine.write(DTE_ADDR, u32::MAX);
        assert_eq!(machine.read(DTE_ADDR), kept);
    }
    let machine = Machine::v2();
    machine.write(DTE_ADDR, 0x1234_5ab1);
    assert_eq!(machine.log.take(), ["directory table 0xba12345000"]);
}

#[test]
fn a_reset_resets_everything() {
    let machine = with_one_page(TABLES, IOVA, PAGE);
    assert_eq!(page_at(&machine.dma(), 0), None);
    machine.write(AUTO_GATING, 0x8000_0000);
    assert_eq!(machine.read(AUTO_GATING), 0x8000_0000);
    machine.command(ENABLE_STALL);
    machine.log.take();
    machine.command(FORCE_RESET);
    assert_eq!(
        machine.log.take(),
        ["paging disabled", "reset", "interrupt low"]
    );
    for &register in Register::VARIANTS {
        let expected = if register == Register::Status {
            RESTING
        } else {
            0
        };
        assert_eq!(machine.read(register as u64), expected, "{register:?}");
    }
    assert_eq!(page_at(&machine.dma(), PAGE), Some(PAGE), "untranslated");
}

#[test]
fn a_stall_is_there_when_accesses_from_before_it_have_ended() {
    let machine = Machine::v1();
    machine.command(ENABLE_STALL);
    assert_eq!(machine.read(STATUS), RESTING, "only with paging");
    machine.command(ENABLE_PAGING);
    let dma = machine.dma();
    let pin = dma.pin();
    machine.log.take();
    machine.command(ENABLE_STALL);
    machine.command(ENABLE_STALL);
    assert_eq!(machine.read(STATUS), RESTING | 1);
    assert_eq!(machine.log.take(), ["stall requested"]);
    drop(pin);
    assert_eq!(machine.read(STATUS), RESTING | 5);
    assert_eq!(machine.log.take(), ["stalled"]);
    machine.command(ENABLE_STALL);
    machine.command(DISABLE_STALL);
    assert_eq!(machine.read(STATUS), RESTING | 1);
    assert_eq!(machine.log.take(), ["stall ended"]);
    // One that is given up before it is there never is.
    let pin = dma.pin();
    machine.command(ENABLE_STALL);
    machine.command(DISABLE_STALL);
    drop(pin);
    assert_eq!(machine.read(STATUS), RESTING | 1);
}

#[test]
fn the_iommu_is_idle_when_accesses_from_before_a_zap_have_ended() {
    let machine = Machine::v1();
    let dma = machine.dma();
    for zap in [
        (COMMAND, ZAP_CACHE),
        (ZAP_ONE_LINE, 0x1000),
        (COMMAND, FORCE_RESET),
        (COMMAND, DISABLE_PAGING),
    ] {
        let pin = dma.pin();
        machine.write(zap.0, zap.1);
        assert_eq!(machine.read(STATUS), 0x10);
        drop(pin);
        assert_eq!(machine.read(STATUS), RESTING);
    }
}

#[test]
fn any_part_of_registers_may_be_read_and_words_be_written() {
    let machine = Machine::v1();
    // AUTO_GATING and what is behind it, where nothing is.
    machine.iommu.write(AUTO_GATING, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut bytes = [9; 8];
    machine.iommu.read(AUTO_GATING - 2, &mut bytes);
    assert_eq!(bytes, [0, 0, 1, 2, 3, 4, 0, 0]);
    machine.iommu.read(AUTO_GATING + 2, &mut []);
    machine.iommu.write(AUTO_GATING + 2, &[]);
    machine.log.take();
    machine.iommu.write(AUTO_GATING, &[0xff]);
    machine.iommu.write(AUTO_GATING + 1, &[0xff; 4]);
    machine.iommu.write(AUTO_GATING, &[0xff; 6]);
    assert_eq!(machine.read(AUTO_GATING), 0x0403_0201);
    assert_eq!(
        machine.log.take()[0],
        "write of 1 bytes to offset 0x24 ignored: registers are words (4 so far)"
    );
    machine.iommu.read(u64::MAX - 3, &mut bytes);
    machine.iommu.write(u64::MAX - 3, &bytes);
}

#[test]
fn what_is_not_modelled_is_told_of_ever_more_seldom() {
    let machine = Machine::v1();
    machine.read(0x28);
    machine.write(0x2c, 0xabcd);
    machine.write(STATUS, 1);
    machine.command(7);
    assert_eq!(
        machine.log.take(),
        [
            "read of offset 0x28, where no register is modelled (1 so far)",
            "write of 0x0000abcd to offset 0x2c, where no register is modelled (2 so far)",
            "write of 0x00000001 to STATUS, which is read-only (3 so far)",
            "command 0x7, which is not modelled (4 so far)",
        ]
    );
    for register in [PAGE_FAULT_ADDR, INT_RAWSTAT, INT_STATUS, INT_CLEAR] {
        machine.write(register, u32::MAX);
        assert_eq!(machine.read(register), 0);
    }
    for _ in 0..1017 {
        machine.read(0x30);
    }
    // Those from the 8th to the 16th, the 32nd and so on to the 1024th.
    assert_eq!(machine.log.take().len(), 3 + 9 + 6);
}

#[test]
fn a_directory_is_used_at_once_and_counts_its_pages() {
    let machine = Machine::v1();
    machine.mark_pages();
    let mut domain = Domain::new(&machine, TABLES);
    domain.map(IOVA, PAGE, true);
    domain.map(IOVA + 0x1000, PAGE, false);
    domain.map(0xffff_f000, PAGE, true);
    assert_eq!(machine.iommu.mappings(), 0, "paging is off");
    domain.enable().unwrap();
    assert_eq!(machine.iommu.mappings(), 3);
    assert_eq!(page_at(&machine.dma(), 0xffff_f000), Some(PAGE));
    let other = Domain::new(&machine, TABLES + 0x8_0000);
    machine.write(DTE_ADDR, other.directory as u32);
    // What is cached stays.
    assert_eq!(page_at(&machine.dma(), 0xffff_f000), Some(PAGE));
    assert_eq!(page_at(&machine.dma(), IOVA), None);
    machine.write(DTE_ADDR, 0x1000);
    assert_eq!(machine.iommu.mappings(), 0, "no memory is there");
    machine.write(INT_MASK, u32::MAX);
    assert_eq!(machine.read(INT_MASK), 3);
}
