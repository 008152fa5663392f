//! What a guest makes of tables and cells, by the rules that its kernel has for them, is what the
//! map says.

use acpi_tables::{Aml, viot as theirs};
use proptest::prelude::*;

use super::{OEM, address, component, map, requester, smmus};
use crate::fault::EndpointId;
use crate::pci::acpi::{
    IortIommu, MmioEndpoint, NamedComponent, TableError, ViotIommu, iort, viot,
};
use crate::pci::{PciAddress, RequesterId, RequesterMap, RequesterRange, fdt};

/// A little-endian number of `N` bytes at `at`.
fn number<const N: usize>(table: &[u8], at: usize) -> usize {
    let bytes = &table[at..at + N];
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Checks what ACPICA does (tbprint.c, `acpi_ut_verify_checksum`): the length, and the sum.
fn is_whole(table: &[u8]) -> bool {
    number::<4>(table, 4) == table.len()
        && table.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)) == 0
}

/// Returns the nodes of a table: `length` finds that of each.
fn nodes(table: &[u8], length: impl Fn(usize) -> usize, count: usize) -> Vec<usize> {
    let mut at = 48;
    let starts = (0..count).map(|_| {
        let start = at;
        at += length(start);
        start
    });
    let starts = starts.collect();
    assert_eq!(at, table.len(), "the nodes fill the table");
    starts
}

/// Linux 6.12, drivers/acpi/viot.c, `viot_pci_dev_iommu_init`.
fn by_viot(table: &[u8], function: PciAddress) -> Option<(usize, usize)> {
    let count = number::<2>(table, 36);
    let nodes = nodes(table, |at| number::<2>(table, at + 2), count);
    let iommus: Vec<usize> = nodes.iter().copied().filter(|&at| table[at] >= 3).collect();
    let (segment, id) = (
        usize::from(function.segment),
        usize::from(function.requester.0),
    );
    nodes.iter().filter(|&&at| table[at] == 1).find_map(|&at| {
        let segments = number::<2>(table, at + 8)..=number::<2>(table, at + 10);
        let ids = number::<2>(table, at + 12)..=number::<2>(table, at + 14);
        let output = number::<2>(table, at + 16);
        let iommu = iommus
            .iter()
            .position(|&at| at == output)
            .expect("it leads to an IOMMU");
        let endpoint = ((segment.wrapping_sub(*segments.start())) << 16)
            + id.wrapping_sub(*ids.start())
            + number::<4>(table, at + 4);
        (segments.contains(&segment) && ids.contains(&id)).then_some((iommu, endpoint))
    })
}

/// Linux 6.12, drivers/acpi/arm64/iort.c, `iort_pci_iommu_init` and `iort_id_map`.
fn by_iort(table: &[u8], function: PciAddress) -> Option<(usize, usize)> {
    let nodes = nodes(
        table,
        |at| number::<2>(table, at + 1),
        number::<4>(table, 36),
    );
    let root = nodes.iter().find(|&&at| {
        table[at] == 2 && number::<4>(table, at + 16 + 12) == usize::from(function.segment)
    })?;
    let id = usize::from(function.requester.0);
    let mappings = root + number::<4>(table, root + 12);
    (0..number::<4>(table, root + 8)).find_map(|nth| {
        let at = mappings + 20 * nth;
        let first = number::<4>(table, at);
        let last = first + number::<4>(table, at + 4);
        let iommu = nodes
            .iter()
            .position(|&node| node == number::<4>(table, at + 12));
        let output = number::<4>(table, at + 8) + id.wrapping_sub(first);
        (first..=last)
            .contains(&id)
            .then_some((iommu.expect("it leads to a node"), output))
    })
}

/// Linux 6.12, drivers/of/base.c, `of_map_id`.
fn by_cells(cells: &[u32], id: RequesterId) -> Option<(usize, usize)> {
    let id = u32::from(id.0);
    cells.chunks_exact(4).find_map(|cells| {
        let &[first, phandle, endpoint, length] = cells else {
            unreachable!()
        };
        let inside = id >= first && id < first + length;
        inside.then(|| (phandle as usize - 100, (endpoint + (id - first)) as usize))
    })
}

proptest! {
    #[test]
    fn tables_and_cells_say_what_the_map_says(
        ranges in proptest::collection::vec((0..3u16, 0..64u16, 0..20u16, 0..2usize, any::<u16>()), 0..12),
        removed in (0..3u16, 0..64u16),
    ) {
        let mut map = RequesterMap::new();
        for (segment, first, length, iommu, endpoint) in ranges {
            // Those that overlap are left out.
            let _ = map.add(RequesterRange {
                segment,
                first: RequesterId(first),
                last: RequesterId(first + length),
                iommu,
                endpoint: EndpointId(endpoint.into()),
            });
        }
        map.remove(PciAddress::new(removed.0, RequesterId(removed.1)));
        let iommus = [ViotIommu::Mmio(0x1000), ViotIommu::Pci(requester(8))];
        let device = MmioEndpoint { base: 0x2000, iommu: 1, endpoint: EndpointId(9) };
        let viot = viot(&OEM, &iommus, &map, &[device]).unwrap();
        let iort = iort(&OEM, &smmus(), &map, &[component()]).unwrap();
        prop_assert!(is_whole(&viot) && is_whole(&iort));
        for segment in 0..3 {
            let cells = fdt::iommu_map(&map, segment, |iommu| 100 + u32::try_from(iommu).unwrap());
            for id in 0..100 {
                let function = PciAddress::new(segment, RequesterId(id));
                let said = map.find(function).map(|(iommu, endpoint)| (iommu, endpoint.0 as usize));
                prop_assert_eq!(by_viot(&viot, function), said);
                prop_assert_eq!(by_iort(&iort, function), said);
                prop_assert_eq!(by_cells(&cells, function.requester), said);
            }
        }
    }
}

/// Returns a table of the crate `acpi_tables`, without what says that it made it.
fn body(bytes: &[u8]) -> &[u8] {
    &bytes[36..]
}

#[test]
fn a_viot_is_that_of_acpi_tables_where_that_can_say_it() {
    let ours = viot(
        &OEM,
        &[
            ViotIommu::Pci(address("00:01.0")),
            ViotIommu::Mmio(0x1_2345_6789),
        ],
        &{
            let mut map = RequesterMap::new();
            map.add(super::range("02:03.4", "05:06.7", 0, 0x21c))
                .unwrap();
            map
        },
        &[MmioEndpoint {
            base: 0x9_8765_4321,
            iommu: 1,
            endpoint: EndpointId(0x1234_5678),
        }],
    );
    let mut other = theirs::VIOT::new(*b"VIOMMU", *b"TESTS   ", 7);
    let pci = other.add_virtio_pci_iommu(theirs::VirtIoPciIommu::new(theirs::PciDevice::new(
        0, 0, 1, 0,
    )));
    let mmio = other.add_virtio_mmio_iommu(theirs::VirtIoMmioIommu::new(0x1_2345_6789));
    let device = |bus, device, function| theirs::PciDevice::new(0, bus, device, function);
    other.add_pci_range(theirs::PciRange::new(
        device(2, 3, 4),
        device(5, 6, 7),
        &pci,
    ));
    other.add_mmio_endpoint(theirs::MmioEndpoint::new(0x1234_5678, 0x9_8765_4321, &mmio));
    let mut bytes = Vec::new();
    other.to_aml_bytes(&mut bytes);
    assert_eq!(body(&ours.unwrap()), body(&bytes));
}

/// Returns how many bytes a table has, and what is wrong otherwise.
fn size(table: Result<Vec<u8>, TableError>) -> Result<usize, TableError> {
    table.map(|table| {
        assert!(is_whole(&table));
        table.len()
    })
}

#[test]
fn what_a_table_cannot_say_is_refused() {
    let viot = |iommus: &[ViotIommu], map: &RequesterMap, devices: &[MmioEndpoint]| {
        size(viot(&OEM, iommus, map, devices))
    };
    let iort = |smmus: &[IortIommu], map: &RequesterMap, devices: &[NamedComponent]| {
        size(iort(&OEM, smmus, map, devices))
    };
    let map = map();
    let one = [ViotIommu::Mmio(0)];
    assert_eq!(viot(&one, &map, &[]), Err(TableError::NoIommu(1)));
    assert_eq!(iort(&smmus()[..1], &map, &[]), Err(TableError::NoIommu(1)));
    let none = RequesterMap::new();
    let device = MmioEndpoint {
        base: 0,
        iommu: 2,
        endpoint: EndpointId(0),
    };
    assert_eq!(viot(&one, &none, &[device]), Err(TableError::NoIommu(2)));
    // Nodes are named by 16 bits, and counted by as many.
    assert_eq!(viot(&vec![one[0]; 4093], &none, &[]), Ok(48 + 16 * 4093));
    assert_eq!(
        viot(&vec![one[0]; 4094], &none, &[]),
        Err(TableError::TooLarge)
    );
    let device = MmioEndpoint { iommu: 0, ..device };
    let many = vec![device; 0xffff];
    assert_eq!(viot(&one, &none, &many[1..]), Ok(48 + 16 + 24 * 0xfffe));
    assert_eq!(viot(&one, &none, &many), Err(TableError::TooLarge));
    // The length of a node has 16 bits.
    let long = |count, path: &str| NamedComponent {
        path: path.to_owned(),
        iommu: 0,
        endpoints: vec![EndpointId(0); count],
    };
    assert!(iort(&smmus(), &none, &[long(3000, "\\_SB")]).is_ok());
    assert_eq!(
        iort(&smmus(), &none, &[long(4000, "\\_SB")]),
        Err(TableError::TooLarge)
    );
    assert_eq!(
        iort(&smmus(), &none, &[long(0, "a\0b")]),
        Err(TableError::Name)
    );
}
