//! Debug events (ARM ARM DDI 0406C C3): types only.

use serde::{Deserialize, Serialize};

/// What makes a debug exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DebugEvent {
    /// A breakpoint matched: Prefetch Abort.
    Breakpoint,
    /// BKPT was executed: Prefetch Abort.
    Bkpt,
    /// An exception vector was fetched: Prefetch Abort.
    VectorCatch,
    /// A watchpoint matched, and the access was not made: Data Abort.
    Watchpoint,
}

impl DebugEvent {
    /// Returns the value of DBGDSCR.MOE (C11.11.20).
    pub(crate) const fn method_of_entry(self) -> u32 {
        match self {
            Self::Breakpoint => 0b0001,
            Self::Bkpt => 0b0011,
            Self::VectorCatch => 0b0101,
            Self::Watchpoint => 0b1010,
        }
    }
}
