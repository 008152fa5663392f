//! The IOTLB against an array of pages.

use std::time::Duration;

use proptest::prelude::*;
use viommu::vm_memory::Permissions;
use viommu::{EndpointId, FaultReason, Mapping, Model};

use super::{DOMAIN, Entries, Iotlb, MAX_ENTRIES};

/// Addresses of the array; each is one byte, so that every edge is met.
const LENGTH: usize = 24;
const SPACE: u64 = LENGTH as u64;

#[derive(Clone, Debug)]
enum Change {
    Update(Mapping),
    Remove(u64, u64),
}

fn ranges(base: u64) -> impl Strategy<Value = (u64, u64)> {
    (0..SPACE, 0..SPACE).prop_map(move |(a, b)| (base + a.min(b), base + a.max(b)))
}

fn permissions() -> impl Strategy<Value = Permissions> {
    prop_oneof![
        Just(Permissions::Read),
        Just(Permissions::Write),
        Just(Permissions::ReadWrite),
    ]
}

fn changes(base: u64) -> impl Strategy<Value = Vec<Change>> {
    let update = (ranges(base), 0..1000u64, permissions()).prop_map(
        |((first, last), address, permissions)| {
            Change::Update(Mapping {
                first,
                last,
                address,
                permissions,
            })
        },
    );
    let remove = ranges(base).prop_map(|(first, last)| Change::Remove(first, last));
    proptest::collection::vec(prop_oneof![update, remove], 0..24)
}

/// What each address leads to, with its permissions.
type Pages = [Option<(u64, Permissions)>; LENGTH];

/// Changes the array as the IOTLB is changed; returns whether anything was there.
fn change(pages: &mut Pages, base: u64, first: u64, last: u64, to: Option<&Mapping>) -> bool {
    let mut any = false;
    for (page, iova) in pages.iter_mut().zip(base..=base + (SPACE - 1)) {
        if (first..=last).contains(&iova) {
            any |= page.is_some();
            *page = to.map(|to| (to.address + (iova - first), to.permissions));
        }
    }
    any
}

proptest! {
    #[test]
    fn entries_are_as_in_an_array_of_pages(
        (base, changes) in prop_oneof![Just(0), Just(u64::MAX - (SPACE - 1)), 1..1000u64]
            .prop_flat_map(|base| (Just(base), changes(base))),
    ) {
        let (mut entries, mut pages) = (Entries::default(), Pages::default());
        for one in &changes {
            let (found, expected) = match one {
                Change::Update(mapping) => (
                    entries.insert(*mapping),
                    change(&mut pages, base, mapping.first, mapping.last, Some(mapping)),
                ),
                Change::Remove(first, last) => (
                    entries.remove(*first, *last),
                    change(&mut pages, base, *first, *last, None),
                ),
            };
            prop_assert_eq!(found, expected);
            for (page, iova) in pages.iter().zip(base..=base + (SPACE - 1)) {
                let entry = entries.find(iova);
                let found = entry.map(|entry| (entry.address + (iova - entry.first), entry.permissions));
                prop_assert_eq!(&found, page, "{:#x}", iova);
            }
        }
    }
}

#[test]
fn there_is_a_bound_on_entries() {
    let mut entries = Entries::default();
    for page in 0..2 * MAX_ENTRIES as u64 {
        let iova = page << 13;
        entries.insert(Mapping {
            first: iova,
            last: iova + 0xfff,
            address: 0,
            permissions: Permissions::Read,
        });
        assert!(entries.all.len() <= MAX_ENTRIES);
    }
    assert!(entries.find((2 * MAX_ENTRIES as u64 - 1) << 13).is_some());
}

#[test]
fn without_anybody_to_ask_a_miss_is_refused_at_once() {
    // Longer than a test runs.
    let iotlb = Iotlb::new(Duration::from_secs(100_000));
    let translate = |iova, wanted| iotlb.translate(EndpointId(0).into(), DOMAIN, iova, wanted);
    iotlb.update(Mapping {
        first: 0x1000,
        last: 0x1fff,
        address: 0x8000,
        permissions: Permissions::Read,
    });
    assert!(translate(0x1fff, Permissions::Read).is_ok());
    let reason = |iova, wanted| translate(iova, wanted).unwrap_err().reason;
    assert_eq!(reason(0x1fff, Permissions::Write), FaultReason::Permission);
    assert_eq!(reason(0x2000, Permissions::Read), FaultReason::Translation);
    iotlb.invalidate(0, u64::MAX - 1);
    assert_eq!(reason(0x1fff, Permissions::Read), FaultReason::Translation);
}
