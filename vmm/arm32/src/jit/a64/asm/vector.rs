//! Instructions of the SIMD and floating-point registers (ARM ARM DDI 0487, C4.1 for the groups,
//! C7.2 for each). Operations have their words without registers and sizes.

use super::{Asm, Gpr, Mem, Width};
use crate::jit::encodings::encodings;

/// A SIMD and floating-point register, by its number. Functions need not leave these three as they
/// were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Vector {
    /// V0.
    V0 = 0,
    /// V1.
    V1 = 1,
    /// V2.
    V2 = 2,
}

impl Vector {
    const fn number(self) -> u32 {
        self as u32
    }
}

encodings! {
    /// An operation on the lanes of two vectors. Where there is an unsigned form, bit 29 says so.
    Lanes: u32 {
        /// Halving addition.
        HalvingAdd = 0x0e20_0400 "shadd",
        /// Halving addition, rounded.
        MeanUp = 0x0e20_1400 "srhadd",
        /// Halving subtraction.
        HalvingSub = 0x0e20_2400 "shsub",
        /// Greater.
        Greater = 0x0e20_3400 "cmgt",
        /// Greater or equal.
        GreaterEqual = 0x0e20_3c00 "cmge",
        /// Shift by a register.
        Shift = 0x0e20_4400 "sshl",
        /// Rounding shift by a register.
        RoundingShift = 0x0e20_5400 "srshl",
        /// Maximum.
        Max = 0x0e20_6400 "smax",
        /// Minimum.
        Min = 0x0e20_6c00 "smin",
        /// Absolute difference.
        Difference = 0x0e20_7400 "sabd",
        /// Absolute difference, added to the result.
        AddDifference = 0x0e20_7c00 "saba",
        /// Sum.
        Add = 0x0e20_8400 "add",
        /// Difference.
        Sub = 0x2e20_8400 "sub",
        /// Tests bits.
        Test = 0x0e20_8c00 "cmtst",
        /// Equal.
        Equal = 0x2e20_8c00 "cmeq",
        /// Product, added to the result.
        MultiplyAdd = 0x0e20_9400 "mla",
        /// Product, taken from the result.
        MultiplySub = 0x2e20_9400 "mls",
        /// Product.
        Multiply = 0x0e20_9c00 "mul",
        /// Maximum of neighbours.
        MaxPairs = 0x0e20_a400 "smaxp",
        /// Minimum of neighbours.
        MinPairs = 0x0e20_ac00 "sminp",
        /// Sum of neighbours.
        AddPairs = 0x0e20_bc00 "addp",
        /// The even lanes of both.
        Unzip1 = 0x0e00_1800 "uzp1",
        /// The odd lanes of both.
        Unzip2 = 0x0e00_5800 "uzp2",
        /// The even lanes, by turns.
        Transpose1 = 0x0e00_2800 "trn1",
        /// The odd lanes, by turns.
        Transpose2 = 0x0e00_6800 "trn2",
        /// The low lanes, by turns.
        Zip1 = 0x0e00_3800 "zip1",
        /// The high lanes, by turns.
        Zip2 = 0x0e00_7800 "zip2",
    }
}

impl Lanes {
    /// Returns whether bit 29 chooses unsigned lanes.
    #[cfg(test)]
    pub const fn has_unsigned(self) -> bool {
        matches!(
            self,
            Self::HalvingAdd
                | Self::MeanUp
                | Self::HalvingSub
                | Self::Shift
                | Self::RoundingShift
                | Self::Max
                | Self::Min
                | Self::Difference
                | Self::AddDifference
                | Self::MaxPairs
                | Self::MinPairs
        )
    }
}

encodings! {
    /// An operation on the bits of two vectors.
    Bits: u32 {
        /// AND.
        And = 0x0e20_1c00 "and",
        /// AND NOT.
        AndNot = 0x0e60_1c00 "bic",
        /// OR.
        Or = 0x0ea0_1c00 "orr",
        /// OR NOT.
        OrNot = 0x0ee0_1c00 "orn",
        /// Exclusive OR.
        Xor = 0x2e20_1c00 "eor",
        /// Selects by the result.
        Select = 0x2e60_1c00 "bsl",
        /// Inserts where the second operand is one.
        InsertTrue = 0x2ea0_1c00 "bit",
        /// Inserts where the second operand is zero.
        InsertFalse = 0x2ee0_1c00 "bif",
    }
}

encodings! {
    /// An operation on vectors of different lengths: to lanes of twice the size, or of half.
    Different: u32 {
        /// Long addition.
        AddLong = 0x0e20_0000 "saddl",
        /// Addition to a wide operand.
        AddWide = 0x0e20_1000 "saddw",
        /// Long subtraction.
        SubLong = 0x0e20_2000 "ssubl",
        /// Subtraction from a wide operand.
        SubWide = 0x0e20_3000 "ssubw",
        /// High half of a sum.
        AddHigh = 0x0e20_4000 "addhn",
        /// High half of a sum, rounded.
        AddHighRounded = 0x2e20_4000 "raddhn",
        /// Long absolute difference, added to the result.
        AddDifferenceLong = 0x0e20_5000 "sabal",
        /// High half of a difference.
        SubHigh = 0x0e20_6000 "subhn",
        /// High half of a difference, rounded.
        SubHighRounded = 0x2e20_6000 "rsubhn",
        /// Long absolute difference.
        DifferenceLong = 0x0e20_7000 "sabdl",
        /// Long product, added to the result.
        MultiplyAddLong = 0x0e20_8000 "smlal",
        /// Long product, taken from the result.
        MultiplySubLong = 0x0e20_a000 "smlsl",
        /// Long product.
        MultiplyLong = 0x0e20_c000 "smull",
    }
}

encodings! {
    /// An operation on the lanes of one vector.
    One: u32 {
        /// Reverses lanes within doublewords.
        Reverse64 = 0x0e20_0800 "rev64",
        /// Reverses lanes within words.
        Reverse32 = 0x2e20_0800 "rev32",
        /// Reverses bytes within halfwords.
        Reverse16 = 0x0e20_1800 "rev16",
        /// Sum of neighbours, in lanes of twice the size.
        AddPairsLong = 0x0e20_2800 "saddlp",
        /// The same, added to the result.
        AddPairsLongTo = 0x0e20_6800 "sadalp",
        /// Counts leading sign bits.
        LeadingSigns = 0x0e20_4800 "cls",
        /// Counts leading zeros.
        LeadingZeros = 0x2e20_4800 "clz",
        /// Counts the ones of bytes.
        Ones = 0x0e20_5800 "cnt",
        /// Complement, of bytes.
        Not = 0x2e20_5800 "mvn",
        /// Absolute value.
        Absolute = 0x0e20_b800 "abs",
        /// Negation.
        Negate = 0x2e20_b800 "neg",
        /// The low halves of lanes of twice the size.
        Narrow = 0x0e21_2800 "xtn",
    }
}

encodings! {
    /// A comparison of lanes with zero.
    Zero: u32 {
        /// Greater.
        Greater = 0x0e20_8800 "cmgt",
        /// Greater or equal.
        GreaterEqual = 0x2e20_8800 "cmge",
        /// Equal.
        Equal = 0x0e20_9800 "cmeq",
        /// Less or equal.
        LessEqual = 0x2e20_9800 "cmle",
        /// Less.
        Less = 0x0e20_a800 "cmlt",
    }
}

encodings! {
    /// A shift of lanes by a constant. Where there is an unsigned form, bit 29 says so.
    Shift: u32 {
        /// To the right.
        Right = 0x0f00_0400 "sshr",
        /// To the right, added to the result.
        RightAdd = 0x0f00_1400 "ssra",
        /// To the right, rounded.
        RightRounded = 0x0f00_2400 "srshr",
        /// To the right, rounded, added to the result.
        RightRoundedAdd = 0x0f00_3400 "srsra",
        /// To the right, inserted.
        RightInsert = 0x2f00_4400 "sri",
        /// To the left.
        Left = 0x0f00_5400 "shl",
        /// To the left, inserted.
        LeftInsert = 0x2f00_5400 "sli",
        /// To the right, into lanes of half the size.
        RightNarrow = 0x0f00_8400 "shrn",
        /// The same, rounded.
        RightNarrowRounded = 0x0f00_8c00 "rshrn",
        /// To the left, into lanes of twice the size.
        LeftLong = 0x0f00_a400 "sshll",
    }
}

impl Shift {
    /// Returns whether it is one to the left.
    pub const fn is_left(self) -> bool {
        matches!(self, Self::Left | Self::LeftInsert | Self::LeftLong)
    }
}

encodings! {
    /// Arithmetic of single-precision numbers; bit 22 chooses double precision.
    Scalar: u32 {
        /// Product.
        Multiply = 0x1e20_0800 "fmul",
        /// Quotient.
        Divide = 0x1e20_1800 "fdiv",
        /// Sum.
        Add = 0x1e20_2800 "fadd",
        /// Difference.
        Sub = 0x1e20_3800 "fsub",
    }
}

encodings! {
    /// Arithmetic of three numbers that rounds once.
    Fused: u32 {
        /// The third plus the product of the others.
        Add = 0x1f00_0000 "fmadd",
        /// The third minus the product.
        Sub = 0x1f00_8000 "fmsub",
        /// Minus the third, minus the product.
        NegatedAdd = 0x1f20_0000 "fnmadd",
        /// Minus the third, plus the product.
        NegatedSub = 0x1f20_8000 "fnmsub",
    }
}

encodings! {
    /// An operation on one number.
    ScalarOne: u32 {
        /// Absolute value.
        Absolute = 0x1e20_c000 "fabs",
        /// Negation.
        Negate = 0x1e21_4000 "fneg",
        /// Square root.
        Root = 0x1e21_c000 "fsqrt",
    }
}

impl Asm {
    /// Writes an instruction with vectors `d`, `n` and `m`.
    fn three(&mut self, word: u32, d: Vector, n: Vector, m: Vector) {
        self.two(word | m.number() << 16, d, n);
    }

    fn two(&mut self, word: u32, d: Vector, n: Vector) {
        self.word(word | n.number() << 5 | d.number());
    }

    /// LDR or STR of 4, 8 or 16 bytes at a register plus a constant, a multiple of the size.
    pub fn vector_access(&mut self, load: bool, bytes: u8, t: Vector, at: Mem) {
        // Size, in bits 31:30, and bit 23, which says that it is 16 bytes.
        let (size, wide) = match bytes {
            4 => (2, 0),
            8 => (3, 0),
            _ => (0, 1),
        };
        let word = size << 30 | wide << 23 | u32::from(load) << 22;
        let (word, base) = match at {
            Mem::Base(base, offset) => {
                let scaled = offset / u32::from(bytes);
                debug_assert!(scaled * u32::from(bytes) == offset && scaled < 0x1000);
                (0x3d00_0000 | word | scaled << 10, base)
            }
            Mem::Sum(base, index) => (0x3c20_4800 | word | index.number() << 16, base),
        };
        self.word(word | base.number() << 5 | t.number());
    }

    /// An operation on lanes of 2^`size` bytes, perhaps unsigned ones, of all 16 bytes (`q`) or of
    /// the low 8.
    pub fn lanes(
        &mut self,
        op: Lanes,
        (q, unsigned, size): (bool, bool, u8),
        d: Vector,
        n: Vector,
        m: Vector,
    ) {
        let word = op as u32 | u32::from(q) << 30 | u32::from(unsigned) << 29;
        self.three(word | u32::from(size) << 22, d, n, m);
    }

    /// An operation on all 128 bits.
    pub fn bits(&mut self, op: Bits, d: Vector, n: Vector, m: Vector) {
        self.three(op as u32 | 1 << 30, d, n, m);
    }

    /// An operation whose narrow lanes are of 2^`size` bytes, the low ones of their registers.
    pub fn different(
        &mut self,
        op: Different,
        (unsigned, size): (bool, u8),
        d: Vector,
        n: Vector,
        m: Vector,
    ) {
        let word = op as u32 | u32::from(unsigned) << 29 | u32::from(size) << 22;
        self.three(word, d, n, m);
    }

    /// An operation on lanes of 2^`size` bytes, all 16 bytes but for those that narrow.
    pub fn one(&mut self, op: One, (unsigned, size): (bool, u8), d: Vector, n: Vector) {
        let wide = u32::from(op != One::Narrow) << 30;
        let word = op as u32 | wide | u32::from(unsigned) << 29 | u32::from(size) << 22;
        self.two(word, d, n);
    }

    /// Compares all lanes with zero.
    pub fn against_zero(&mut self, op: Zero, size: u8, d: Vector, n: Vector) {
        self.two(op as u32 | 1 << 30 | u32::from(size) << 22, d, n);
    }

    /// Shifts lanes of 2^`size` bytes: all, or the low ones into wider lanes, or all of twice the
    /// size into the low ones. `by`: 1 to their size to the right, less than their size to the
    /// left.
    pub fn shift_lanes(
        &mut self,
        op: Shift,
        (unsigned, size): (bool, u8),
        by: u8,
        d: Vector,
        n: Vector,
    ) {
        let width = 8u32 << size;
        let by = u32::from(by);
        let place = if op.is_left() {
            width + by
        } else {
            2 * width - by
        };
        let halves = matches!(
            op,
            Shift::RightNarrow | Shift::RightNarrowRounded | Shift::LeftLong
        );
        let wide = u32::from(!halves) << 30;
        let word = op as u32 | wide | u32::from(unsigned) << 29 | place << 16;
        self.two(word, d, n);
    }

    /// EXT: bytes of `n` and then `m`, from byte `from` on, 16 of them or 8.
    pub fn extract_bytes(&mut self, q: bool, from: u8, d: Vector, n: Vector, m: Vector) {
        let word = 0x2e00_0000 | u32::from(q) << 30 | u32::from(from) << 11;
        self.three(word, d, n, m);
    }

    /// DUP of lane `lane` to all 16 bytes.
    pub fn duplicate_lane(&mut self, size: u8, lane: u8, d: Vector, n: Vector) {
        let place = (2 * u32::from(lane) + 1) << size;
        self.two(0x4e00_0400 | place << 16, d, n);
    }

    /// DUP of the low bytes of a general register to all 16 bytes.
    pub fn duplicate(&mut self, size: u8, d: Vector, n: Gpr) {
        let word = 0x4e00_0c00 | 1 << size << 16;
        self.word(word | n.number() << 5 | d.number());
    }

    /// UMOV of a word.
    pub fn get_word(&mut self, d: Gpr, n: Vector, lane: u8) {
        let place = (2 * u32::from(lane) + 1) << 2;
        self.word(0x0e00_3c00 | place << 16 | n.number() << 5 | d.number());
    }

    /// FMOV from a general register, a word or a doubleword.
    pub fn set_scalar(&mut self, width: Width, d: Vector, n: Gpr) {
        let word = match width {
            Width::Word => 0x1e27_0000,
            Width::Double => 0x9e67_0000,
        };
        self.word(word | n.number() << 5 | d.number());
    }

    /// Arithmetic of two numbers.
    pub fn scalar(&mut self, double: bool, op: Scalar, d: Vector, n: Vector, m: Vector) {
        self.three(op as u32 | u32::from(double) << 22, d, n, m);
    }

    /// Arithmetic of `n`, `m` and a third number `a`.
    pub fn fused(
        &mut self,
        double: bool,
        op: Fused,
        d: Vector,
        (n, m): (Vector, Vector),
        a: Vector,
    ) {
        let word = op as u32 | u32::from(double) << 22 | a.number() << 10;
        self.three(word, d, n, m);
    }

    /// An operation on one number.
    pub fn scalar_one(&mut self, double: bool, op: ScalarOne, d: Vector, n: Vector) {
        self.two(op as u32 | u32::from(double) << 22, d, n);
    }

    /// FCVT between the precisions.
    pub fn convert_precision(&mut self, to_double: bool, d: Vector, n: Vector) {
        let word = if to_double { 0x1e22_c000 } else { 0x1e62_4000 };
        self.two(word, d, n);
    }

    /// FCMP.
    pub fn compare_scalars(&mut self, double: bool, n: Vector, m: Vector) {
        let word = 0x1e20_2000 | u32::from(double) << 22 | m.number() << 16;
        self.word(word | n.number() << 5);
    }

    /// FCMP with zero.
    pub fn compare_zero(&mut self, double: bool, n: Vector) {
        self.word(0x1e20_2008 | u32::from(double) << 22 | n.number() << 5);
    }

    /// FCVTNS or FCVTZS: a number to 64 bits, rounded to nearest or towards zero.
    pub fn convert_to_integer(&mut self, double: bool, nearest: bool, d: Gpr, n: Vector) {
        let word = if nearest { 0x9e20_0000 } else { 0x9e38_0000 };
        let word = word | u32::from(double) << 22;
        self.word(word | n.number() << 5 | d.number());
    }

    /// SCVTF or UCVTF of a word.
    pub fn convert_from_integer(&mut self, double: bool, unsigned: bool, d: Vector, n: Gpr) {
        let word = 0x1e22_0000 | u32::from(unsigned) << 16 | u32::from(double) << 22;
        self.word(word | n.number() << 5 | d.number());
    }

    /// MRS of the condition flags, to bits 31:28.
    pub fn read_flags(&mut self, t: Gpr) {
        self.word(0xd53b_4200 | t.number());
    }
}
