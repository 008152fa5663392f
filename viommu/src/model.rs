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

    /// Returns what [`translate`](Self::translate) would, and leaves no trace: no state changes, and
    /// no injected fault comes in between. `None` if the model cannot, so that its units cannot
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

    /// Reports to the guest that a bus master's access was refused.
    fn fault(&self, fault: &Fault);
}
