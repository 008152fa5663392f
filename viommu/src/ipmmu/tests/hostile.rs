//! Guests that program nonsense: whatever they do, accesses end, and reach RAM or nothing.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::harness::{IMCTR, IMSTR, IMTTBCR, IMTTLBR0, IMTTUBR0, Machine, RAM, RAM_SIZE, imuctr};
use crate::attachment::Attachment;
use crate::fault::{DomainId, EndpointId};
use crate::ipmmu::IpmmuConfig;
use crate::test_support::RegisterMachine as _;

/// Attaches all uTLBs to context 0, with the given table.
fn point_everything_at(machine: &Machine, table: u64) {
    machine.write(IMTTLBR0, table as u32);
    machine.write(IMTTUBR0, (table >> 32) as u32);
    machine.write(IMTTBCR, 0x8000_3510);
    machine.write(IMCTR, 7);
    for utlb in 0..32 {
        machine.write(imuctr(utlb), 3);
    }
}

/// Tries accesses of all uTLBs all over the address space.
fn access_everywhere(machine: &Machine) {
    for utlb in 0..machine.instance(0).utlbs() {
        let dma = machine.dma(utlb);
        for iova in [
            0,
            0xfff,
            0x4000_0000,
            RAM,
            RAM + RAM_SIZE - 1,
            0xffff_ffff,
            1 << 40,
            u64::MAX,
        ] {
            let mut bytes = [0; 5000];
            let _ = dma.read_slice(&mut bytes, GuestAddress(iova));
            let _ = dma.write_slice(&bytes[..100], GuestAddress(iova));
        }
    }
}

#[test]
fn tables_where_no_ram_is() {
    for table in [
        0,
        0xe628_0800,
        RAM + RAM_SIZE,
        RAM + RAM_SIZE - 8,
        0xff_ffff_ffe0,
    ] {
        let machine = Machine::gen2();
        point_everything_at(&machine, table);
        access_everywhere(&machine);
        assert_ne!(machine.read(IMSTR), 0);
    }
}

#[test]
fn tables_that_lead_to_themselves() {
    let machine = Machine::gen2();
    for entry in 0..512 {
        machine.poke(RAM + entry * 8, RAM | 0x8000_0000_0000_0003);
    }
    point_everything_at(&machine, RAM);
    // The last level of the walk takes the table for a page, which has no NS.
    access_everywhere(&machine);
    assert_eq!(machine.read(IMSTR), 0x3502);
    for entry in 0..512 {
        machine.poke(RAM + entry * 8, RAM | 0x8000_0000_0000_0e63);
    }
    machine.write(IMSTR, 0);
    machine.write(IMCTR, 7);
    // Now every page is the table, and is written over with what is read from it.
    access_everywhere(&machine);
}

#[test]
fn blocks_beyond_ram_are_bus_errors() {
    let machine = Machine::gen2();
    for gib in 0..4 {
        machine.poke(RAM + gib * 8, (0xff_0000_0000 + (gib << 30)) | 0xe61);
    }
    point_everything_at(&machine, RAM);
    machine.log.take();
    let dma = machine.dma(0);
    assert!(dma.read_obj::<u8>(GuestAddress(0x4000_0010)).is_err());
    assert_eq!(machine.log.take(), ["bus error at 0xff40000010"]);
    assert_eq!(machine.read(IMSTR), 0);
    access_everywhere(&machine);
}

#[test]
fn all_utlbs_on_dead_contexts() {
    let machine = Machine::gen2();
    for utlb in 0..32u64 {
        machine.write(imuctr(utlb), (utlb as u32 & 15) << 4 | 1);
    }
    access_everywhere(&machine);
    for context in 0..4 {
        machine.write(context * 0x40 + IMCTR, 1);
    }
    access_everywhere(&machine);
}

/// Not the guest, but whoever holds the unit: no access of a bus master may bring down the VMM for
/// it.
#[test]
fn a_domain_that_is_no_context_is_a_fault_that_nobody_records() {
    let machine = Machine::gen2();
    let unit = machine.ipmmu.unit();
    unit.attach(EndpointId(0), Attachment::Domain(DomainId(99)));
    assert!(machine.dma(0).read_obj::<u8>(GuestAddress(RAM)).is_err());
    assert_eq!(
        machine.log.take(),
        ["mmu: fault without a context: iova 0xc0000000"]
    );
    assert_eq!(machine.read(IMSTR), 0);
}

fn operation() -> impl Strategy<Value = (u8, u64, u32)> {
    (any::<u8>(), any::<u64>(), any::<u32>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nonsense in registers and in RAM, and accesses in between. The state can be saved and
    /// restored throughout.
    #[test]
    fn nonsense_ends(
        gen3: bool,
        operations in proptest::collection::vec(operation(), 1..300),
    ) {
        let machine = if gen3 {
            Machine::new(&IpmmuConfig::gen3("mm", ["ds0"]))
        } else {
            Machine::gen2()
        };
        let last = machine.ipmmu.instances().count() - 1;
        for (kind, place, value) in operations {
            let instance = machine.instance(usize::from(kind >> 4) % (last + 1));
            match kind % 8 {
                0..=2 => instance.write(place & 0xffc, &value.to_le_bytes()),
                3 => {
                    // A table that leads on within RAM.
                    let leads = RAM | place & (RAM_SIZE - 1) & !0xfff;
                    let entry = RAM | u64::from(value) & (RAM_SIZE - 1) & !7;
                    machine.poke(entry, leads | 0x8000_0000_0000_0463 | u64::from(kind >> 4 & 3));
                }
                4 => {
                    let bank = machine.bank();
                    let table = RAM as u32 | value & (RAM_SIZE as u32 - 1) & !0x1f;
                    let context = place % 8 * 0x40;
                    for (register, value) in [(IMTTLBR0, table), (IMTTUBR0, 0), (IMTTBCR, 0x8000_0090), (IMCTR, 7)] {
                        machine.instance(0).write(bank + context + register, &value.to_le_bytes());
                        instance.write(bank + context + register, &value.to_le_bytes());
                    }
                }
                5 => {
                    let utlb = place % 48;
                    let offset = machine.bank() + imuctr(utlb);
                    // MMUEN, perhaps FLUSH, and any TTSEL.
                    instance.write(offset, &(value & 0xf3 | 1).to_le_bytes());
                }
                6 => {
                    let saved = machine.ipmmu.save();
                    machine.ipmmu.restore(&saved).unwrap();
                }
                _ => {
                    let utlb = value as usize % 48;
                    if let Some(dma) = machine.instance(last).space(utlb) {
                        let iova = GuestAddress(if kind & 0x80 == 0 { place } else { place & 0xffff_ffff });
                        let _ = dma.write_obj(u64::from(value), iova);
                        let _ = dma.read_obj::<[u8; 32]>(iova);
                    }
                }
            }
        }
    }
}
