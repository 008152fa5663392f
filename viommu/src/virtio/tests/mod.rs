//! Tests of the device as a driver and its endpoints see it.

mod features;
mod harness;
