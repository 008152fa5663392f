//! Operand types of [`Insn`](crate::Insn).

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$vmeta])* $variant),+
        }

        impl $name {
            /// All values, in encoding order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name in assembler syntax.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }

            /// Returns the value whose place in [`Self::ALL`] is `index`, taken modulo the length.
            pub const fn from_index(index: u32) -> Self {
                Self::ALL[index as usize % Self::ALL.len()]
            }
        }
    };
}
pub(crate) use names;

names! {
    /// A condition (DDI 0406C A8.3).
    Cond {
        /// Z set.
        Eq = "eq",
        /// Z clear.
        Ne = "ne",
        /// C set.
        Cs = "hs",
        /// C clear.
        Cc = "lo",
        /// N set.
        Mi = "mi",
        /// N clear.
        Pl = "pl",
        /// V set.
        Vs = "vs",
        /// V clear.
        Vc = "vc",
        /// C set and Z clear.
        Hi = "hi",
        /// C clear or Z set.
        Ls = "ls",
        /// N equals V.
        Ge = "ge",
        /// N differs from V.
        Lt = "lt",
        /// Z clear and N equals V.
        Gt = "gt",
        /// Z set or N differs from V.
        Le = "le",
        /// Always.
        Al = "al",
    }
}

impl Cond {
    /// Returns the condition with these four bits; 1111 also means always.
    pub const fn from_bits(bits: u32) -> Self {
        match bits & 15 {
            15 => Self::Al,
            other => Self::from_index(other),
        }
    }

    /// Returns the suffix of a mnemonic: nothing for always.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Al => "",
            other => other.name(),
        }
    }
}

names! {
    /// A data-processing operation; the first sixteen in the order of the A32 opcode field.
    DpOp {
        /// Rn AND op2.
        And = "and",
        /// Rn EOR op2.
        Eor = "eor",
        /// Rn - op2.
        Sub = "sub",
        /// op2 - Rn.
        Rsb = "rsb",
        /// Rn + op2.
        Add = "add",
        /// Rn + op2 + C.
        Adc = "adc",
        /// Rn - op2 - !C.
        Sbc = "sbc",
        /// op2 - Rn - !C.
        Rsc = "rsc",
        /// Flags of Rn AND op2.
        Tst = "tst",
        /// Flags of Rn EOR op2.
        Teq = "teq",
        /// Flags of Rn - op2.
        Cmp = "cmp",
        /// Flags of Rn + op2.
        Cmn = "cmn",
        /// Rn OR op2.
        Orr = "orr",
        /// op2; Rn is not used.
        Mov = "mov",
        /// Rn AND NOT op2.
        Bic = "bic",
        /// NOT op2; Rn is not used.
        Mvn = "mvn",
        /// Rn OR NOT op2 (T32 only).
        Orn = "orn",
    }
}

impl DpOp {
    /// Returns whether there is no result but flags: TST, TEQ, CMP, CMN.
    pub const fn is_compare(self) -> bool {
        matches!(self, Self::Tst | Self::Teq | Self::Cmp | Self::Cmn)
    }

    /// Returns whether Rn is not used: MOV, MVN.
    pub const fn is_move(self) -> bool {
        matches!(self, Self::Mov | Self::Mvn)
    }
}

names! {
    /// What a modified immediate does to the shifter carry.
    ImmCarry {
        /// The carry stays: no rotation.
        Keep = "keep",
        /// The rotation shifted out 0.
        Clear = "clear",
        /// The rotation shifted out 1.
        Set = "set",
    }
}

names! {
    /// A shift. With an immediate amount: `Lsl` 0..=31, `Lsr` and `Asr` 1..=32, `Ror` 1..=31,
    /// `Rrx` 1.
    Shift {
        /// Logical left.
        Lsl = "lsl",
        /// Logical right.
        Lsr = "lsr",
        /// Arithmetic right.
        Asr = "asr",
        /// Rotate right.
        Ror = "ror",
        /// Rotate right by one through the carry.
        Rrx = "rrx",
    }
}

names! {
    /// A long multiply.
    LongOp {
        /// Unsigned.
        Umull = "umull",
        /// Unsigned, accumulating.
        Umlal = "umlal",
        /// Signed.
        Smull = "smull",
        /// Signed, accumulating.
        Smlal = "smlal",
    }
}

names! {
    /// A saturating add or subtract of Rm and Rn.
    QOp {
        /// sat(Rm + Rn).
        Qadd = "qadd",
        /// sat(Rm - Rn).
        Qsub = "qsub",
        /// sat(Rm + sat(2 * Rn)).
        Qdadd = "qdadd",
        /// sat(Rm - sat(2 * Rn)).
        Qdsub = "qdsub",
    }
}

names! {
    /// How a parallel operation treats its lanes.
    ParKind {
        /// Signed, sets GE.
        Signed = "s",
        /// Signed saturating.
        SignedSat = "q",
        /// Signed halving.
        SignedHalf = "sh",
        /// Unsigned, sets GE.
        Unsigned = "u",
        /// Unsigned saturating.
        UnsignedSat = "uq",
        /// Unsigned halving.
        UnsignedHalf = "uh",
    }
}

names! {
    /// A parallel operation on lanes of a core register.
    ParOp {
        /// Two halfword sums.
        Add16 = "add16",
        /// Exchange halfwords of Rm; subtract the low, add the high.
        Asx = "asx",
        /// Exchange halfwords of Rm; add the low, subtract the high.
        Sax = "sax",
        /// Two halfword differences.
        Sub16 = "sub16",
        /// Four byte sums.
        Add8 = "add8",
        /// Four byte differences.
        Sub8 = "sub8",
    }
}

names! {
    /// An extension.
    ExtendOp {
        /// Two bytes (0 and 2) to two signed halfwords.
        Sxtb16 = "sxtb16",
        /// Signed byte.
        Sxtb = "sxtb",
        /// Signed halfword.
        Sxth = "sxth",
        /// Two bytes (0 and 2) to two unsigned halfwords.
        Uxtb16 = "uxtb16",
        /// Unsigned byte.
        Uxtb = "uxtb",
        /// Unsigned halfword.
        Uxth = "uxth",
    }
}

names! {
    /// A reversal.
    RevOp {
        /// Bytes of the word.
        Rev = "rev",
        /// Bytes of each halfword.
        Rev16 = "rev16",
        /// Bytes of the low halfword, sign-extended.
        Revsh = "revsh",
        /// Bits of the word.
        Rbit = "rbit",
    }
}

names! {
    /// A load or store of one core register.
    MemOp {
        /// Store word.
        Str = "str",
        /// Store byte.
        Strb = "strb",
        /// Store halfword.
        Strh = "strh",
        /// Load word.
        Ldr = "ldr",
        /// Load byte.
        Ldrb = "ldrb",
        /// Load halfword.
        Ldrh = "ldrh",
        /// Load signed byte.
        Ldrsb = "ldrsb",
        /// Load signed halfword.
        Ldrsh = "ldrsh",
    }
}

impl MemOp {
    /// Returns whether it loads.
    pub const fn is_load(self) -> bool {
        !matches!(self, Self::Str | Self::Strb | Self::Strh)
    }

    /// Returns the number of bytes accessed: 1, 2 or 4.
    pub const fn size(self) -> u8 {
        match self {
            Self::Str | Self::Ldr => 4,
            Self::Strh | Self::Ldrh | Self::Ldrsh => 2,
            Self::Strb | Self::Ldrb | Self::Ldrsb => 1,
        }
    }
}

names! {
    /// How the address is formed and the base register written.
    Index {
        /// Base and offset, no writeback.
        Offset = "offset",
        /// Base and offset, written back.
        Pre = "pre",
        /// Base alone; base and offset written back.
        Post = "post",
    }
}

names! {
    /// The size of an exclusive access, in the order of the encoding.
    ExSize {
        /// A word.
        Word = "",
        /// Two words.
        Double = "d",
        /// A byte.
        Byte = "b",
        /// A halfword.
        Half = "h",
    }
}

names! {
    /// A preload hint.
    PreloadOp {
        /// For reading.
        Pld = "pld",
        /// For writing.
        Pldw = "pldw",
        /// For execution.
        Pli = "pli",
    }
}

names! {
    /// A hint.
    HintOp {
        /// None; also hints that are not allocated.
        Nop = "nop",
        /// Let others run.
        Yield = "yield",
        /// Wait for event.
        Wfe = "wfe",
        /// Wait for interrupt.
        Wfi = "wfi",
        /// Send event.
        Sev = "sev",
        /// Debug hint.
        Dbg = "dbg",
    }
}

names! {
    /// A barrier.
    BarrierOp {
        /// Data memory barrier.
        Dmb = "dmb",
        /// Data synchronization barrier.
        Dsb = "dsb",
        /// Instruction synchronization barrier.
        Isb = "isb",
    }
}

names! {
    /// Addressing of LDC and STC.
    CoprocIndex {
        /// Base and offset, no writeback.
        Offset = "offset",
        /// Base and offset, written back.
        Pre = "pre",
        /// Base alone; base and offset written back.
        Post = "post",
        /// Base alone; the immediate is an option for the coprocessor.
        Unindexed = "unindexed",
    }
}
