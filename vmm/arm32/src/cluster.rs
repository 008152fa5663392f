//! Several cores taking turns.

use std::sync::Arc;

use crate::bus::Bus;
use crate::clock::Clock;
use crate::state::CpuState;
use crate::wires::{Machine, Pins};

/// How many instructions a core runs before the next one has its turn.
///
/// Long enough that changing over costs nothing, short enough that a core spinning on a lock held by another
/// wastes little.
pub const TURN: u64 = 20_000;

/// Why [`Cluster::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The budget is used up.
    Budget,
    /// Every core that is on waits for an interrupt; the earliest timer fires at `wake_ns`, if any is armed.
    Idle {
        /// Nanoseconds since power-on, or `None` when only a device can wake a core.
        wake_ns: Option<u64>,
    },
    /// The guest asked to be powered off.
    SystemOff,
    /// The guest asked for a reset.
    SystemReset,
    /// [`Pins::request_stop`] was called.
    Requested,
}

/// One to four cores on one bus, run by one thread.
pub struct Cluster {
    _private: (),
}

impl Cluster {
    /// `cpus` cores in their reset state. Core 0 is on, the others wait to be switched on.
    pub fn new(_cpus: usize, _bus: Arc<dyn Bus>, _clock: Arc<dyn Clock>) -> Self {
        Self { _private: () }
    }

    /// The input pins of core `cpu`.
    pub fn pins(&self, _cpu: usize) -> Arc<Pins> {
        Arc::default()
    }

    /// The state of core `cpu`, to set up a boot or take a snapshot.
    pub fn state_mut(&mut self, _cpu: usize) -> &mut CpuState {
        unreachable!()
    }

    /// Instructions retired by all cores since reset.
    pub fn retired(&self) -> u64 {
        0
    }

    /// Runs the cores in turns until one of the reasons of [`Stop`] arises, at most `budget` instructions.
    ///
    /// Timer outputs are re-evaluated on entry and whenever a deadline passes or a timer register is written.
    pub fn run(&mut self, _machine: &mut dyn Machine, _budget: u64) -> Stop {
        Stop::SystemOff
    }
}
