//! Tests of the Rockchip IOMMU: the Linux driver's own sequences, every fault through the
//! registers, the registers and translations against a plain model, injected faults, and saved
//! states.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

#[cfg(not(loom))]
mod crowd;
mod driver;
mod faults;
mod harness;
mod hits;
mod injected;
mod linux;
mod property;
mod registers;
mod saved;
