//! The guest's clock, and what a run counts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_base::{Clock, VirtualClock};

/// The guest's clock, which decides what idling means.
#[derive(Clone)]
pub enum Timing {
    /// Time skips to the next event, unless a person may type before.
    Virtual(Arc<VirtualClock>),
    /// The host sleeps until the next event.
    Host(Arc<dyn Clock>),
}

impl Timing {
    /// Returns the clock that the guest sees.
    pub fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Self::Virtual(clock) => clock.clone(),
            Self::Host(clock) => clock.clone(),
        }
    }

    /// Returns the time that it shows, in nanoseconds since power-on.
    pub fn now_ns(&self) -> u64 {
        match self {
            Self::Virtual(clock) => clock.now_ns(),
            Self::Host(clock) => clock.now_ns(),
        }
    }
}

/// The counts of the run loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCounters {
    /// Slices given.
    pub slices: u64,
    /// Times that all cores slept.
    pub idle: u64,
}
