//! What instructions are made of: registers, operands, operations and conditions, by their numbers
//! in opcodes.

/// A general register, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gpr {
    /// RAX.
    Rax = 0,
    /// RCX, whose low byte is the amount of shifts.
    Rcx = 1,
    /// RDX.
    Rdx = 2,
    /// RBX.
    Rbx = 3,
    /// RSP.
    Rsp = 4,
    /// RBP.
    Rbp = 5,
    /// RSI.
    Rsi = 6,
    /// RDI.
    Rdi = 7,
    /// R8.
    R8 = 8,
    /// R9.
    R9 = 9,
    /// R10.
    R10 = 10,
    /// R11.
    R11 = 11,
    /// R12.
    R12 = 12,
    /// R13.
    R13 = 13,
    /// R14.
    R14 = 14,
    /// R15.
    R15 = 15,
}

impl Gpr {
    /// All of them.
    #[cfg(test)]
    pub const ALL: [Self; 16] = [
        Self::Rax,
        Self::Rcx,
        Self::Rdx,
        Self::Rbx,
        Self::Rsp,
        Self::Rbp,
        Self::Rsi,
        Self::Rdi,
        Self::R8,
        Self::R9,
        Self::R10,
        Self::R11,
        Self::R12,
        Self::R13,
        Self::R14,
        Self::R15,
    ];

    pub(super) const fn low(self) -> u8 {
        self as u8 & 7
    }

    pub(super) const fn high(self) -> u8 {
        self as u8 >> 3
    }
}

/// The size of an operation's operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 32 bits; the upper half of a register becomes 0.
    Long,
    /// 64 bits.
    Quad,
}

/// An arithmetic or logical operation, by its number in opcodes and in the extensions of 0x81.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    /// ADD.
    Add = 0,
    /// OR.
    Or = 1,
    /// ADC.
    Adc = 2,
    /// SBB.
    Sbb = 3,
    /// AND.
    And = 4,
    /// SUB.
    Sub = 5,
    /// XOR.
    Xor = 6,
    /// CMP.
    Cmp = 7,
}

/// A shift or rotation, by its number in the extensions of 0xc1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ShiftOp {
    /// ROR.
    Ror = 1,
    /// RCR.
    Rcr = 3,
    /// SHL.
    Shl = 4,
    /// SHR.
    Shr = 5,
    /// SAR.
    Sar = 7,
}

/// A condition, by its number in opcodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cc {
    /// Overflow.
    O = 0,
    /// No overflow.
    No = 1,
    /// Below: carry.
    B = 2,
    /// Above or equal: no carry.
    Ae = 3,
    /// Equal: zero.
    E = 4,
    /// Not equal.
    Ne = 5,
    /// Below or equal.
    Be = 6,
    /// Above.
    A = 7,
    /// Sign.
    S = 8,
    /// No sign.
    Ns = 9,
    /// Parity: of a comparison of numbers, unordered.
    P = 10,
    /// Less.
    L = 12,
    /// Greater or equal.
    Ge = 13,
    /// Less or equal.
    Le = 14,
    /// Greater.
    G = 15,
}

/// How a byte or halfword becomes a word: the second byte of the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Extend {
    /// A byte, with zeros.
    Zero8 = 0xb6,
    /// A halfword, with zeros.
    Zero16 = 0xb7,
    /// A byte, with its sign.
    Sign8 = 0xbe,
    /// A halfword, with its sign.
    Sign16 = 0xbf,
}

/// A memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mem {
    /// At a register plus a constant.
    Base(Gpr, i32),
    /// At the sum of two registers and a small constant; the second is not RSP, which no
    /// instruction can index by.
    Sum(Gpr, Gpr, i8),
}

/// A register or memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rm {
    /// A register.
    Reg(Gpr),
    /// Memory.
    Mem(Mem),
}
