//! The fields of the control registers (ARM ARM DDI 0406C C11): types only.

use crate::mmu::Access;
use crate::state::Mode;

/// What a breakpoint compares (DBGBCR.BT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakpointType {
    /// The address of the instruction.
    Address {
        /// Matches wherever the address does *not*.
        mismatch: bool,
        /// Only while the linked breakpoint's context is current.
        linked: bool,
    },
    /// CONTEXTIDR.
    Context {
        /// It makes no event by itself: others are linked to it.
        linked: bool,
    },
    /// Reserved, or of extensions that this core does not have: matches nothing.
    Reserved,
}

/// DBGBCR.
#[derive(Clone, Copy)]
pub(super) struct BreakpointControl(pub u32);

impl BreakpointControl {
    pub const fn enabled(self) -> bool {
        self.0 & 1 != 0
    }

    pub const fn kind(self) -> BreakpointType {
        let linked = self.0 >> 20 & 1 != 0;
        match self.0 >> 21 & 7 {
            0b000 => BreakpointType::Address {
                mismatch: false,
                linked,
            },
            0b001 => BreakpointType::Context { linked },
            0b010 => BreakpointType::Address {
                mismatch: true,
                linked,
            },
            _ => BreakpointType::Reserved,
        }
    }

    /// Returns LBN, the number of the linked breakpoint.
    pub const fn link(self) -> usize {
        (self.0 >> 16 & 15) as usize
    }

    /// Returns BAS: the bytes of the word at which an instruction may begin.
    pub const fn bytes(self) -> u32 {
        self.0 >> 5 & 15
    }

    /// Returns whether SSC and PMC select `mode`.
    pub const fn selects(self, mode: Mode) -> bool {
        non_secure(self.0)
            && match self.0 >> 1 & 3 {
                0b00 => matches!(mode, Mode::Usr | Mode::Svc | Mode::Sys),
                0b01 => mode.privileged(),
                0b10 => !mode.privileged(),
                _ => true,
            }
    }
}

/// DBGWCR.
#[derive(Clone, Copy)]
pub(super) struct WatchpointControl(pub u32);

impl WatchpointControl {
    pub const fn enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// Returns the breakpoint whose context must be current, from WT and LBN.
    pub const fn link(self) -> Option<usize> {
        if self.0 >> 20 & 1 != 0 {
            Some((self.0 >> 16 & 15) as usize)
        } else {
            None
        }
    }

    /// Returns the address bits that are not compared, and the bytes of each doubleword that are
    /// watched; `None` for what is reserved.
    pub const fn range(self, value: u32) -> Option<(u32, u32)> {
        let bytes = self.0 >> 5 & 0xff;
        match self.0 >> 24 & 31 {
            // Of a word that begins in the middle of a doubleword only the low four bits count.
            0 if value & 4 != 0 => Some((7, (bytes & 15) << 4)),
            0 => Some((7, bytes)),
            1 | 2 => None,
            bits => Some(((1 << bits) - 1, bytes)),
        }
    }

    /// Returns whether LSC selects `access`.
    pub const fn covers(self, access: Access) -> bool {
        match access {
            Access::Read => self.0 >> 3 & 1 != 0,
            Access::Write => self.0 >> 4 & 1 != 0,
            Access::Execute => false,
        }
    }

    /// Returns whether SSC and PAC select accesses of PL1 (`privileged`) or PL0.
    pub const fn selects(self, privileged: bool) -> bool {
        non_secure(self.0) && self.0 >> if privileged { 1 } else { 2 } & 1 != 0
    }
}

/// Returns whether SSC selects the Non-secure world, in which this core is (DBGDSCR.NS).
const fn non_secure(control: u32) -> bool {
    control >> 14 & 3 < 2
}
