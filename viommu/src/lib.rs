//! Virtual IOMMU devices for any rust-vmm VMM

#![deny(missing_docs)]
#![forbid(unsafe_code)]
