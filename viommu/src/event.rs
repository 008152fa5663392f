//! What observers see of the translation path.

use vm_memory::Permissions;

use crate::attachment::Attachment;
use crate::fault::{Access, DomainId, EndpointId, Fault, SourceId};
use crate::hit_check::StaleHit;
use crate::model::Mapping;

/// Sees what happens on the translation path of one [`TranslationUnit`](crate::TranslationUnit), as
/// it happens.
///
/// Called on the thread that caused the event, which may be pinned: an observer must not access the
/// unit.
pub trait Observer: Send + Sync {
    /// Sees `event`, which has just happened.
    fn event(&self, event: &Event);

    /// Returns whether single accesses ([`Event::Dma`]) are wanted too. Asked once, when the unit
    /// is made.
    fn wants_dma(&self) -> bool {
        false
    }
}

/// What was invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every translation of the unit.
    All,
    /// Every translation of a domain.
    Domain(DomainId),
    /// A range of IOVA of a domain: first and last address.
    Range(DomainId, u64, u64),
}

/// Something that happened on the translation path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An endpoint was attached, detached or blocked.
    Attached {
        /// Whose accesses change.
        endpoint: EndpointId,
        /// To what.
        to: Attachment,
    },
    /// Translations were invalidated; they may be in use until the next grace period has ended.
    Invalidated(Scope),
    /// The translation cache learnt a mapping.
    Filled {
        /// The port of who asked for it.
        endpoint: EndpointId,
        /// Who asked for it, if the VMM named it.
        source: Option<SourceId>,
        /// Where it holds.
        domain: DomainId,
        /// What the model answered.
        mapping: Mapping,
    },
    /// An access was refused.
    Fault(Fault),
    /// An access led, translated or not, to where no memory is.
    BusError {
        /// The port of who accessed.
        endpoint: EndpointId,
        /// Who accessed, if the VMM named it.
        source: Option<SourceId>,
        /// The address the bus master used.
        iova: u64,
        /// The guest physical address it led to.
        address: u64,
        /// What was wanted.
        access: Access,
    },
    /// A bus master accesses memory.
    Dma {
        /// The port of who accesses.
        endpoint: EndpointId,
        /// Who accesses, if the VMM named it.
        source: Option<SourceId>,
        /// The first address, as the bus master uses it.
        iova: u64,
        /// Bytes.
        length: usize,
        /// What is wanted.
        access: Permissions,
    },
    /// An access led through a translation that the model's mappings no longer have. Only told of
    /// units that [check](crate::HitCheck) hits.
    StaleHit(StaleHit),
    /// What stale hits on a page had used was invalidated. It is no longer in use when the next
    /// grace period has ended.
    StaleEnded {
        /// The port of the last of these hits.
        endpoint: EndpointId,
        /// The domain.
        domain: DomainId,
        /// The first IOVA of the page of 4 KiB.
        iova: u64,
    },
}

impl Event {
    /// Returns the bus master whose access it is about, if it is about one and the VMM named it.
    pub const fn source(&self) -> Option<SourceId> {
        match self {
            Self::Filled { source, .. }
            | Self::Fault(Fault { source, .. })
            | Self::BusError { source, .. }
            | Self::Dma { source, .. }
            | Self::StaleHit(StaleHit { source, .. }) => *source,
            Self::Attached { .. } | Self::Invalidated(_) | Self::StaleEnded { .. } => None,
        }
    }
}
