//! The width of a guest's registers.

use serde::{Deserialize, Serialize};

/// The width of a guest's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Width {
    /// ARMv7-A, or AArch32 of ARMv8-A.
    Bits32,
    /// AArch64.
    Bits64,
}

impl Width {
    /// Returns the bytes of a register and of a pointer.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }

    /// Returns what a register or pointer holds of `value`; also how addresses wrap.
    pub const fn cut(self, value: u64) -> u64 {
        match self {
            Self::Bits32 => value & 0xffff_ffff,
            Self::Bits64 => value,
        }
    }
}
