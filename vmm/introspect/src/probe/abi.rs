//! How functions use registers, by the procedure call standards of 32-bit (AAPCS32) and of 64-bit
//! Arm (AAPCS64), and what probes call them.

use vmm_machine::vcpu::{Core, Width};

pub(super) use crate::memory::CoreMemory;

/// The register of results.
pub(super) const RESULT: u8 = 0;

/// The use of registers by functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abi {
    pub width: Width,
    /// The number of words of arguments that are in registers, from the first one on (AAPCS32 6.5;
    /// AAPCS64 6.8.2).
    pub arguments: u8,
    /// The register with the address to return to.
    pub lr: u8,
    /// The stack pointer.
    pub sp: u8,
    /// The program counter, which has no number in AArch64 and is given one here.
    pub pc: u8,
    /// The letter of numbered registers, and the highest number.
    numbered: (char, u8),
}

impl Abi {
    /// Returns that of a kernel.
    pub const fn of(width: Width) -> Self {
        match width {
            Width::Bits32 => Self {
                width,
                arguments: 4,
                lr: 14,
                sp: 13,
                pc: 15,
                numbered: ('r', 15),
            },
            Width::Bits64 => Self {
                width,
                arguments: 8,
                lr: 30,
                sp: 31,
                pc: 32,
                numbered: ('x', 30),
            },
        }
    }

    /// Returns the register of this name.
    pub fn register(&self, name: &str) -> Option<u8> {
        match name {
            "sp" => Some(self.sp),
            "lr" => Some(self.lr),
            "pc" => Some(self.pc),
            _ => {
                let number: u8 = name.strip_prefix(self.numbered.0)?.parse().ok()?;
                // `x31` is no name: by the instruction, that number is the zero register or the
                // stack pointer.
                (number <= self.numbered.1).then_some(number)
            }
        }
    }

    /// Returns what register `n` is called.
    pub fn name(&self, n: u8) -> String {
        let (letter, most) = self.numbered;
        match n {
            n if n <= most => format!("{letter}{n}"),
            n if n == self.sp => "sp".into(),
            _ => "pc".into(),
        }
    }

    /// Returns all registers there are, for a message.
    pub fn registers(&self) -> String {
        let (letter, most) = self.numbered;
        format!("`{letter}0` to `{letter}{most}`, `sp`, `lr` and `pc`")
    }

    /// Returns that of kernels of the other width.
    pub const fn other(&self) -> Self {
        match self.width {
            Width::Bits32 => Self::of(Width::Bits64),
            Width::Bits64 => Self::of(Width::Bits32),
        }
    }

    /// Returns where an address of code leads: bit 0 of a 32-bit one says which instruction set is
    /// meant.
    pub const fn target(&self, address: u64) -> u64 {
        match self.width {
            Width::Bits32 => address & !1,
            Width::Bits64 => address,
        }
    }
}

/// Reads register `n` of `core`, as [`Abi`] numbers them.
pub(super) fn register(core: &Core<'_>, n: u8) -> u64 {
    match n {
        n if n == Abi::of(core.width()).pc => core.pc(),
        n => core.reg(n),
    }
}

/// Writes register `n` of `core`; what is too wide for it is cut.
pub(super) fn set_register(core: &mut Core<'_>, n: u8, value: u64) {
    match core {
        // AArch64's program counter is no general-purpose register, so it is written by a branch.
        Core::Aarch64(_) if n == Abi::of(Width::Bits64).pc => core.branch(value),
        core => core.set_reg(n, value),
    }
}
