//! Spaces of bus masters, by the public interface.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

mod common;
mod hit_check;
mod iommu_memory;
mod memory;
mod pins;
mod property;
mod stress;
mod translated;
