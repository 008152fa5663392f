//! How a run is bounded and how it ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits of a run. All are optional and count from power-on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Guest time, in nanoseconds since power-on (virtual or host, as the machine's clock).
    pub guest_ns: Option<u64>,
    /// Instructions retired by all cores.
    pub instructions: Option<u64>,
    /// Time of the host that one call of `run` may take. Not deterministic.
    pub wall: Option<Duration>,
}

/// The reason for which a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The guest powered itself off (PSCI SYSTEM_OFF).
    PowerOff,
    /// The guest asked for a reset (PSCI SYSTEM_RESET).
    Reset,
    /// The limit of guest time was reached.
    Timeout,
    /// The limit of wall time was reached.
    WallTimeout,
    /// The limit of instructions was reached.
    InstructionLimit,
    /// Someone asked the machine to stop.
    Stopped,
    /// The console sink asked for an end (for example because it had seen what it expected).
    ConsoleStop,
    /// Every core waits for an interrupt, or is off, and nothing can ever raise one.
    GuestDead,
    /// This host's KVM cannot run the guest any further; the log says why.
    HostFailure,
    /// The run differs from the recording that it goes through again.
    Diverged,
}

impl Reason {
    /// Returns the reason as an ending of the sentence "the guest ...".
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::PowerOff => "powered off",
            Self::Reset => "asked for a reset",
            Self::Timeout => "ran out of its time",
            Self::WallTimeout => "took too long on this host",
            Self::InstructionLimit => "ran out of its instructions",
            Self::Stopped => "was stopped",
            Self::ConsoleStop => "showed what was expected",
            Self::GuestDead => "sleeps and nothing can ever wake it",
            Self::HostFailure => "cannot be run any further by this host's KVM",
            Self::Diverged => "did something else than the recording says",
        }
    }
}

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The reason for it.
    pub reason: Reason,
}
