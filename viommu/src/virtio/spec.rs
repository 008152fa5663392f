//! What virtio-iommu looks like on the wire: numbers of the OASIS Virtual I/O Device specification,
//! version 1.2, section 5.13 ("IOMMU Device"). Types and constants only; everything is
//! little-endian.

use strum::{FromRepr, IntoStaticStr};

/// Device identifier (5.13.1).
pub const DEVICE_ID: u32 = 23;

/// Number of the request queue (5.13.2).
pub const REQUEST_QUEUE: usize = 0;
/// Number of the event queue (5.13.2).
pub const EVENT_QUEUE: usize = 1;

/// Feature bits (5.13.3), as masks.
pub mod feature {
    /// `input_range` says which IOVAs can be mapped.
    pub const INPUT_RANGE: u64 = 1 << 0;
    /// `domain_range` says which domain numbers there are.
    pub const DOMAIN_RANGE: u64 = 1 << 1;
    /// MAP and UNMAP are available.
    pub const MAP_UNMAP: u64 = 1 << 2;
    /// Endpoints that are attached to nothing are not translated, once this is negotiated.
    pub const BYPASS: u64 = 1 << 3;
    /// PROBE is available.
    pub const PROBE: u64 = 1 << 4;
    /// [`map_flag::MMIO`](super::map_flag::MMIO) is available.
    pub const MMIO: u64 = 1 << 5;
    /// The field `bypass` says whether endpoints that are attached to nothing are translated, and
    /// domains may be bypass domains.
    pub const BYPASS_CONFIG: u64 = 1 << 6;
    /// All of them.
    pub const ALL: u64 =
        INPUT_RANGE | DOMAIN_RANGE | MAP_UNMAP | BYPASS | PROBE | MMIO | BYPASS_CONFIG;
}

/// Bytes of `struct virtio_iommu_config` (5.13.4).
pub const CONFIG_SIZE: usize = 40;

/// Offsets in `struct virtio_iommu_config`.
pub mod config {
    /// `page_size_mask`: 64 bits.
    pub const PAGE_SIZE_MASK: usize = 0;
    /// `input_range.start` and `.end`: 64 bits each.
    pub const INPUT_RANGE: usize = 8;
    /// `domain_range.start` and `.end`: 32 bits each.
    pub const DOMAIN_RANGE: usize = 24;
    /// `probe_size`: 32 bits.
    pub const PROBE_SIZE: usize = 32;
    /// `bypass`: 8 bits.
    pub const BYPASS: usize = 36;
}

/// Types of request, in `struct virtio_iommu_req_head` (5.13.6).
pub mod request_type {
    /// Attach an endpoint to a domain.
    pub const ATTACH: u8 = 1;
    /// Detach it.
    pub const DETACH: u8 = 2;
    /// Map a range.
    pub const MAP: u8 = 3;
    /// Unmap a range.
    pub const UNMAP: u8 = 4;
    /// Ask for the properties of an endpoint.
    pub const PROBE: u8 = 5;
}

/// Bytes of `struct virtio_iommu_req_head`: type and padding.
pub const HEAD_SIZE: usize = 4;
/// Bytes of `struct virtio_iommu_req_tail`: status and padding.
pub const TAIL_SIZE: usize = 4;

/// Device-readable bytes of each request, the head included.
pub mod readable_size {
    /// `struct virtio_iommu_req_attach`.
    pub const ATTACH: usize = 20;
    /// `struct virtio_iommu_req_detach`.
    pub const DETACH: usize = 20;
    /// `struct virtio_iommu_req_map`.
    pub const MAP: usize = 36;
    /// `struct virtio_iommu_req_unmap`.
    pub const UNMAP: usize = 28;
    /// `struct virtio_iommu_req_probe`.
    pub const PROBE: usize = 72;
    /// The longest.
    pub const MAX: usize = PROBE;
}

/// What a request came to, in `struct virtio_iommu_req_tail` (5.13.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromRepr, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The request could not be carried; this device never says so.
    IoErr = 1,
    /// Not supported.
    Unsupp = 2,
    /// The device failed; this device never says so.
    DevErr = 3,
    /// Invalid parameters.
    Inval = 4,
    /// Parameters out of range.
    Range = 5,
    /// No such endpoint or domain.
    NoEnt = 6,
    /// Bad address; this device never says so.
    Fault = 7,
    /// A limit is reached.
    NoMem = 8,
}

impl Status {
    /// Returns its name, without the prefix `VIRTIO_IOMMU_S_`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Flags of ATTACH (5.13.6.3).
pub mod attach_flag {
    /// The domain is a bypass domain; needs
    /// [`feature::BYPASS_CONFIG`](super::feature::BYPASS_CONFIG).
    pub const BYPASS: u32 = 1 << 0;
}

/// Flags of MAP (5.13.6.5).
pub mod map_flag {
    /// May be read.
    pub const READ: u32 = 1 << 0;
    /// May be written.
    pub const WRITE: u32 = 1 << 1;
    /// Leads to device registers; needs [`feature::MMIO`](super::feature::MMIO).
    pub const MMIO: u32 = 1 << 2;
}

/// Properties that PROBE tells of (5.13.6.8).
pub mod property {
    /// Bytes of `struct virtio_iommu_probe_property`: type and length.
    pub const HEAD_SIZE: usize = 4;
    /// `VIRTIO_IOMMU_PROBE_T_RESV_MEM`.
    pub const RESV_MEM: u16 = 1;
    /// Bytes of `struct virtio_iommu_probe_resv_mem` after the head: subtype, padding, start, end.
    pub const RESV_MEM_LENGTH: u16 = 20;
    /// Bytes of `struct virtio_iommu_probe_resv_mem`.
    pub const RESV_MEM_SIZE: usize = HEAD_SIZE + RESV_MEM_LENGTH as usize;
    /// `VIRTIO_IOMMU_RESV_MEM_T_RESERVED`.
    pub const SUBTYPE_RESERVED: u8 = 0;
    /// `VIRTIO_IOMMU_RESV_MEM_T_MSI`.
    pub const SUBTYPE_MSI: u8 = 1;
}

/// Fault reports (5.13.6.9).
pub mod fault {
    /// Bytes of `struct virtio_iommu_fault`.
    pub const SIZE: usize = 24;
    /// `VIRTIO_IOMMU_FAULT_R_UNKNOWN`.
    pub const REASON_UNKNOWN: u8 = 0;
    /// `VIRTIO_IOMMU_FAULT_R_DOMAIN`: the endpoint is attached to nothing.
    pub const REASON_DOMAIN: u8 = 1;
    /// `VIRTIO_IOMMU_FAULT_R_MAPPING`: nothing is mapped there, or not for this access.
    pub const REASON_MAPPING: u8 = 2;
    /// The access was a read.
    pub const READ: u32 = 1 << 0;
    /// The access was a write.
    pub const WRITE: u32 = 1 << 1;
    /// The report names an address.
    pub const ADDRESS: u32 = 1 << 8;
}
