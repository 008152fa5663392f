//! Why cores stopped.

use arm32::{RamHit, WatchHit};

/// The reason for which [`Vcpus::run`](super::Vcpus::run) came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The budget is used up.
    Budget,
    /// Every core that is on waits for an interrupt.
    Idle {
        /// When the earliest timer fires, in nanoseconds since power-on; `None` when only a device
        /// can wake a core.
        wake_ns: Option<u64>,
    },
    /// The guest asked to be powered off.
    SystemOff,
    /// The guest asked for a reset.
    SystemReset,
    /// Someone asked for it.
    Requested,
    /// A core is about to execute the instruction at a breakpoint. The next run executes it.
    Breakpoint {
        /// Index of the core.
        core: usize,
        /// Where the breakpoint was set: the address of the instruction, unless that was set by a
        /// physical address and is executed by a virtual one (see
        /// [`Halted::image`](super::Halted::image)).
        pc: u64,
    },
    /// A core is about to make a watched access (or has made it, says the hit). The next run lets
    /// it.
    Watchpoint {
        /// Index of the core.
        core: usize,
        /// The access.
        hit: WatchHit,
    },
    /// The same of an access to RAM that is watched by its physical address.
    WatchedRam {
        /// Index of the core.
        core: usize,
        /// The access.
        hit: RamHit,
    },
    /// A core executed an instruction, which an observer wanted to hear of.
    Step {
        /// Index of the core.
        core: usize,
    },
}

impl From<arm32::Stop> for Stop {
    fn from(stop: arm32::Stop) -> Self {
        match stop {
            arm32::Stop::Budget => Self::Budget,
            arm32::Stop::Idle { wake_ns } => Self::Idle { wake_ns },
            arm32::Stop::SystemOff => Self::SystemOff,
            arm32::Stop::SystemReset => Self::SystemReset,
            arm32::Stop::Requested => Self::Requested,
            arm32::Stop::Breakpoint { core, pc } => Self::Breakpoint {
                core,
                pc: pc.into(),
            },
            arm32::Stop::Watchpoint { core, hit } => Self::Watchpoint { core, hit },
            arm32::Stop::WatchedRam { core, hit } => Self::WatchedRam { core, hit },
            arm32::Stop::Step { core } => Self::Step { core },
        }
    }
}
