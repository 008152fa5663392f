//! Tests that boot guests, one file a subject.

mod boot;
mod determinism;
mod disks;
mod iommu;
