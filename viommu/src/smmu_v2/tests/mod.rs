//! Tests of the SMMU: the Linux driver's own sequences, every fault through the registers, streams
//! and context banks, translations against a plain model, injected faults, and saved states.

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
mod invalidate;
mod linux;
mod property;
mod registers;
mod saved;
mod short;
mod streams;
