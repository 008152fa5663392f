//! Virtual IOMMU devices for any rust-vmm VMM.
//!
//! [`DmaSpace`] is the door: the memory that one bus master sees. Device code takes a `DmaSpace` where it took
//! guest memory, and need not know which IOMMU, or whether any, stands behind it.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod dma;

pub use dma::DmaSpace;
