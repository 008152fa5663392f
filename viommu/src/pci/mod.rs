//! Bus masters on PCI, and how a guest is told which IOMMU they are behind.
//!
//! A [`RequesterMap`] says it once: which requester IDs are which endpoints of which IOMMU. The VMM
//! looks endpoints up in it, and [`fdt`] and [`acpi`] write it as the guest's firmware has it: as
//! `iommu-map` and `iommus` of a device tree, as a VIOT (for virtio-iommu) or as an IORT (for
//! SMMUs). Those are cells and bytes: how they get into the guest is the VMM's business.
//!
//! ```
//! use viommu::EndpointId;
//! use viommu::pci::{PciAddress, RequesterId, RequesterMap, RequesterRange, acpi, fdt};
//!
//! // A virtio-iommu at 00:01.0, which all of the segment is behind but itself.
//! let own = PciAddress::new(0, RequesterId::new(0, 1, 0).expect("it is one"));
//! let mut map = RequesterMap::new();
//! map.add(RequesterRange::segment(0, 0, EndpointId(0)))?;
//! map.remove(own);
//! let disk = PciAddress::new(0, RequesterId::new(0, 2, 0).expect("it is one"));
//! assert_eq!(map.find(disk), Some((0, EndpointId(0x10))));
//! assert_eq!(map.find(own), None);
//!
//! // Phandle 7; requester IDs 0 to 7, and 9 to 0xffff.
//! let cells = fdt::iommu_map(&map, 0, |_| 7);
//! assert_eq!(cells, [0, 7, 0, 8, 9, 7, 9, 0xfff7]);
//! let oem = acpi::Oem::new(*b"VIOMMU", *b"EXAMPLE ", 1);
//! let table = acpi::viot(&oem, &[acpi::ViotIommu::Pci(own)], &map, &[])?;
//! assert_eq!(&table[..4], b"VIOT");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod acpi;
pub mod fdt;
mod iort;
mod map;
mod requester;
#[cfg(test)]
mod tests;

pub use map::{MapError, RequesterMap, RequesterRange};
pub use requester::{ParseRequesterError, PciAddress, RequesterId};
