//! What is told of mappings.

use proptest::prelude::*;
use viommu::vm_memory::Permissions;
use viommu::{Attachment, DomainId, Mapping};

use super::{Mappings, invalidations, updates};
use crate::frontend::MemoryRegion;
use crate::wire::IotlbMessage;

const PAGE: u64 = 0x1000;

/// Guest memory has a hole.
const MEMORY: [MemoryRegion; 2] = [region(0, 4), region(6, 3)];

const fn region(page: u64, pages: u64) -> MemoryRegion {
    MemoryRegion {
        address: page * PAGE,
        size: pages * PAGE,
        offset: 0,
    }
}

/// Returns what a back end that comes now is told.
fn everything(mappings: &Mappings) -> Vec<IotlbMessage> {
    let changes = mappings.changes();
    changes
        .flat_map(|change| change.messages(&MEMORY))
        .collect()
}

fn is_memory(address: u64) -> bool {
    address < 4 * PAGE || (6 * PAGE..9 * PAGE).contains(&address)
}

/// Returns where a message has an IOVA lead.
fn leads(message: &IotlbMessage, iova: u64) -> Option<u64> {
    let offset = iova.checked_sub(message.iova)?;
    (offset < message.size).then(|| message.user_address + offset)
}

proptest! {
    #[test]
    fn a_mapping_is_told_where_memory_is(
        iova in prop_oneof![Just(0), Just(u64::MAX - 12 * PAGE + 1)],
        address in 0..12u64,
        pages in 1..12u64,
    ) {
        let mut mappings = Mappings::default();
        mappings.attach(Attachment::Domain(DomainId(0)));
        let mapping = Mapping {
            first: iova,
            last: iova + (pages * PAGE - 1),
            address: address * PAGE,
            permissions: Permissions::Read,
        };
        mappings.map(mapping);
        let told: Vec<_> = updates(&mapping, &MEMORY).collect();
        prop_assert_eq!(&told, &everything(&mappings));
        for offset in (0..12 * PAGE).step_by(0x800) {
            let here = iova + offset;
            let to = mapping.address + offset;
            let expected = (offset < pages * PAGE && is_memory(to)).then_some(to);
            let found = told.iter().find_map(|message| leads(message, here));
            prop_assert_eq!(found, expected);
        }
        let allowed = |message: &IotlbMessage| message.permissions == Permissions::Read;
        prop_assert!(told.iter().all(allowed));
        mappings.unmap(mapping.first, mapping.last);
        prop_assert!(everything(&mappings).is_empty());
    }

    #[test]
    fn invalidations_cover_a_range_and_nothing_else(
        first in prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()],
        last in prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()],
    ) {
        let mut next = Some(first);
        for message in invalidations(first, last) {
            prop_assert_eq!(Some(message.iova), next);
            let end = message.last().unwrap();
            prop_assert!(end <= last);
            next = end.checked_add(1);
        }
        let expected = if first <= last { last.checked_add(1) } else { Some(first) };
        prop_assert_eq!(next, expected);
    }
}

#[test]
fn an_endpoint_that_bypasses_meets_memory_by_its_own_addresses() {
    let mut mappings = Mappings::default();
    mappings.attach(Attachment::Bypass);
    let told = everything(&mappings);
    assert_eq!(told.len(), 2);
    for address in (0..12 * PAGE).step_by(0x800) {
        let found = told.iter().find_map(|message| leads(message, address));
        assert_eq!(found, is_memory(address).then_some(address));
    }
    mappings.attach(Attachment::Blocked);
    assert!(everything(&mappings).is_empty());
}
