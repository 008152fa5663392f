//! What an IOMMU model answers: the truth behind the translation cache.

use vm_memory::Permissions;

use crate::fault::{Access, DomainId, Fault, FaultReason, Requester};

/// Part of a domain that is mapped, contiguous in IOVA and in guest physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First IOVA.
    pub first: u64,
    /// Last IOVA; inclusive, so that the top of the address space can be named.
    pub last: u64,
    /// The guest physical address that `first` leads to.
    pub address: u64,
    /// What is allowed there: all of it, not only what was asked for.
    pub permissions: Permissions,
}

/// Why a model has no mapping for an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The reason.
    pub reason: FaultReason,
    /// The level of the table at which the walk ended, for models that have levels.
    pub level: Option<u8>,
}

impl Miss {
    /// Creates one of a model without levels, or of no level in particular.
    pub const fn new(reason: FaultReason) -> Self {
        Self {
            reason,
            level: None,
        }
    }

    /// Returns the fault that it is for an access of `requester`, attached to `domain`.
    pub(crate) fn fault(
        self,
        requester: Requester,
        domain: Option<DomainId>,
        iova: u64,
        wanted: Permissions,
    ) -> Fault {
        let Requester { endpoint, source } = requester;
        Fault {
            endpoint,
            source,
            domain,
            iova,
            access: Access::of(wanted),
            reason: self.reason,
            level: self.level,
        }
    }
}

/// What a domain has around an IOVA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A mapping, whatever it permits.
    Mapped(Mapping),
    /// Nothing is mapped from the IOVA up to this one, inclusive; behind it there may be.
    Hole {
        /// The last IOVA of the hole, as far as one look tells.
        last: u64,
    },
}

/// A descriptor of a page table, by where it stands in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The guest physical address.
    pub address: u64,
    /// How many bytes it has: 4 or 8.
    pub bytes: u8,
}

/// An IOMMU model, as the translation path sees it.
///
/// Both methods are called by bus masters, from any thread, while they are pinned: neither may wait
/// for a [grace period](crate::GracePeriod) or for a vCPU.
pub trait Model: Send + Sync {
    /// Returns the mapping of `domain` that contains `iova` and allows `wanted`, for an access of
    /// `requester`.
    ///
    /// Called when the translation cache has no answer. The answer may be cached until it is
    /// invalidated; a refusal is never cached.
    ///
    /// # Errors
    /// Why there is none. This alone reports nothing to the guest: see [`Model::fault`].
    fn translate(
        &self,
        requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss>;

    /// Returns what [`translate`](Self::translate) would, and leaves no trace: no state changes,
    /// and no injected fault comes in between. `None` if the model cannot, so that its units cannot
    /// [check](crate::HitCheck) hits.
    fn look(
        &self,
        requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Option<Result<Mapping, Miss>> {
        let _ = (requester, domain, iova, wanted);
        None
    }

    /// Returns what `domain` has at `iova`, whoever asks, and leaves no trace; for who lists a
    /// domain's mappings. `None` if the model cannot tell.
    fn extent(&self, domain: DomainId, iova: u64) -> Option<Extent> {
        let _ = (domain, iova);
        None
    }

    /// Returns the descriptor that decides what `domain` has at `iova`: the last one that a walk
    /// reads. It leaves no trace. `None` if none is read, or the model has no tables in memory.
    fn descriptor(&self, domain: DomainId, iova: u64) -> Option<Descriptor> {
        let _ = (domain, iova);
        None
    }

    /// Returns the number that the guest has for `domain`; `None` if there is no such domain.
    fn number(&self, domain: DomainId) -> Option<u32> {
        Some(domain.0)
    }

    /// Reports to the guest that a bus master's access was refused.
    fn fault(&self, fault: &Fault);
}
