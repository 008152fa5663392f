//! Spaces of bus masters, by the public interface.

mod common;
mod iommu_memory;
mod property;
mod stress;
mod translated;
