//! Tests of the IPMMU: the Linux driver's own sequences, every fault through the registers, the
//! registers against a plain model, and hostile guests.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

#[cfg(not(loom))]
mod crowd;
mod driver;
mod faults;
mod flush;
mod gen3;
mod harness;
mod hits;
mod hostile;
mod linux;
mod registers;
mod saved;
