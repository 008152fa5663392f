//! How wide a guest's registers are.

use serde::{Deserialize, Serialize};

/// How wide a guest's registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Width {
    /// ARMv7-A, or AArch32 of ARMv8-A.
    Bits32,
    /// AArch64.
    Bits64,
}

impl Width {
    /// Bytes of a register and of a pointer.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }

    /// What of `value` a register or pointer holds; also how addresses wrap.
    pub const fn cut(self, value: u64) -> u64 {
        match self {
            Self::Bits32 => value & 0xffff_ffff,
            Self::Bits64 => value,
        }
    }
}
