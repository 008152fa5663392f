//! Virtual IOMMU devices for any rust-vmm VMM.
//!
//! [`DmaSpace`] is the door: the memory that one bus master sees. Device code takes a `DmaSpace`
//! where it took guest memory, and need not know which IOMMU, or whether any, stands behind it.
//!
//! [`TranslationUnit`] is what stands behind it: endpoints, what they are attached to, and a
//! translation cache in front of a [`Model`], which owns the truth. What an invalidation promises,
//! and how it is kept, is in the crate's `DESIGN.md`; what it means for device code is in
//! [pinning](DmaSpace#pinning).
//!
//! # Features
//! All are on unless `default-features = false` says otherwise.
//!
//! | feature | what it brings |
//! |---|---|
//! | `ipmmu`, `rockchip`, `smmu-v2`, `virtio` | the model of that name |
//! | `inject` | [fault injection](inject) into the models that there are |
//! | `pci` | [requester IDs](pci), and how a guest's firmware tells of them |
//! | `loom` | with `--cfg loom`, the model checker that tests of this crate use; without, nothing |
//!
//! The translation path and [page-table walks](walk) are always there. What of vm-memory is in
//! signatures comes from [`vm_memory`], which is exported again: the version of it is part of this
//! crate's.

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
mod hit_check;
mod host;
#[cfg(all(feature = "_models", feature = "inject"))]
pub mod inject;
// Private, nothing in it can be named, so that nobody makes an injector.
#[cfg(all(feature = "_models", not(feature = "inject")))]
mod inject;
#[cfg(all(test, loom))]
mod interleavings;
mod interrupt;
mod iotlb;
#[cfg(feature = "ipmmu")]
pub mod ipmmu;
mod listener;
mod model;
#[cfg(feature = "pci")]
pub mod pci;
#[cfg(feature = "_registers")]
mod register_event;
#[cfg(feature = "_registers")]
mod register_model;
#[cfg(feature = "rockchip")]
pub mod rockchip;
#[cfg(feature = "smmu-v2")]
pub mod smmu_v2;
mod sync;
#[cfg(all(test, feature = "_registers"))]
mod test_support;
mod translation;
mod unit;
mod users;
#[cfg(feature = "virtio")]
pub mod virtio;
pub mod vm_memory_iommu;
pub mod walk;
#[cfg(feature = "_registers")]
mod window;

pub use attachment::Attachment;
pub use counters::Counters;
pub use dma::{DmaSpace, Pinned, PinnedSpace, Refused};
pub use event::{Event, Observer, Scope};
pub use fault::{Access, DomainId, EndpointId, Fault, FaultReason, Requester, SourceId};
pub use grace::GracePeriod;
pub use hit_check::{HitCheck, StaleHit};
pub use host::StableHostMemory;
pub use interrupt::{InterruptLine, NoInterrupt};
pub use iotlb::{CacheRestoreError, CacheState};
pub use listener::{DmaListener, Refusal};
pub use model::{Descriptor, Extent, Mapping, Miss, Model};
#[cfg(feature = "_registers")]
pub use register_event::{
    Effect, Ignored, IgnoredAccess, Observers, Part, RegisterChange, RegisterEvent,
    RegisterObserver, TraceWords,
};
pub use translation::{Target, Translation};
pub use unit::{CacheConfig, MemoryChange, TranslationUnit, UnitConfig};
pub use vm_memory;

#[cfg(all(test, not(loom), feature = "_registers"))]
mod testing;

/// The README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
