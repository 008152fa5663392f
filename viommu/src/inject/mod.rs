//! Fault injection into an IOMMU: where they can be put, and what they can be.
//!
//! An [`Injector`] is asked at every point of an IOMMU at which hardware can go wrong, and says
//! what goes wrong there. It is given to a device when that is made ([`Faults`]); a device without
//! one has none of these points, and pays nothing. When and how often a fault happens is the
//! injector's business: this crate knows no plans.
//!
//! A device with an injector does without the translation cache, so that every translation is a
//! point. In its place stands a small translation buffer that behaves as hardware's does: it keeps
//! what was translated until an invalidation says otherwise, or longer, if the injector has the
//! invalidation ignored ([`FlushFault::Ignored`]).

mod buffer;
#[cfg(all(test, feature = "_registers"))]
pub(crate) mod script;
#[cfg(feature = "_registers")]
mod tables;
#[cfg(all(test, feature = "ipmmu", feature = "virtio"))]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::fault::{Access, DomainId, Requester};
use crate::hit_check::HitCheck;
use crate::model::Miss;
use crate::unit::CacheConfig;
#[cfg(feature = "virtio")]
use crate::virtio::{FaultReport, Request, spec::Status};

pub(crate) use buffer::Injected;
#[cfg(feature = "_registers")]
pub(crate) use tables::{TableModel, descriptor, extent, translate};

/// A bus master's IOVA is about to be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Who accesses.
    pub requester: Requester,
    /// The domain that it is attached to.
    pub domain: DomainId,
    /// The address.
    pub iova: u64,
    /// What is wanted.
    pub access: Access,
}

/// A descriptor was read from a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorRead {
    /// Whose access is translated.
    pub requester: Requester,
    /// Where the descriptor stands (guest physical address).
    pub address: u64,
    /// What stands there; `None` where no memory is.
    pub value: Option<u64>,
    /// How many bits it has, from bit 0 on; those beyond are 0, and ignored in what replaces it.
    pub bits: u32,
}

/// What a walk gets instead of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescriptorFault {
    /// An external abort.
    Abort,
    /// Another value.
    Value(u64),
}

/// The guest asks for an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush<'a> {
    /// The name of the IOMMU's instance.
    pub instance: &'a str,
    /// Which context's; 0 of a model that has one.
    pub context: usize,
}

/// What becomes of an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushFault {
    /// It is complete only when the guest has looked this many times more.
    Late(u32),
    /// It is never complete.
    Stuck,
    /// It is complete at once, and nothing was invalidated.
    Ignored,
}

impl FlushFault {
    /// Returns what is left of it when the guest has looked once more.
    #[cfg(feature = "_registers")]
    pub(crate) const fn after_look(self) -> Option<Self> {
        match self {
            Self::Late(looks @ 1..) => Some(Self::Late(looks - 1)),
            Self::Stuck => Some(Self::Stuck),
            Self::Late(0) | Self::Ignored => None,
        }
    }
}

/// The guest accesses a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterAccess<'a> {
    /// The name of the IOMMU's instance.
    pub instance: &'a str,
    /// The name of the register, in capital letters, as in the Linux driver; without the numbers of
    /// contexts and ports.
    pub register: &'static str,
    /// What is read or written.
    pub value: u32,
}

/// Says what goes wrong.
///
/// Called on the thread that came to the point, a vCPU's or a device's, which may be pinned: it
/// must not access the IOMMU nor wait for anybody who does. Every method has the IOMMU do nothing
/// wrong unless it is written otherwise.
pub trait Injector: Send + Sync {
    /// Returns how often faults have begun. When that changes, the IOMMU forgets what it has
    /// translated before, so that what happens from then on does not depend on it.
    fn epoch(&self) -> u64 {
        0
    }

    /// Refuses a translation.
    fn translation(&self, at: &Translation) -> Option<Miss> {
        let _ = at;
        None
    }

    /// Changes what a walk reads instead of what is in memory.
    fn descriptor(&self, at: &DescriptorRead) -> Option<DescriptorFault> {
        let _ = at;
        None
    }

    /// Lets an invalidation go wrong.
    fn flush(&self, at: &Flush<'_>) -> Option<FlushFault> {
        let _ = at;
        None
    }

    /// Changes the value that the guest reads.
    fn register_read(&self, at: &RegisterAccess<'_>) -> Option<u32> {
        let _ = at;
        None
    }

    /// Changes the value that is written, or drops the write (`Some(None)`).
    fn register_write(&self, at: &RegisterAccess<'_>) -> Option<Option<u32>> {
        let _ = at;
        None
    }

    /// Answers a request of a virtio-iommu's driver with this status. The request is not executed.
    #[cfg(feature = "virtio")]
    fn request(&self, request: &Request) -> Option<Status> {
        let _ = request;
        None
    }

    /// Loses a fault report of a virtio-iommu, as if its event queue had overflowed.
    #[cfg(feature = "virtio")]
    fn loses_report(&self, report: &FaultReport) -> bool {
        let _ = report;
        false
    }
}

/// An [`Injector`], or none.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<dyn Injector>>);

impl Faults {
    /// No fault is injected.
    pub const NONE: Self = Self(None);

    /// Creates the faults that `injector` asks for.
    pub fn by(injector: Arc<dyn Injector>) -> Self {
        Self(Some(injector))
    }

    /// Returns whether faults can be injected.
    pub fn any(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the translation cache to use where `wanted` is asked for.
    pub(crate) fn cache(&self, wanted: &CacheConfig) -> CacheConfig {
        let mut cache = wanted.clone();
        if self.any() {
            // Every translation is a point at which a fault can be injected.
            cache.entries = 0;
            // What is kept is kept behind these points.
            cache.check = match cache.check {
                HitCheck::Off => HitCheck::Off,
                HitCheck::On | HitCheck::KeepAll | HitCheck::Answers => HitCheck::Answers,
            };
        }
        cache
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.any()).finish()
    }
}
