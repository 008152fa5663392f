//! A context bank with short descriptors, as the driver sets one up where it has them (6.12,
//! CONFIG_IOMMU_IO_PGTABLE_ARMV7S without LPAE: `arm_smmu_write_context_bank`,
//! `arm_v7s_alloc_pgtable`).

use vm_memory::{Bytes, GuestAddress};

use super::harness::{
    ATS1PR, FAR, FSR, FSYNR0, MAIR0, MAIR1, Machine, PAR, RAM, SCTLR, SCTLR_LINUX, TCR, TCR2,
    TLBIASID, TLBIVAL, TLBSTATUS, TLBSYNC, TTBR0, TTBR1, cb, cbar, page_at, s2cr, smr,
};
use super::linux::reset;
use crate::test_support::RegisterMachine as _;

const BANK: u64 = 1;
const STREAM: u32 = 4;
/// The table of level 1, of 16 KiB, and one of level 2.
const FIRST: u64 = RAM + 0x10_0000;
const SECOND: u64 = RAM + 0x11_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x1040_3000;
/// A small page: not global, shareable, unprivileged, accessed, attributes 7, no code
/// (`arm_v7s_prot_to_pte`).
const SMALL: u32 = 0xc7f;
const READ_ONLY: u32 = 0x200;

fn put(machine: &Machine, address: u64, descriptor: u32) {
    let at = GuestAddress(address);
    machine.ram.write_obj(descriptor, at).unwrap();
}

/// Returns a machine in which a page is mapped for [`STREAM`].
fn mapped() -> Machine {
    let machine = Machine::new();
    machine.mark_pages();
    reset(&machine);
    let clear = [0; 0x4000];
    for table in [FIRST, SECOND] {
        machine
            .ram
            .write_slice(&clear, GuestAddress(table))
            .unwrap();
    }
    put(&machine, FIRST + (IOVA >> 20) * 4, SECOND as u32 | 1);
    put(
        &machine,
        SECOND + (IOVA >> 12 & 0xff) * 4,
        PAGE as u32 | SMALL,
    );
    machine.write(cbar(BANK), 0x1_f300);
    machine.write(cb(BANK, TCR2), 0);
    machine.write(cb(BANK, TCR), 0);
    machine.write(cb(BANK, 0x34), BANK as u32);
    machine.write(cb(BANK, TTBR0), FIRST as u32 | 2);
    machine.write(cb(BANK, TTBR1), 0);
    machine.write(cb(BANK, MAIR0), 0x800b_8204);
    machine.write(cb(BANK, MAIR1), 0x4000_4000);
    machine.write(cb(BANK, SCTLR), SCTLR_LINUX);
    machine.write(smr(BANK), 0x8000_0000 | STREAM);
    machine.write(s2cr(BANK), BANK as u32);
    machine
}

fn sync(machine: &Machine) {
    machine.write(cb(BANK, TLBSYNC), u32::MAX);
    assert_eq!(machine.read(cb(BANK, TLBSTATUS)), 0);
}

#[test]
fn what_is_mapped_is_reached_until_it_is_invalidated() {
    let machine = mapped();
    let dma = machine.dma(STREAM);
    assert_eq!(page_at(&dma, IOVA), Some(PAGE));
    assert_eq!(machine.smmu.mappings(), 1);
    put(&machine, SECOND + (IOVA >> 12 & 0xff) * 4, 0);
    assert_eq!(page_at(&dma, IOVA), Some(PAGE), "cached");
    // Of another ASID.
    machine.write(cb(2, TLBIVAL), IOVA as u32 | 2);
    assert_eq!(page_at(&dma, IOVA), Some(PAGE), "of another ASID");
    machine.write(cbar(2), 0x1_f301);
    machine.write(cb(2, TLBIVAL), IOVA as u32 | BANK as u32);
    assert_eq!(page_at(&dma, IOVA), Some(PAGE), "of another VMID");
    machine.write(cb(BANK, TLBIVAL), IOVA as u32 | BANK as u32);
    sync(&machine);
    assert_eq!(page_at(&dma, IOVA), None);
    // A translation fault at level 2, in the short format.
    assert_eq!(machine.read(cb(BANK, FSR)), 2);
    assert_eq!(machine.read_long(cb(BANK, FAR)), IOVA + 8);
    assert_eq!(machine.read(cb(BANK, FSYNR0)), 2);
}

#[test]
fn one_address_of_a_supersection_stands_for_all_of_it() {
    let machine = mapped();
    let dma = machine.dma(STREAM);
    for entry in 0..16 {
        // RAM is aligned to 16 MiB.
        put(&machine, FIRST + (0x200 + entry) * 4, RAM as u32 | 0x4_0c02);
    }
    assert_eq!(page_at(&dma, 0x2020_0000), Some(RAM + 0x20_0000));
    assert_eq!(page_at(&dma, 0x2000_1000), Some(RAM + 0x1000));
    for entry in 0..16 {
        put(&machine, FIRST + (0x200 + entry) * 4, 0);
    }
    machine.write(cb(BANK, TLBIVAL), 0x2000_0000 | BANK as u32);
    sync(&machine);
    assert_eq!(page_at(&dma, 0x2020_0000), None);
}

#[test]
fn a_read_only_page_is_no_more_than_that() {
    let machine = mapped();
    put(
        &machine,
        SECOND + (IOVA >> 12 & 0xff) * 4,
        PAGE as u32 | SMALL | READ_ONLY,
    );
    let dma = machine.dma(STREAM);
    assert_eq!(page_at(&dma, IOVA), Some(PAGE));
    assert!(dma.write_obj(0u32, GuestAddress(IOVA)).is_err());
    // A permission fault of a write, at level 2.
    assert_eq!(machine.read(cb(BANK, FSR)), 8);
    assert_eq!(machine.read(cb(BANK, FSYNR0)), 0x12);
    machine.write(cb(BANK, FSR), u32::MAX);
    machine.write(cb(BANK, TLBIASID), BANK as u32);
    sync(&machine);
    // The address, and no attributes.
    machine.write(cb(BANK, ATS1PR), IOVA as u32);
    assert_eq!(machine.read_long(cb(BANK, PAR)), PAGE);
    machine.write(cb(BANK, ATS1PR), 0);
    assert_eq!(machine.read_long(cb(BANK, PAR)), 1 << 32 | 3);
}
