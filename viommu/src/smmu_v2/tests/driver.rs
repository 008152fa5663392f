//! The whole life of an SMMU under the Linux driver.

use super::harness::{
    CR0, CR0_LINUX, FSR, MAIR0, Machine, RAM, SCTLR, TCR, TCR2, TTBR0, cb, cbar, page_at, s2cr, smr,
};
use super::linux::{Domain, Handled, handle_global, reset};
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const BUFFERS: u64 = RAM + 0x20_0000;
const STREAM: u32 = 5;
/// An IOVA where no RAM is.
const IOVA: u64 = 0x4000_0000;

/// How many bits of an SMR the driver finds to be there, as `arm_smmu_test_smr_masks` does.
#[test]
fn the_driver_finds_15_bits_of_stream_ids_and_masks() {
    let machine = Machine::new();
    reset(&machine);
    machine.write(smr(3), 0x7fff);
    assert_eq!(machine.read(smr(3)), 0x7fff);
    machine.write(smr(3), 0x7fff << 16);
    assert_eq!(machine.read(smr(3)), 0x7fff << 16);
    machine.write(smr(3), 0);
}

/// Checks that registers of the first domain are as the stock kernel was measured to leave them,
/// but for the bits of TCR.T0SZ that the AArch32 format does not have.
fn assert_programmed(machine: &Machine) {
    for (register, value) in [
        (CR0, CR0_LINUX),
        (smr(0), 0x8000_0005),
        (s2cr(0), 0),
        (s2cr(1), 0x2_0000),
        (cbar(0), 0x1_f300),
        (0x1800, 0),
        (cb(0, TCR2), 0x3_8002),
        (cb(0, TCR), 0x8080_2000),
        (cb(0, TTBR0), TABLES as u32),
        (cb(0, MAIR0), 0xf404_ff44),
        (cb(0, SCTLR), 0x1067),
        (cb(0, FSR), 0),
    ] {
        assert_eq!(machine.read(register), value, "{register:#x}");
    }
}

#[test]
fn the_linux_drivers_whole_sequence() {
    let machine = Machine::new();
    machine.mark_pages();
    let dma = machine.dma(STREAM);
    assert_eq!(page_at(&dma, BUFFERS), Some(BUFFERS), "untranslated");

    reset(&machine);
    machine.log.take();
    assert_eq!(page_at(&dma, BUFFERS), None, "unidentified");
    assert_eq!(
        machine.log.take(),
        [
            "global fault of stream 5: status 0x2, address 0xc0200008",
            "interrupt high"
        ]
    );
    assert_eq!(handle_global(&machine), Some((2, STREAM)));
    assert_eq!(
        machine.log.take(),
        ["global faults 0x2 cleared", "interrupt low"]
    );

    // The domain of the first device.
    let mut domain = Domain::new(&machine, 0, TABLES, STREAM);
    assert_eq!(
        machine.log.take(),
        [
            "table 0 of bank 0 at 0xc0100000, ASID 0",
            "bank 0 enabled",
            "group 0 is of stream 5",
            "group 0 goes to bank 0",
            "stream 5 attached to bank 0",
        ]
    );
    assert_programmed(&machine);

    // Map and DMA.
    domain.map(IOVA, BUFFERS + 0x3000, true);
    domain.map(IOVA + 0x1000, BUFFERS + 0x1000, false);
    assert_eq!(page_at(&dma, IOVA), Some(BUFFERS + 0x3000));
    assert_eq!(page_at(&dma, IOVA + 0x1000), Some(BUFFERS + 0x1000));
    assert_eq!(domain.look_up(IOVA + 0x1234), Some(BUFFERS + 0x1234));
    assert_eq!(domain.look_up(IOVA + 0x2000), None);
    assert_eq!(machine.smmu.mappings(), 2);
    assert_eq!(machine.log.take(), [""; 0]);

    // Unmap, invalidate, wait: the translation is gone, though it was in the cache.
    assert!(domain.unmap(IOVA));
    assert_eq!(
        machine.log.take(),
        ["translation of 0x40000000 by bank 0 invalidated"]
    );
    assert_eq!(page_at(&dma, IOVA), None);
    assert_eq!(
        machine.log.take(),
        [
            "fault of bank 0: status 0x202, iova 0x40000008",
            "interrupt high"
        ]
    );
    let handled = Handled {
        fsr: 0x202,
        iova: IOVA + 8,
        fsynr: 3,
        cbfrsynra: STREAM,
    };
    assert_eq!(domain.handle_interrupt(), Some(handled));
    assert_eq!(
        machine.log.take(),
        ["fault of bank 0 cleared", "interrupt low"]
    );

    // Recovery: a refusal is not remembered.
    domain.map(IOVA, BUFFERS + 0x9000, true);
    assert_eq!(page_at(&dma, IOVA), Some(BUFFERS + 0x9000));

    // The domain is freed while the stream still leads to its bank: accesses bypass it.
    machine.write(cb(0, SCTLR), 0);
    assert!(domain.invalidate_all());
    assert_eq!(
        machine.log.take(),
        [
            "bank 0 disabled",
            "stream 5 detached from bank 0 and bypassed",
            "translations of bank 0 invalidated",
        ]
    );
    assert_eq!(page_at(&dma, BUFFERS), Some(BUFFERS));
    assert_eq!(page_at(&dma, IOVA), None);
    assert_eq!(machine.log.take(), ["no memory at 0x40000008"]);
}
