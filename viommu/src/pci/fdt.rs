//! Properties of device trees, as cells: with vm-fdt, `FdtWriter::property_array_u32`.

use super::map::RequesterMap;
use super::requester::RequesterId;
use crate::fault::EndpointId;

/// Returns `iommu-map` of the host bridge of `segment` (Linux, bindings/pci/pci-iommu.txt): for
/// each range the first requester ID, the IOMMU's phandle, the first endpoint and how many there
/// are. Requester IDs that are not in it are behind no IOMMU. The IOMMUs have `#iommu-cells = <1>`.
pub fn iommu_map(map: &RequesterMap, segment: u16, phandle: impl Fn(usize) -> u32) -> Vec<u32> {
    let ranges = map.ranges().filter(|range| range.segment == segment);
    ranges
        .flat_map(|range| {
            [
                range.first.0.into(),
                phandle(range.iommu),
                range.endpoint.0,
                // At most 65 536.
                range.distance() + 1,
            ]
        })
        .collect()
}

/// Returns `iommus` of a device that is not on PCI (Linux, bindings/iommu/iommu.txt): the phandle
/// and the endpoint for each of its ports. The IOMMUs have `#iommu-cells = <1>`; for one with no
/// cells, the property is the phandle alone.
pub fn iommus(ports: &[(u32, EndpointId)]) -> Vec<u32> {
    ports
        .iter()
        .flat_map(|&(phandle, endpoint)| [phandle, endpoint.0])
        .collect()
}

/// Returns `reg` of the node that stands for a PCI function below its host bridge, as an IOMMU on
/// PCI has (Linux, bindings/virtio/pci-iommu.yaml): three cells of address, two of size.
pub fn pci_reg(requester: RequesterId) -> [u32; 5] {
    [u32::from(requester.0) << 8, 0, 0, 0, 0]
}
