//! Virtual IOMMU devices for any rust-vmm VMM
