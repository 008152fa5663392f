//! Virtual IOMMU devices for any rust-vmm VMM.
//!
//! [`DmaSpace`] is the door: the memory that one bus master sees. Device code takes a `DmaSpace`
//! where it took guest memory, and need not know which IOMMU, or whether any, stands behind it.
//!
//! [`TranslationUnit`] is what stands behind it: endpoints, what they are attached to, and a
//! translation cache in front of a [`Model`], which owns the truth. What an invalidation promises,
//! and how it is kept, is in the crate's `DESIGN.md`; what it means for device code is in
//! [pinning](DmaSpace#pinning).

#![deny(missing_docs, unsafe_code)]

// Under its own name to the examples, which tests take in.
#[cfg(test)]
extern crate self as viommu;

mod attachment;
mod counters;
mod dma;
mod event;
pub mod fault;
mod grace;
mod host;
pub mod inject;
#[cfg(all(test, loom))]
mod interleavings;
mod interrupt;
mod iotlb;
pub mod ipmmu;
mod listener;
mod model;
mod register_event;
mod register_model;
pub mod rockchip;
pub mod smmu_v2;
mod sync;
#[cfg(test)]
mod test_support;
mod translation;
mod unit;
mod users;
pub mod virtio;
pub mod vm_memory_iommu;
pub mod walk;
mod window;

pub use attachment::Attachment;
pub use counters::Counters;
pub use dma::{DmaSpace, Pinned, PinnedSpace};
pub use event::{Event, Observer, Scope};
pub use fault::{Access, DomainId, EndpointId, Fault, FaultReason, Requester, SourceId};
pub use grace::GracePeriod;
pub use host::StableHostMemory;
pub use interrupt::{InterruptLine, NoInterrupt};
pub use iotlb::{CacheRestoreError, CacheState};
pub use listener::{DmaListener, Refusal};
pub use model::{Mapping, Miss, Model};
pub use register_event::{
    Effect, Ignored, IgnoredAccess, Observers, Part, RegisterChange, RegisterEvent,
    RegisterObserver, TraceWords,
};
pub use translation::{Target, Translation};
pub use unit::{CacheConfig, MemoryChange, TranslationUnit, UnitConfig};

#[cfg(all(test, not(loom)))]
mod testing;
