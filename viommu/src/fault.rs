//! What a translation fault is: plain values that models turn into registers, event queues and
//! interrupts, and that observers see as they are.

use std::fmt;

use vm_memory::Permissions;

/// A bus master's port on one IOMMU: a micro-TLB of the IPMMU, an endpoint of virtio-iommu.
///
/// Several bus masters may share one. Numbers are dense, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// A bus master, as its VMM numbers them.
///
/// An [`EndpointId`] does not say who accessed where several bus masters share one, as those of a
/// micro-TLB do. A VMM that wants to know gives each of them a [`DmaSpace`](crate::DmaSpace) of its
/// own [source](crate::DmaSpace::with_source); events, faults and injectors then name it. What is
/// translated never depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

impl SourceId {
    /// Returns the position of its bus master in a list of them by number.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who accesses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requester {
    /// The port that the access comes through: what an IOMMU tells apart.
    pub endpoint: EndpointId,
    /// The bus master behind it, if the VMM named it.
    pub source: Option<SourceId>,
}

/// A bus master that has no name, on this port.
impl From<EndpointId> for Requester {
    fn from(endpoint: EndpointId) -> Self {
        Self {
            endpoint,
            source: None,
        }
    }
}

/// An address space that endpoints are attached to: a context of the IPMMU, a domain of
/// virtio-iommu.
///
/// Numbers are dense, from 0; a model with sparse numbers of its own keeps the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u32);

/// What a bus master wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Read memory.
    Read,
    /// Write memory.
    Write,
}

impl Access {
    /// Returns the access to name in a fault, where `wanted` was asked for: a write if writing was
    /// part of it.
    pub fn of(wanted: Permissions) -> Self {
        if wanted.has_write() {
            Self::Write
        } else {
            Self::Read
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// Why an IOVA has no translation for an access.
///
/// The names are those of the ARM ARM (DDI 0406C B3.12) where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultReason {
    /// Nothing is mapped there.
    Translation,
    /// The mapping's access flag is clear.
    AccessFlag,
    /// It is mapped, but not for this access.
    Permission,
    /// A descriptor or the table's format is reserved or not implemented.
    Format,
    /// An address in a table register or descriptor is beyond the output size.
    AddressSize,
    /// A secure descriptor met a non-secure access.
    Secure,
    /// A descriptor could not be read.
    WalkAbort,
    /// Several entries of the TLB answer to one IOVA.
    MultipleHits,
    /// The endpoint may reach nothing.
    Blocked,
}

impl FaultReason {
    /// Every reason.
    pub(crate) const ALL: [Self; 9] = [
        Self::Translation,
        Self::AccessFlag,
        Self::Permission,
        Self::Format,
        Self::AddressSize,
        Self::Secure,
        Self::WalkAbort,
        Self::MultipleHits,
        Self::Blocked,
    ];
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Translation => "translation fault",
            Self::AccessFlag => "access flag fault",
            Self::Permission => "permission fault",
            Self::Format => "format fault",
            Self::AddressSize => "address size fault",
            Self::Secure => "secure access fault",
            Self::WalkAbort => "external abort on a table walk",
            Self::MultipleHits => "multiple hits",
            Self::Blocked => "blocked endpoint",
        })
    }
}

/// One access that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The port of who accessed.
    pub endpoint: EndpointId,
    /// Who accessed, if the VMM named it.
    pub source: Option<SourceId>,
    /// The domain it was attached to, if to one.
    pub domain: Option<DomainId>,
    /// The first address that could not be accessed.
    pub iova: u64,
    /// What was wanted.
    pub access: Access,
    /// Why it was refused.
    pub reason: FaultReason,
    /// The level of the page table at which the walk ended, for models that have levels.
    pub level: Option<u8>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            endpoint: EndpointId(endpoint),
            source,
            iova,
            access,
            reason,
            ..
        } = self;
        write!(
            f,
            "{reason} at IOVA {iova:#x} ({access} by endpoint {endpoint}"
        )?;
        if let Some(SourceId(source)) = source {
            write!(f, ", source {source}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Fault {}
