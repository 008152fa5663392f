//! Virtual IOMMU devices for any rust-vmm VMM.
//!
//! [`DmaSpace`] is the door: the memory that one bus master sees. Device code takes a `DmaSpace` where it took
//! guest memory, and need not know which IOMMU, or whether any, stands behind it.

#![deny(missing_docs)]

mod dma;
mod event;
pub mod fault;
mod model;
mod unit;
pub mod walk;

pub use dma::{DmaSpace, Pinned};
pub use event::{Event, Observer, Scope};
pub use fault::{Access, DomainId, EndpointId, Fault, FaultReason};
pub use model::{Mapping, Miss, Model};
pub use unit::{Attachment, GracePeriod, TranslationUnit, UnitConfig};
