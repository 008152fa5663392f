//! What instructions are made of: registers, operands, operations and conditions, by their numbers
//! in encodings.

/// A general register, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpr(u8);

impl Gpr {
    /// The link register.
    pub const LR: Self = Self(30);
    /// The register of zeros, where register 31 is that.
    pub const ZERO: Self = Self(31);
    /// The stack pointer, where register 31 is that: as a base, and in additions and subtractions
    /// of a constant that set no flags.
    pub const SP: Self = Self(31);

    /// Returns register `n`, 0 to 30.
    pub const fn x(n: u8) -> Self {
        assert!(n < 31);
        Self(n)
    }

    /// Returns its number.
    pub(super) const fn number(self) -> u32 {
        self.0 as u32
    }
}

/// The size of an operation's operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Width {
    /// 32 bits; the upper half of a register becomes 0.
    Word = 0,
    /// 64 bits.
    Double = 1,
}

/// An addition or subtraction, by its bits 30:29.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sum {
    /// ADD or ADC.
    Add = 0,
    /// ADDS or ADCS.
    AddSet = 1,
    /// SUB or SBC.
    Sub = 2,
    /// SUBS or SBCS.
    SubSet = 3,
}

/// A logical operation, by its bits 30:29.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Logic {
    /// AND.
    And = 0,
    /// ORR.
    Or = 1,
    /// EOR.
    Xor = 2,
    /// ANDS.
    AndSet = 3,
}

/// A shift by a register, by its number in encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ShiftOp {
    /// LSLV.
    Left = 8,
    /// LSRV.
    Right = 9,
    /// ASRV.
    Arithmetic = 10,
    /// RORV.
    Rotate = 11,
}

/// An operation of one register, by its number in encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unary {
    /// RBIT.
    ReverseBits = 0,
    /// REV16.
    ReverseHalves = 1,
    /// REV of a word.
    ReverseWord = 2,
    /// CLZ.
    LeadingZeros = 4,
}

/// What happens to the other bits of the register that a field is copied to, by bits 30:29 of the
/// bitfield moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// SBFM: they are the field's sign, and zeros below it.
    Signed = 0,
    /// UBFM: they are zeros.
    Unsigned = 2,
}

/// A condition, by its number in encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cond(u8);

impl Cond {
    /// Equal: zero.
    pub const EQ: Self = Self(0);
    /// Not equal.
    pub const NE: Self = Self(1);
    /// Carry.
    pub const CS: Self = Self(2);
    /// No carry: lower.
    pub const LO: Self = Self(3);
    /// Minus.
    pub const MI: Self = Self(4);
    /// Overflow.
    pub const VS: Self = Self(6);
    /// Lower or the same.
    pub const LS: Self = Self(9);

    /// Returns condition `number`, 0 to 13: A32's are the same.
    pub const fn new(number: u8) -> Self {
        assert!(number < 14);
        Self(number)
    }

    /// Returns the one that holds when this does not.
    pub const fn inverse(self) -> Self {
        Self(self.0 ^ 1)
    }

    /// Returns its number.
    pub(super) const fn number(self) -> u32 {
        self.0 as u32
    }
}

/// A load or store of one register: bits 31:30, the size, and bits 23:22, the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub(super) size: u8,
    pub(super) kind: u8,
}

impl Access {
    /// STRB.
    pub const STORE8: Self = Self { size: 0, kind: 0 };
    /// STRH.
    pub const STORE16: Self = Self { size: 1, kind: 0 };
    /// STR of a word.
    pub const STORE: Self = Self { size: 2, kind: 0 };
    /// STR of a doubleword.
    pub const STORE64: Self = Self { size: 3, kind: 0 };
    /// LDRB.
    pub const LOAD8: Self = Self { size: 0, kind: 1 };
    /// LDRH.
    pub const LOAD16: Self = Self { size: 1, kind: 1 };
    /// LDR of a word.
    pub const LOAD: Self = Self { size: 2, kind: 1 };
    /// LDR of a doubleword.
    pub const LOAD64: Self = Self { size: 3, kind: 1 };
    /// LDRSB to a word.
    pub const LOAD_SIGNED8: Self = Self { size: 0, kind: 3 };
    /// LDRSH to a word.
    pub const LOAD_SIGNED16: Self = Self { size: 1, kind: 3 };
}

/// A memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mem {
    /// At a register plus a constant, a multiple of the access's size below 4096 times that.
    Base(Gpr, u32),
    /// At the sum of a register and the low word of another.
    Sum(Gpr, Gpr),
}

/// Where the two words or doublewords of a load or store of a pair are: by a distance from the base
/// that is a small multiple of their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// At the base plus the distance.
    At(Gpr, i32),
    /// There, and the base becomes that address.
    Before(Gpr, i32),
    /// At the base, to which the distance is added then.
    After(Gpr, i32),
}
