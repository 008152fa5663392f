//! The I/O Remapping Table (Arm DEN 0049, "IO Remapping Table").

use super::acpi::{Oem, Table, TableError};
use super::map::RequesterMap;
use crate::fault::EndpointId;

/// How an interrupt is signalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// While its line is high.
    #[default]
    Level,
    /// When its line rises.
    Edge,
}

/// An interrupt: its Global System Interrupt Vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gsi {
    /// The number.
    pub number: u32,
    /// How it is signalled.
    pub trigger: Trigger,
}

/// The node of an SMMUv2 (DEN 0049, "SMMUv1 or SMMUv2 node").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmmuV2Node {
    /// The address of its registers.
    pub base: u64,
    /// How many bytes of them there are.
    pub span: u64,
    /// Table walks are coherent with the caches.
    pub coherent_walk: bool,
    /// The interrupt of global faults.
    pub global: Gsi,
    /// The interrupts of context banks.
    pub contexts: Vec<Gsi>,
}

/// The node of an SMMUv3 (DEN 0049, "SMMUv3 node"): a generic one, without the page of VATOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmmuV3Node {
    /// The address of its registers.
    pub base: u64,
    /// It is coherent, whatever its IDR0.COHACC says.
    pub coherent_override: bool,
    /// The interrupt of the event queue; 0 if it is an MSI, as of the others.
    pub event: u32,
    /// The interrupt of the PRI queue.
    pub pri: u32,
    /// The interrupt of global errors.
    pub global_error: u32,
    /// The interrupt of CMD_SYNC.
    pub sync: u32,
}

/// An SMMU, as an IORT describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IortIommu {
    /// Of architecture version 2.
    V2(SmmuV2Node),
    /// Of architecture version 3.
    V3(SmmuV3Node),
}

/// A device that is not on PCI (DEN 0049, "Named component node").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedComponent {
    /// Its path in the ACPI namespace, such as `\_SB.DEV0`.
    pub path: String,
    /// The SMMU, by its position in the list.
    pub iommu: usize,
    /// Its stream IDs there.
    pub endpoints: Vec<EndpointId>,
}

/// Bytes of the table before its nodes, and of the head of a node.
const NODES: u32 = 48;
const HEAD: usize = 16;
/// Coherent, and its memory attributes are those of the processors ("Memory access properties":
/// CCA, CPM and DACS).
const COHERENT: u64 = 1 | 3 << 56;
/// Address bits that a device can drive.
const ADDRESS_BITS: u8 = 64;
/// Flags of an ID mapping: it is one device's, and the input is not looked at.
const SINGLE: u32 = 1;

/// Input IDs of a node that follow each other, and where they lead.
struct IdMapping {
    first: u32,
    /// How many there are, less one.
    distance: u32,
    output: u32,
    iommu: usize,
    flags: u32,
}

/// Returns an IORT: the SMMUs, a root complex for each segment of `map`, and `devices`. Stream IDs
/// are endpoints. Devices are coherent, and without ATS.
///
/// # Errors
/// [`TableError`]: a segment has at most some three thousand ranges.
pub fn iort(
    oem: &Oem,
    iommus: &[IortIommu],
    map: &RequesterMap,
    devices: &[NamedComponent],
) -> Result<Vec<u8>, TableError> {
    let mut segments: Vec<u16> = map.ranges().map(|range| range.segment).collect();
    segments.dedup();
    let mut body = Nodes::default();
    for iommu in iommus {
        match iommu {
            IortIommu::V2(smmu) => body.smmu_v2(smmu)?,
            IortIommu::V3(smmu) => body.smmu_v3(smmu)?,
        }
    }
    for segment in segments {
        let ranges = map.ranges().filter(|range| range.segment == segment);
        let mappings = ranges.map(|range| IdMapping {
            first: range.first.0.into(),
            distance: range.distance(),
            output: range.endpoint.0,
            iommu: range.iommu,
            flags: 0,
        });
        let mut data = Vec::new();
        data.extend(COHERENT.to_le_bytes());
        // ATS is not supported.
        data.extend(0u32.to_le_bytes());
        data.extend(u32::from(segment).to_le_bytes());
        data.extend([ADDRESS_BITS, 0, 0, 0]);
        body.node(2, 1, &data, mappings.collect())?;
    }
    for device in devices {
        body.named(device)?;
    }
    let mut table = Table::new(*b"IORT", 0, oem);
    table.u32(body.count);
    table.u32(NODES);
    table.u32(0);
    table.bytes(&body.bytes);
    table.finish()
}

/// The nodes.
#[derive(Default)]
struct Nodes {
    bytes: Vec<u8>,
    count: u32,
    /// Where the node of each SMMU is in the table.
    offsets: Vec<u32>,
}

impl Nodes {
    fn smmu_v2(&mut self, smmu: &SmmuV2Node) -> Result<(), TableError> {
        let count = u32::try_from(smmu.contexts.len()).map_err(|_| TableError::TooLarge)?;
        // Model 1, a generic SMMUv2; interrupts come behind: two global ones, then those of banks.
        let global: u32 = 60;
        let contexts = global + 16;
        let mut data = Vec::new();
        data.extend(smmu.base.to_le_bytes());
        data.extend(smmu.span.to_le_bytes());
        let flags = u32::from(smmu.coherent_walk) << 1;
        // No interrupts of performance counters, and nowhere.
        for word in [1, flags, global, count, contexts, 0, 0] {
            data.extend(word.to_le_bytes());
        }
        let gsi = |gsi: &Gsi| [gsi.number, u32::from(gsi.trigger == Trigger::Edge)];
        let none = [0, 0];
        let interrupts = [gsi(&smmu.global), none].into_iter();
        for [number, flags] in interrupts.chain(smmu.contexts.iter().map(gsi)) {
            data.extend(number.to_le_bytes());
            data.extend(flags.to_le_bytes());
        }
        self.iommu(3, 0, &data)
    }

    fn smmu_v3(&mut self, smmu: &SmmuV3Node) -> Result<(), TableError> {
        let mut data = Vec::new();
        data.extend(smmu.base.to_le_bytes());
        data.extend(u32::from(smmu.coherent_override).to_le_bytes());
        data.extend(0u32.to_le_bytes());
        // VATOS; model 0, a generic SMMUv3; interrupts; proximity domain and index of the mapping
        // of MSIs, which do not count with these flags.
        data.extend(0u64.to_le_bytes());
        let interrupts = [smmu.event, smmu.pri, smmu.global_error, smmu.sync];
        for word in [0].into_iter().chain(interrupts).chain([0, 0]) {
            data.extend(word.to_le_bytes());
        }
        self.iommu(4, 1, &data)
    }

    fn named(&mut self, device: &NamedComponent) -> Result<(), TableError> {
        if device.path.contains('\0') {
            return Err(TableError::Name);
        }
        let mut data = Vec::new();
        data.extend(0u32.to_le_bytes());
        data.extend(COHERENT.to_le_bytes());
        data.push(ADDRESS_BITS);
        data.extend(device.path.as_bytes());
        data.push(0);
        // Behind it come words.
        data.resize(data.len().next_multiple_of(4), 0);
        let mappings = device.endpoints.iter().map(|endpoint| IdMapping {
            first: 0,
            distance: 0,
            output: endpoint.0,
            iommu: device.iommu,
            flags: SINGLE,
        });
        self.node(1, 1, &data, mappings.collect())
    }

    fn iommu(&mut self, kind: u8, revision: u8, data: &[u8]) -> Result<(), TableError> {
        let offset = u32::try_from(self.bytes.len()).ok();
        let offset = offset.and_then(|offset| offset.checked_add(NODES));
        self.offsets.push(offset.ok_or(TableError::TooLarge)?);
        self.node(kind, revision, data, Vec::new())
    }

    /// Adds a node: a head, its data, its ID mappings.
    fn node(
        &mut self,
        kind: u8,
        revision: u8,
        data: &[u8],
        mappings: Vec<IdMapping>,
    ) -> Result<(), TableError> {
        let length = HEAD + data.len() + mappings.len() * 20;
        let length = u16::try_from(length).map_err(|_| TableError::TooLarge)?;
        let number = |n: usize| u32::try_from(n).map_err(|_| TableError::TooLarge);
        self.bytes.push(kind);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.push(revision);
        self.bytes.extend(0u32.to_le_bytes());
        self.bytes.extend(number(mappings.len())?.to_le_bytes());
        let at = if mappings.is_empty() {
            0
        } else {
            HEAD + data.len()
        };
        self.bytes.extend(number(at)?.to_le_bytes());
        self.bytes.extend(data);
        for mapping in mappings {
            let offset = self.offsets.get(mapping.iommu);
            let offset = *offset.ok_or(TableError::NoIommu(mapping.iommu))?;
            let IdMapping {
                first,
                distance,
                output,
                flags,
                ..
            } = mapping;
            for word in [first, distance, output, offset, flags] {
                self.bytes.extend(word.to_le_bytes());
            }
        }
        self.count = self.count.checked_add(1).ok_or(TableError::TooLarge)?;
        Ok(())
    }
}
