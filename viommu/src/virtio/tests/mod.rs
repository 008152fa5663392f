//! Tests of the device as a driver and its endpoints see it.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

mod batches;
mod capture;
#[cfg(not(loom))]
mod crowd;
mod features;
mod harness;
mod hostile;
mod hotplug;
mod listeners;
mod property;
mod reports;
mod requests;
mod saved;
