//! Where accesses lead, in numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use vm_memory::Permissions::{Read, ReadWrite, Write};
use vm_memory::{GuestAddress, GuestAddressSpace, GuestMemoryMmap};

use super::*;
use crate::fault::{Access, DomainId, SourceId};
use crate::model::{Mapping, Model};
use crate::unit::UnitConfig;

const RAM: u64 = 0x4000_0000;
const ENDPOINT: EndpointId = EndpointId(1);
const DOMAIN: DomainId = DomainId(2);

/// Mappings by their first address, and the faults that it was told of.
#[derive(Default)]
struct Table {
    mappings: BTreeMap<u64, Mapping>,
    faults: Mutex<Vec<Fault>>,
}

impl Model for Table {
    fn translate(
        &self,
        _: Requester,
        _: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        let below = self.mappings.range(..=iova).next_back();
        let (_, mapping) = below.ok_or(Miss::new(FaultReason::Translation))?;
        if mapping.last < iova {
            return Err(Miss::new(FaultReason::Translation));
        }
        if mapping.permissions as u8 & wanted as u8 != wanted as u8 {
            return Err(Miss {
                reason: FaultReason::Permission,
                level: Some(3),
            });
        }
        Ok(*mapping)
    }

    fn fault(&self, fault: &Fault) {
        self.faults.lock().unwrap().push(*fault);
    }
}

fn mapping(first: u64, last: u64, address: u64, permissions: Permissions) -> (u64, Mapping) {
    let mapping = Mapping {
        first,
        last,
        address,
        permissions,
    };
    (first, mapping)
}

/// Two regions that adjoin, and a hole before a third one.
fn ram() -> Arc<GuestMemoryMmap<()>> {
    let ranges = [
        (GuestAddress(RAM), 0x2000),
        (GuestAddress(RAM + 0x2000), 0x2000),
        (GuestAddress(RAM + 0x1_0000), 0x1000),
    ];
    Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
}

fn unit(table: Table) -> (Arc<TranslationUnit>, Arc<Table>) {
    let table = Arc::new(table);
    let config = UnitConfig {
        endpoints: 4,
        domains: 4,
        initial: Attachment::Domain(DOMAIN),
    };
    let model = Arc::clone(&table) as Arc<dyn Model>;
    (TranslationUnit::new(ram(), model, &config, None), table)
}

fn table() -> Table {
    Table {
        mappings: [
            mapping(0x1000, 0x4fff, RAM + 0x1000, ReadWrite),
            // The doorbell of an interrupt controller.
            mapping(0x8000, 0x8fff, 0x0802_0000, Write),
            mapping(u64::MAX - 0xfff, u64::MAX, RAM, Read),
        ]
        .into(),
        faults: Mutex::default(),
    }
}

fn of(answer: Result<Translation, Fault>) -> (u64, u64, Permissions, Target) {
    let Translation {
        address,
        length,
        permissions,
        target,
    } = answer.unwrap();
    (address, length, permissions, target)
}

#[test]
fn memory_and_doorbells_are_told_apart() {
    let (unit, table) = unit(table());
    let space = unit.space(ENDPOINT);
    for ask in [
        &|iova, wanted| unit.translate(ENDPOINT, iova, wanted) as Result<_, _>,
        &|iova, wanted| space.pin().translate(iova, wanted),
        &|iova, wanted| space.memory().translate(iova, wanted),
        &|iova, wanted| space.pin().translate_or_report(iova, wanted),
    ] as [&dyn Fn(u64, Permissions) -> Result<Translation, Fault>; 4]
    {
        // To the end of the region, though the mapping goes on.
        let first = (RAM + 0x1004, 0xffc, ReadWrite, Target::Ram);
        assert_eq!(of(ask(0x1004, Read)), first);
        let second = (RAM + 0x2000, 0x2000, ReadWrite, Target::Ram);
        assert_eq!(of(ask(0x2000, Write)), second);
        // The mapping goes on over a hole in memory.
        let hole = (RAM + 0x4000, 0x1000, ReadWrite, Target::Mmio);
        assert_eq!(of(ask(0x4000, Read)), hole);
        let doorbell = (0x0802_0040, 0xfc0, Write, Target::Mmio);
        assert_eq!(of(ask(0x8040, Write)), doorbell);
        let top = (RAM + 0xfff, 1, Read, Target::Ram);
        assert_eq!(of(ask(u64::MAX, Read)), top);
    }
    assert!(table.faults.lock().unwrap().is_empty());
}

#[test]
fn a_fault_is_reported_if_that_is_asked_for() {
    let (unit, table) = unit(table());
    let space = unit.space(ENDPOINT).with_source(SourceId(7));
    let fault = Fault {
        endpoint: ENDPOINT,
        source: Some(SourceId(7)),
        domain: Some(DOMAIN),
        iova: 0x8000,
        access: Access::Read,
        reason: FaultReason::Permission,
        level: Some(3),
    };
    assert_eq!(space.pin().translate(0x8000, Read), Err(fault));
    assert!(table.faults.lock().unwrap().is_empty());
    let faults = unit.counters().faults;
    assert_eq!(space.pin().translate_or_report(0x8000, Read), Err(fault));
    assert_eq!(table.faults.lock().unwrap().split_off(0), [fault]);
    assert_eq!(unit.counters().faults, faults + 1);
    let nothing = unit.translate(ENDPOINT, 0x7000, Read).unwrap_err();
    assert_eq!(nothing.reason, FaultReason::Translation);
    unit.report(&nothing);
    assert_eq!(table.faults.lock().unwrap().split_off(0), [nothing]);
}

#[test]
fn what_is_not_translated_leads_to_itself() {
    let (unit, _) = unit(Table::default());
    unit.attach(ENDPOINT, Attachment::Bypass);
    let behind = unit.space(ENDPOINT);
    let open = DmaSpace::pass_through(ram());
    for space in [behind, open] {
        let pin = space.pin();
        let ask = |iova| of(pin.translate(iova, ReadWrite));
        assert_eq!(ask(RAM + 8), (RAM + 8, 0x1ff8, ReadWrite, Target::Ram));
        let hole = RAM + 0x4000;
        assert_eq!(ask(hole), (hole, 0xc000, ReadWrite, Target::Mmio));
        let above = RAM + 0x1_1000;
        let length = u64::MAX - above;
        assert_eq!(ask(above), (above, length, ReadWrite, Target::Mmio));
        assert_eq!(ask(u64::MAX), (u64::MAX, 1, ReadWrite, Target::Mmio));
    }
    unit.attach(ENDPOINT, Attachment::Blocked);
    for space in [unit.space(ENDPOINT), DmaSpace::blocked(ram())] {
        let fault = space.pin().translate(RAM, Read).unwrap_err();
        assert_eq!(fault.reason, FaultReason::Blocked);
    }
    let none = unit.translate(EndpointId(99), RAM, Read).unwrap_err();
    assert_eq!(none.reason, FaultReason::Blocked);
}

/// Models are not trusted.
#[test]
fn a_model_that_breaks_its_promises_has_no_answer() {
    let mut table = table();
    let wraps = mapping(0x2_0000, 0x2_ffff, u64::MAX - 0xf, ReadWrite);
    table.mappings.extend([wraps]);
    let (unit, _) = unit(table);
    let last = of(unit.translate(ENDPOINT, 0x2_000f, Read));
    assert_eq!(last, (u64::MAX, 1, ReadWrite, Target::Mmio));
    let beyond = unit.translate(ENDPOINT, 0x2_0010, Read).unwrap_err();
    assert_eq!(beyond.reason, FaultReason::AddressSize);
}
