//! ACPI tables, as bytes: the VIOT, and the IORT.
//!
//! The crate `acpi_tables` has a VIOT too, but one in which endpoints are always numbered as
//! requester IDs; no crate has an IORT.

use super::map::RequesterMap;
use super::requester::PciAddress;
use crate::fault::EndpointId;

pub use super::iort::{Gsi, IortIommu, NamedComponent, SmmuV2Node, SmmuV3Node, Trigger, iort};

/// Who made a table (ACPI 6.5, 5.2.6 "System Description Table Header").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oem {
    id: [u8; 6],
    table_id: [u8; 8],
    revision: u32,
}

impl Oem {
    /// Creates the OEM ID, the OEM Table ID and the OEM Revision.
    pub const fn new(id: [u8; 6], table_id: [u8; 8], revision: u32) -> Self {
        Self {
            id,
            table_id,
            revision,
        }
    }
}

/// Bytes of the header that all tables have.
const HEADER: usize = 36;
/// Where the header has the length and the checksum.
const LENGTH: usize = 4;
const CHECKSUM: usize = 9;
/// The vendor and the revision of what made the table, this crate.
const CREATOR: [u8; 4] = *b"VIOM";
const CREATOR_REVISION: u32 = 1;

/// A table in the making.
#[derive(Debug)]
pub(super) struct Table(Vec<u8>);

impl Table {
    /// Begins with the header (ACPI 6.5, 5.2.6).
    pub(super) fn new(signature: [u8; 4], revision: u8, oem: &Oem) -> Self {
        let mut table = Self(Vec::with_capacity(HEADER));
        table.bytes(&signature);
        table.u32(0);
        table.bytes(&[revision, 0]);
        table.bytes(&oem.id);
        table.bytes(&oem.table_id);
        table.u32(oem.revision);
        table.bytes(&CREATOR);
        table.u32(CREATOR_REVISION);
        table
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Returns the bytes, with length and checksum.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, TableError> {
        let length = u32::try_from(self.0.len()).map_err(|_| TableError::TooLarge)?;
        self.0[LENGTH..LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        let sum = self
            .0
            .iter()
            .fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        // All bytes of a table add up to zero.
        self.0[CHECKSUM] = sum.wrapping_neg();
        Ok(self.0)
    }
}

/// Why there is no such table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A number of the table has too few bits for how much is in it.
    #[error("there are more IOMMUs, ranges or devices than the table can have")]
    TooLarge,
    /// A range or device names an IOMMU that is not in the list.
    #[error("there is no IOMMU {0} in the list")]
    NoIommu(usize),
    /// The name of a device in the ACPI namespace has a NUL in it.
    #[error("a device's name has a NUL in it")]
    Name,
}

/// A virtio-iommu, as a VIOT names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViotIommu {
    /// On PCI.
    Pci(PciAddress),
    /// On virtio-mmio, by the address of its registers.
    Mmio(u64),
}

/// A device that is not on PCI, as a VIOT names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioEndpoint {
    /// The address of its registers.
    pub base: u64,
    /// The IOMMU, by its position in the list.
    pub iommu: usize,
    /// Which of its endpoints it is.
    pub endpoint: EndpointId,
}

/// Bytes of the VIOT before its nodes, and of the nodes of IOMMUs (ACPI 6.5, 5.2.31 "Virtual I/O
/// Translation Table").
const VIOT_NODES: u16 = 48;
const VIOT_IOMMU: u16 = 16;
const VIOT_ENDPOINT: u16 = 24;

/// Returns a VIOT: which devices are which endpoints of which virtio-iommu.
///
/// # Errors
/// [`TableError`]: a VIOT has at most 4 093 IOMMUs and 65 535 nodes in all.
pub fn viot(
    oem: &Oem,
    iommus: &[ViotIommu],
    map: &RequesterMap,
    devices: &[MmioEndpoint],
) -> Result<Vec<u8>, TableError> {
    let nodes = iommus.len() + map.ranges().count() + devices.len();
    // IOMMUs come first, so that the offsets of their nodes are small.
    let node = |iommu: usize| {
        let index = (iommu < iommus.len()).then_some(iommu);
        let index = u16::try_from(index.ok_or(TableError::NoIommu(iommu))?).ok();
        let offset = index.and_then(|index| index.checked_mul(VIOT_IOMMU)?.checked_add(VIOT_NODES));
        offset.ok_or(TableError::TooLarge)
    };
    let mut table = Table::new(*b"VIOT", 0, oem);
    table.u16(u16::try_from(nodes).map_err(|_| TableError::TooLarge)?);
    table.u16(VIOT_NODES);
    table.u64(0);
    let header = |table: &mut Table, kind, length| {
        table.bytes(&[kind, 0]);
        table.u16(length);
    };
    for (nth, iommu) in iommus.iter().enumerate() {
        // None is too many to be named.
        node(nth)?;
        match iommu {
            ViotIommu::Pci(address) => {
                header(&mut table, 3, VIOT_IOMMU);
                table.u16(address.segment);
                table.u16(address.requester.0);
                table.u64(0);
            }
            ViotIommu::Mmio(base) => {
                header(&mut table, 4, VIOT_IOMMU);
                table.u32(0);
                table.u64(*base);
            }
        }
    }
    for range in map.ranges() {
        header(&mut table, 1, VIOT_ENDPOINT);
        table.u32(range.endpoint.0);
        // The first and the last segment.
        table.u16(range.segment);
        table.u16(range.segment);
        table.u16(range.first.0);
        table.u16(range.last.0);
        table.u16(node(range.iommu)?);
        table.bytes(&[0; 6]);
    }
    for device in devices {
        header(&mut table, 2, VIOT_ENDPOINT);
        table.u32(device.endpoint.0);
        table.u64(device.base);
        table.u16(node(device.iommu)?);
        table.bytes(&[0; 6]);
    }
    table.finish()
}
