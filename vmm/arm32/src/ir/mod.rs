//! Micro-operations: what a translator to host code is given.
//!
//! Each instruction that matters for speed is stated once, in [`lower`], as a few operations that a
//! host can do in an instruction or two; whatever is rare stays a call of the handler in `exec`.
//! The handlers define what instructions do. `eval` runs micro-operations on a core, and tests
//! compare the two, instruction by instruction.
//!
//! Rules that back ends rely on:
//! - The operations of one instruction write nothing but temporaries before its memory access,
//!   which comes at most once: where an access cannot be made on the fast path, the whole
//!   instruction is left to its handler.
//! - Temporaries live within one instruction, and not long there: an operation leaves no temporary
//!   as it was but those that it writes, unless it is one of those of `Mop::keeps_temporaries`. An
//!   access leaves its address in temporary 0.
//! - [`Mop::SkipUnless`] and [`Mop::SkipUnlessZero`] skip forwards, within the instruction.

pub mod bank;
mod exclusive;
mod flags;
mod lower;
mod memory;
mod operands;
mod system;

#[cfg(test)]
mod eval;
#[cfg(test)]
mod tests;

use arm32_isa::{ExtendOp, RevOp, Shift};

pub use bank::{BankMop, drop_known_needs};
pub use flags::{drop_dead_flags, of_condition};
pub use lower::lower;
pub use system::SystemMop;

/// Temporaries of an instruction.
#[cfg(test)]
pub const TEMPS: usize = 3;

/// An operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// R0 to R14. R15 is always a constant.
    Reg(u8),
    /// A temporary, 0 to 2.
    Temp(u8),
    /// A constant.
    Imm(u32),
}

/// Where a result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest {
    /// R0 to R14.
    Reg(u8),
    /// A temporary.
    Temp(u8),
    /// Nowhere: only flags are wanted.
    None,
}

/// Some of the condition flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagSet(u8);

impl FlagSet {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// N and Z.
    pub const NZ: Self = Self(3);
    /// C.
    pub const C: Self = Self(4);
    /// V.
    pub const V: Self = Self(8);
    /// All four.
    pub const ALL: Self = Self(15);

    /// Returns those of both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns those of either.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns those of this that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns whether all of `other` are in it.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// An arithmetic or logical operation of two operands. Those that set C and V set them as the
/// architecture's `AddWithCarry()` does; the others leave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AluOp {
    /// y.
    Move,
    /// NOT y.
    Not,
    /// x AND y.
    And,
    /// x AND NOT y.
    AndNot,
    /// x OR y.
    Or,
    /// x OR NOT y.
    OrNot,
    /// x XOR y.
    Xor,
    /// x + y.
    Add,
    /// x + y + C.
    AddCarry,
    /// x - y.
    Sub,
    /// x - y - NOT C.
    SubCarry,
}

impl AluOp {
    /// Returns whether C takes part.
    pub const fn reads_carry(self) -> bool {
        matches!(self, Self::AddCarry | Self::SubCarry)
    }
}

/// A micro-operation. Operands are read before anything is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mop {
    /// Does nothing: what it did turned out not to be wanted.
    Nop,
    /// Leaves out the next `count` operations unless condition `cond` holds.
    SkipUnless {
        /// The condition code, 0 to 13.
        cond: u8,
        /// How many.
        count: u8,
    },
    /// Leaves out the next `count` operations unless `x` is 0 (`zero`), or is not.
    SkipUnlessZero {
        /// What is looked at.
        x: Value,
        /// Whether it must be 0.
        zero: bool,
        /// How many.
        count: u8,
    },
    /// `d` = `op` of `x` and `y`; N and Z are those of the result.
    Alu {
        /// What is done.
        op: AluOp,
        /// The result.
        d: Dest,
        /// The first operand.
        x: Value,
        /// The second operand.
        y: Value,
        /// The flags to set.
        set: FlagSet,
    },
    /// `d` = `x` shifted as `Shift_C()` does; with `carry`, C is the last bit that was shifted out.
    Shift {
        /// How.
        kind: Shift,
        /// The result.
        d: Dest,
        /// What is shifted.
        x: Value,
        /// By how much: a constant as in [`Shift`], or the low byte of a register.
        amount: Value,
        /// Whether C is set.
        carry: bool,
    },
    /// C = `to`.
    SetCarry {
        /// What it becomes.
        to: bool,
    },
    /// `d` = the low word of `x` times `y`.
    Multiply {
        /// The result.
        d: Dest,
        /// The first factor.
        x: Value,
        /// The second factor.
        y: Value,
    },
    /// `d` = `x` divided by `y`, rounded towards zero; 0 if `y` is 0.
    Divide {
        /// The result.
        d: Dest,
        /// The dividend.
        x: Value,
        /// The divisor.
        y: Value,
        /// Both are signed; the least number by -1 is itself.
        signed: bool,
    },
    /// `high`:`low` = `x` times `y`.
    MultiplyLong(MultiplyLong),
    /// `d` = a byte or halfword of `x` rotated right by `rotate` bits, extended.
    Extend {
        /// Which, and how.
        kind: ExtendOp,
        /// The result.
        d: Dest,
        /// The operand.
        x: Value,
        /// 0, 8, 16 or 24.
        rotate: u8,
    },
    /// `d` = `width` bits of `x` from `lsb` on, extended.
    Extract {
        /// The result.
        d: Dest,
        /// The operand.
        x: Value,
        /// The lowest bit.
        lsb: u8,
        /// 1 to 32 - `lsb`.
        width: u8,
        /// Whether the highest of them is a sign.
        signed: bool,
    },
    /// `width` bits of `reg` from `lsb` on become the lowest of `x`.
    Insert {
        /// The register.
        reg: u8,
        /// The bits.
        x: Value,
        /// The lowest bit in the register.
        lsb: u8,
        /// 1 to 32 - `lsb`.
        width: u8,
    },
    /// `d` = `x` with bytes or bits reversed.
    Reverse {
        /// How.
        kind: RevOp,
        /// The result.
        d: Dest,
        /// The operand.
        x: Value,
    },
    /// `d` = the number of zeros above the highest one of `x`.
    LeadingZeros {
        /// The result.
        d: Dest,
        /// The operand.
        x: Value,
    },
    /// The bytes of `d` = those of `x` plus, or less, those of `y`; GE says which sums carry, or
    /// which differences do not borrow.
    AddBytes {
        /// The result.
        d: Dest,
        /// The first operand.
        x: Value,
        /// The second.
        y: Value,
        /// Whether it is subtracted.
        subtract: bool,
    },
    /// The bytes of `d` = those of `x` where GE is set, else those of `y`.
    SelectBytes {
        /// The result.
        d: Dest,
        /// Where GE is set.
        x: Value,
        /// Where it is not.
        y: Value,
    },
    /// `d` = `size` bytes at `at`, extended.
    Load {
        /// The result.
        d: Dest,
        /// The address.
        at: Value,
        /// 1, 2 or 4.
        size: u8,
        /// Whether the highest bit is a sign.
        sign: bool,
    },
    /// `d` = a thread register, as MRC reads it.
    ReadThread {
        /// The result.
        d: Dest,
        /// Which.
        register: ThreadRegister,
    },
    /// `high`:`low` = the count of the generic timer at instruction `idx` of the block, as a
    /// privileged MRRC reads it.
    ReadCounter {
        /// The register of the low word.
        low: u8,
        /// That of the high word.
        high: u8,
        /// Which instruction it is.
        idx: u8,
    },
    /// `d` = `size` bytes at `at`, for which the exclusive monitor is open then.
    LoadExclusive {
        /// The result, R0 to R14.
        d: Dest,
        /// The address.
        at: Value,
        /// 1, 2 or 4.
        size: u8,
    },
    /// If the exclusive monitor is open for `size` bytes at `at`, which are still what was loaded,
    /// they become the low ones of `x`, the monitor is closed, and `d` = 0. All else is left to the
    /// handler.
    StoreExclusive {
        /// 0, R0 to R14.
        d: Dest,
        /// What is stored.
        x: Value,
        /// The address.
        at: Value,
        /// 1, 2 or 4.
        size: u8,
    },
    /// `size` bytes at `at` become the low ones of `x`.
    Store {
        /// What is stored.
        x: Value,
        /// The address.
        at: Value,
        /// 1, 2 or 4.
        size: u8,
    },
    /// Loads words from `at`, a multiple of four, to the registers of `list`, lowest first; that of
    /// R15 goes to temporary 0.
    LoadList {
        /// A bit a register.
        list: u16,
        /// The address of the first.
        at: Value,
    },
    /// Stores the registers of `list`, without R15, to words from `at` on, a multiple of four.
    StoreList {
        /// A bit a register.
        list: u16,
        /// The address of the first.
        at: Value,
    },
    /// Stores two registers to the words at `at` and behind, a multiple of four.
    StorePair {
        /// The first register, which is not R15.
        first: u8,
        /// The second, which is not R15 either.
        second: u8,
        /// The address of the first.
        at: Value,
    },
    /// Does something with the registers of VFP and Advanced SIMD.
    Bank(BankMop),
    /// Does something with system registers.
    System(SystemMop),
    /// Branches to `va` in the same instruction set. The block ends.
    Goto {
        /// The address.
        va: u32,
    },
    /// Branches to a computed address. The block ends.
    Jump {
        /// The address.
        to: Value,
        /// Whether bit 0 selects the instruction set; without it, it is dropped.
        exchange: bool,
    },
    /// Has the handler do the whole instruction, its condition included.
    Call,
}

/// A register that software keeps a thread's or a core's address in (ARM ARM DDI 0406C B4.1.150 to
/// B4.1.152).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadRegister {
    /// TPIDRURW.
    User,
    /// TPIDRURO.
    UserReadOnly,
    /// TPIDRPRW, which user mode may not read.
    Kernel,
}

/// A multiplication of two words to a doubleword: `high`:`low` = `x` times `y`, plus what it was
/// with `add`; with `set`, N and Z are those of the 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiplyLong {
    /// The register of the low word.
    pub low: u8,
    /// That of the high word.
    pub high: u8,
    /// The first factor.
    pub x: Value,
    /// The second factor.
    pub y: Value,
    /// Both are signed.
    pub signed: bool,
    /// The result is added.
    pub add: bool,
    /// N and Z are set, if [`FlagSet::NZ`].
    pub set: FlagSet,
}

impl Mop {
    /// Returns whether back ends need no scratch register for it, so that all temporaries that it
    /// does not write stay what they are.
    #[cfg(test)]
    pub fn keeps_temporaries(&self) -> bool {
        match *self {
            Self::Nop | Self::SetCarry { .. } => true,
            Self::Alu { op, d, x, y, set } if set == FlagSet::NONE => match (op, d, y) {
                (AluOp::Move, Dest::Reg(_), y) => !matches!(y, Value::Reg(_)),
                (AluOp::Add, Dest::Reg(n), Value::Imm(_)) => x == Value::Reg(n),
                _ => false,
            },
            _ => false,
        }
    }

    /// Returns the temporary that it writes.
    #[cfg(test)]
    pub const fn written_temporary(&self) -> Option<u8> {
        match *self {
            Self::Alu { d, .. }
            | Self::Shift { d, .. }
            | Self::Multiply { d, .. }
            | Self::Divide { d, .. }
            | Self::Extend { d, .. }
            | Self::Extract { d, .. }
            | Self::Reverse { d, .. }
            | Self::LeadingZeros { d, .. }
            | Self::AddBytes { d, .. }
            | Self::SelectBytes { d, .. }
            | Self::ReadThread { d, .. }
            | Self::Load { d, .. } => match d {
                Dest::Temp(n) => Some(n),
                _ => None,
            },
            Self::LoadList { list, .. } if list & 0x8000 != 0 => Some(0),
            Self::Bank(mop) => match mop.dest() {
                Some(Dest::Temp(n)) => Some(n),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns whether the block may be left here, so that all flags must be what they are.
    pub const fn may_leave(&self) -> bool {
        if let Self::Bank(mop) = self {
            return mop.may_leave();
        }
        matches!(
            self,
            Self::ReadThread {
                register: ThreadRegister::Kernel,
                ..
            } | Self::ReadCounter { .. }
                | Self::LoadExclusive { .. }
                | Self::StoreExclusive { .. }
                | Self::Load { .. }
                | Self::Store { .. }
                | Self::LoadList { .. }
                | Self::StoreList { .. }
                | Self::StorePair { .. }
                | Self::System(_)
                | Self::Goto { .. }
                | Self::Jump { .. }
                | Self::Call
        )
    }
}
