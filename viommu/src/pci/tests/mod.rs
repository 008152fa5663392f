//! Tests of names and maps, of what a guest reads out of tables and cells, and of what the tools of
//! others say of them.

mod guest;
mod map;
mod tools;

use super::acpi::{Gsi, IortIommu, NamedComponent, Oem, SmmuV2Node, SmmuV3Node, Trigger};
use super::{PciAddress, RequesterId, RequesterMap, RequesterRange};
use crate::fault::EndpointId;

const OEM: Oem = Oem::new(*b"VIOMMU", *b"TESTS   ", 7);

fn address(text: &str) -> PciAddress {
    text.parse().expect("the tests name functions")
}

fn range(first: &str, last: &str, iommu: usize, endpoint: u32) -> RequesterRange {
    let (first, last) = (address(first), address(last));
    assert_eq!(first.segment, last.segment);
    RequesterRange {
        segment: first.segment,
        first: first.requester,
        last: last.requester,
        iommu,
        endpoint: EndpointId(endpoint),
    }
}

/// Two IOMMUs that share segment 0, and the second of which has all of segment 1 but one function.
fn map() -> RequesterMap {
    let mut map = RequesterMap::new();
    for range in [
        range("00:00.0", "00:1f.7", 0, 0),
        range("01:00.0", "02:1f.7", 1, 0x400),
        RequesterRange::segment(1, 1, EndpointId(0x1_0000)),
    ] {
        map.add(range).expect("they do not overlap");
    }
    map.remove(address("0001:00:01.0"));
    map
}

fn smmus() -> Vec<IortIommu> {
    let gsi = |number| Gsi {
        number,
        trigger: Trigger::Level,
    };
    vec![
        IortIommu::V2(SmmuV2Node {
            base: 0x905_0000,
            span: 0x2_0000,
            coherent_walk: true,
            global: gsi(106),
            contexts: vec![gsi(107), gsi(108)],
        }),
        IortIommu::V3(SmmuV3Node {
            base: 0x906_0000,
            coherent_override: true,
            event: 110,
            pri: 111,
            global_error: 112,
            sync: 113,
        }),
    ]
}

fn component() -> NamedComponent {
    NamedComponent {
        path: "\\_SB.DMA0".to_owned(),
        iommu: 0,
        endpoints: vec![EndpointId(0x8000), EndpointId(0x8001)],
    }
}

fn requester(id: u16) -> PciAddress {
    PciAddress::new(0, RequesterId(id))
}
