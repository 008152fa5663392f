//! The program status registers (ARM ARM DDI 0406C B1.3.3).

use serde::{Deserialize, Serialize};

/// Processor modes, by the encoding of CPSR.M.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Mode {
    /// User.
    Usr = 0x10,
    /// Fast interrupt.
    Fiq = 0x11,
    /// Interrupt.
    Irq = 0x12,
    /// Supervisor.
    Svc = 0x13,
    /// Abort.
    Abt = 0x17,
    /// Undefined instruction.
    Und = 0x1b,
    /// System: user registers, privileged.
    Sys = 0x1f,
}

impl Mode {
    /// Returns the mode for the low five bits of a PSR value. Monitor and Hyp modes do not exist on
    /// this core.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits & 0x1f {
            0x10 => Self::Usr,
            0x11 => Self::Fiq,
            0x12 => Self::Irq,
            0x13 => Self::Svc,
            0x17 => Self::Abt,
            0x1b => Self::Und,
            0x1f => Self::Sys,
            _ => return None,
        })
    }

    /// Returns whether the mode is privileged (PL1).
    pub const fn privileged(self) -> bool {
        !matches!(self, Self::Usr)
    }
}

/// N, Z, C and V, kept in the form in which results give them for free.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flags {
    /// N is bit 31.
    pub n: u32,
    /// Z is set exactly when this is 0.
    pub z: u32,
    /// C: 0 or 1.
    pub c: u32,
    /// V: 0 or 1.
    pub v: u32,
}

impl Flags {
    /// Returns the four flags in bits 31:28.
    #[inline]
    pub const fn bits(self) -> u32 {
        (self.n & 0x8000_0000) | (((self.z == 0) as u32) << 30) | (self.c << 29) | (self.v << 28)
    }

    /// Returns the flags from bits 31:28 of `bits`.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            n: bits & 0x8000_0000,
            // A result of 0 stands for Z set, one of 1 for Z clear.
            z: (!bits >> 30) & 1,
            c: (bits >> 29) & 1,
            v: (bits >> 28) & 1,
        }
    }

    /// Returns whether they can have come from results.
    pub(crate) const fn is_possible(self) -> bool {
        self.c <= 1 && self.v <= 1
    }

    /// Returns whether condition code `cond` (0 to 15, the encoding of the instruction set) holds.
    #[inline]
    pub const fn holds(self, cond: u8) -> bool {
        let n = self.n >> 31 != 0;
        let z = self.z == 0;
        let c = self.c != 0;
        let v = self.v != 0;
        let base = match cond >> 1 {
            0 => z,
            1 => c,
            2 => n,
            3 => v,
            4 => c && !z,
            5 => n == v,
            6 => n == v && !z,
            // 14 and 15 always hold.
            _ => return true,
        };
        base != (cond & 1 != 0)
    }
}

/// CPSR without N, Z, C and V.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Psr {
    /// Current mode.
    pub mode: Mode,
    /// T: executing T32.
    pub thumb: bool,
    /// F: FIQs masked.
    pub fiq_masked: bool,
    /// I: IRQs masked.
    pub irq_masked: bool,
    /// A: asynchronous aborts masked.
    pub abort_masked: bool,
    /// E: data accesses are big-endian.
    pub big_endian: bool,
    /// The IT bits, in the order of the instruction encoding (`firstcond:mask`), 0 outside a block.
    pub it: u8,
    /// The four GE bits.
    pub ge: u8,
    /// Q: cumulative saturation.
    pub q: bool,
}

impl Psr {
    /// Returns the PSR word without the condition flags.
    pub const fn bits(self) -> u32 {
        (self.mode as u32)
            | ((self.thumb as u32) << 5)
            | ((self.fiq_masked as u32) << 6)
            | ((self.irq_masked as u32) << 7)
            | ((self.abort_masked as u32) << 8)
            | ((self.big_endian as u32) << 9)
            | (((self.it as u32) >> 2) << 10)
            | ((self.ge as u32) << 16)
            | (((self.it as u32) & 3) << 25)
            | ((self.q as u32) << 27)
    }

    /// Returns the fields of PSR word `bits`; the mode stays `fallback` when `bits` names none that
    /// exists.
    #[expect(clippy::cast_possible_truncation, reason = "it has 8 bits")]
    pub const fn from_bits(bits: u32, fallback: Mode) -> Self {
        Self {
            mode: match Mode::from_bits(bits) {
                Some(mode) => mode,
                None => fallback,
            },
            thumb: bits & (1 << 5) != 0,
            fiq_masked: bits & (1 << 6) != 0,
            irq_masked: bits & (1 << 7) != 0,
            abort_masked: bits & (1 << 8) != 0,
            big_endian: bits & (1 << 9) != 0,
            it: ((((bits >> 10) & 0x3f) << 2) | ((bits >> 25) & 3)) as u8,
            ge: ((bits >> 16) & 0xf) as u8,
            q: bits & (1 << 27) != 0,
        }
    }
}

/// Returns the IT state after an instruction, by `ITAdvance()` (ARM ARM DDI 0406C A2.5.2).
pub const fn advance_it(it: u8) -> u8 {
    if it & 7 == 0 {
        0
    } else {
        (it & 0xe0) | ((it << 1) & 0x1f)
    }
}
