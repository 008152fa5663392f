//! Names of functions, and maps against a plain table of all requester IDs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{address, map, range, requester};
use crate::fault::EndpointId;
use crate::pci::{
    MapError, ParseRequesterError, PciAddress, RequesterId, RequesterMap, RequesterRange,
};

#[test]
fn functions_are_named_as_lspci_names_them() {
    let named = address("0002:03:1f.7");
    assert_eq!((named.segment, named.requester.0), (2, 0x03ff));
    let RequesterId(_) = named.requester;
    let parts = (
        named.requester.bus(),
        named.requester.device(),
        named.requester.function(),
    );
    assert_eq!(parts, (3, 0x1f, 7));
    assert_eq!(named.to_string(), "0002:03:1f.7");
    assert_eq!(address("00:02.0"), requester(0x10));
    assert_eq!(RequesterId::new(0, 32, 0), None);
    assert_eq!(RequesterId::new(0, 0, 8), None);
    for wrong in [
        "",
        "0:0",
        "00:20.0",
        "00:00.8",
        "+0:00.0",
        "00:00.00",
        "1:00:00.0",
        "00:00:00:00.0",
        "00:é.0",
    ] {
        assert_eq!(
            wrong.parse::<PciAddress>(),
            Err(ParseRequesterError),
            "{wrong}"
        );
    }
}

#[test]
fn ranges_that_cannot_be_are_refused() {
    let mut map = map();
    let before = map.clone();
    let mut add = |range| map.add(range).map_err(|error| error.to_string());
    let inside = range("00:1f.7", "00:1f.7", 1, 0);
    assert_eq!(
        add(inside),
        Err("0000:00:1f.7 is in another range of requester IDs".to_owned())
    );
    let around = RequesterRange::segment(0, 0, EndpointId(0));
    assert!(add(around).is_err());
    let reversed = range("04:00.1", "04:00.0", 0, 0);
    assert!(
        add(reversed)
            .unwrap_err()
            .contains("behind its end at 04:00.0")
    );
    let far = range("04:00.0", "04:00.1", 0, u32::MAX);
    assert_eq!(
        map.add(far),
        Err(MapError::Endpoint {
            endpoint: EndpointId(u32::MAX)
        })
    );
    assert_eq!(map, before);
    let last = range("04:00.0", "04:00.0", 0, u32::MAX);
    assert_eq!(map.add(last), Ok(()));
    assert_eq!(
        map.find(address("04:00.0")),
        Some((0, EndpointId(u32::MAX)))
    );
}

proptest! {
    #[test]
    fn a_map_is_a_table_of_requester_ids(
        ranges in proptest::collection::vec((0..3u16, 0..64u16, 0..20u16, 0..3usize, any::<u16>()), 1..12),
        removed in proptest::collection::vec((0..3u16, 0..64u16), 0..8),
    ) {
        let mut map = RequesterMap::new();
        let mut model = BTreeMap::new();
        for (segment, first, length, iommu, endpoint) in ranges {
            let ids: Vec<u16> = (first..=first + length).collect();
            let range = RequesterRange {
                segment,
                first: RequesterId(first),
                last: RequesterId(first + length),
                iommu,
                endpoint: EndpointId(endpoint.into()),
            };
            let taken = ids.iter().any(|id| model.contains_key(&(segment, *id)));
            prop_assert_eq!(map.add(range).is_err(), taken);
            if !taken {
                for (nth, id) in (0..).zip(ids) {
                    model.insert((segment, id), (iommu, EndpointId(u32::from(endpoint) + nth)));
                }
            }
        }
        for (segment, id) in removed {
            map.remove(PciAddress::new(segment, RequesterId(id)));
            model.remove(&(segment, id));
        }
        for segment in 0..3 {
            for id in 0..100 {
                let found = map.find(PciAddress::new(segment, RequesterId(id)));
                prop_assert_eq!(found, model.get(&(segment, id)).copied());
            }
        }
    }
}

#[test]
fn both_ends_of_a_segment_can_be_removed() {
    let mut map = RequesterMap::new();
    map.add(RequesterRange::segment(0, 0, EndpointId(5)))
        .unwrap();
    for id in [0, u16::MAX, 0x80] {
        map.remove(requester(id));
        assert_eq!(map.find(requester(id)), None);
    }
    assert_eq!(map.find(requester(1)), Some((0, EndpointId(6))));
    assert_eq!(map.find(requester(0xfffe)), Some((0, EndpointId(0x1_0003))));
    assert_eq!(map.ranges().count(), 2);
}
