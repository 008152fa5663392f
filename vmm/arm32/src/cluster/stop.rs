//! Why a cluster stopped.

use crate::watch::{RamHit, WatchHit};

/// Why [`Cluster::run`](super::Cluster::run) came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The budget is used up.
    Budget,
    /// Every core that is on waits for an interrupt; the earliest timer fires at `wake_ns`, if any
    /// is armed.
    Idle {
        /// Nanoseconds since power-on, or `None` when only a device can wake a core.
        wake_ns: Option<u64>,
    },
    /// The guest asked to be powered off.
    SystemOff,
    /// The guest asked for a reset.
    SystemReset,
    /// [`Pins::request_stop`](crate::wires::Pins::request_stop) was called.
    Requested,
    /// Core `core` is about to execute the instruction at a breakpoint. The next run executes it.
    Breakpoint {
        /// Index of the core.
        core: usize,
        /// Address of the instruction, which R15 holds.
        pc: u32,
    },
    /// Core `core` is about to make a watched access ([`WatchHit::done`]: has made it), by the
    /// instruction at R15. The next run lets it.
    Watchpoint {
        /// Index of the core.
        core: usize,
        /// What was accessed.
        hit: WatchHit,
    },
    /// The same of an access to watched RAM ([`Cluster::watch_ram`](super::Cluster::watch_ram)).
    WatchedRam {
        /// Index of the core.
        core: usize,
        /// What was accessed.
        hit: RamHit,
    },
    /// Core `core` executed an instruction, as [`Cluster::set_step`](super::Cluster::set_step)
    /// asked.
    Step {
        /// Index of the core.
        core: usize,
    },
}
