//! What instructions of vectors do, by the words that stand for it.

use crate::jit::encodings::encodings;

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
        /// Saturating sum.
        LimitedAdd = 0x0e20_0c00 "sqadd",
        /// Saturating difference.
        LimitedSub = 0x0e20_2c00 "sqsub",
        /// Saturating shift by a register.
        LimitedShift = 0x0e20_4c00 "sqshl",
        /// Saturating rounding shift by a register.
        LimitedRoundingShift = 0x0e20_5c00 "sqrshl",
        /// High half of twice the product.
        DoubledHigh = 0x0e20_b400 "sqdmulh",
        /// The same, rounded.
        DoubledHighRounded = 0x2e20_b400 "sqrdmulh",
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
                | Self::LimitedAdd
                | Self::LimitedSub
                | Self::LimitedShift
                | Self::LimitedRoundingShift
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
        /// Twice the long product, added to the result.
        DoubledAddLong = 0x0e20_9000 "sqdmlal",
        /// Twice the long product, taken from the result.
        DoubledSubLong = 0x0e20_b000 "sqdmlsl",
        /// Twice the long product.
        DoubledLong = 0x0e20_d000 "sqdmull",
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
        /// Saturating absolute value.
        LimitedAbsolute = 0x0e20_7800 "sqabs",
        /// Saturating negation.
        LimitedNegate = 0x2e20_7800 "sqneg",
        /// Lanes of twice the size, saturated.
        LimitedNarrow = 0x0e21_4800 "sqxtn",
        /// Signed lanes of twice the size, saturated to unsigned ones.
        LimitedNarrowUnsigned = 0x2e21_2800 "sqxtun",
    }
}

impl One {
    /// Returns whether the lanes of the result are of half the size.
    pub const fn narrows(self) -> bool {
        matches!(
            self,
            Self::Narrow | Self::LimitedNarrow | Self::LimitedNarrowUnsigned
        )
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
        /// To the left, saturating.
        LimitedLeft = 0x0f00_7400 "sqshl",
        /// Signed lanes to the left, saturated to unsigned ones.
        LimitedLeftUnsigned = 0x2f00_6400 "sqshlu",
        /// To the right, saturated into lanes of half the size.
        LimitedNarrow = 0x0f00_9400 "sqshrn",
        /// The same, rounded.
        LimitedNarrowRounded = 0x0f00_9c00 "sqrshrn",
        /// Signed lanes to the right, saturated into unsigned ones of half the size.
        LimitedNarrowUnsigned = 0x2f00_8400 "sqshrun",
        /// The same, rounded.
        LimitedNarrowUnsignedRounded = 0x2f00_8c00 "sqrshrun",
    }
}

impl Shift {
    /// Returns whether it is one to the left.
    pub const fn is_left(self) -> bool {
        matches!(
            self,
            Self::Left
                | Self::LeftInsert
                | Self::LeftLong
                | Self::LimitedLeft
                | Self::LimitedLeftUnsigned
        )
    }

    /// Returns whether the lanes of the result are of half the size.
    pub const fn narrows(self) -> bool {
        matches!(
            self,
            Self::RightNarrow
                | Self::RightNarrowRounded
                | Self::LimitedNarrow
                | Self::LimitedNarrowRounded
                | Self::LimitedNarrowUnsigned
                | Self::LimitedNarrowUnsignedRounded
        )
    }

    /// Returns whether bit 29 chooses unsigned lanes.
    pub const fn has_unsigned(self) -> bool {
        matches!(
            self,
            Self::Right
                | Self::RightAdd
                | Self::RightRounded
                | Self::RightRoundedAdd
                | Self::LeftLong
                | Self::LimitedLeft
                | Self::LimitedNarrow
                | Self::LimitedNarrowRounded
        )
    }
}

encodings! {
    /// An operation on four single-precision numbers in each of two vectors.
    Singles: u32 {
        /// Sum.
        Add = 0x4e20_d400 "fadd",
        /// Difference.
        Sub = 0x4ea0_d400 "fsub",
        /// Product.
        Multiply = 0x6e20_dc00 "fmul",
        /// Product, added to the result, rounded once.
        FusedAdd = 0x4e20_cc00 "fmla",
        /// Product, taken from the result, rounded once.
        FusedSub = 0x4ea0_cc00 "fmls",
        /// Larger number.
        Max = 0x4e20_f400 "fmax",
        /// Smaller number.
        Min = 0x4ea0_f400 "fmin",
        /// Equal.
        Equal = 0x4e20_e400 "fcmeq",
        /// Greater or equal.
        GreaterEqual = 0x6e20_e400 "fcmge",
        /// Greater.
        Greater = 0x6ea0_e400 "fcmgt",
    }
}

encodings! {
    /// An operation on four single-precision numbers of one vector.
    SinglesOne: u32 {
        /// Magnitudes.
        Absolute = 0x4ea0_f800 "fabs",
        /// Changes signs.
        Negate = 0x6ea0_f800 "fneg",
        /// Signed words, towards zero.
        ToWords = 0x4ea1_b800 "fcvtzs",
        /// Signed words to numbers.
        FromWords = 0x4e21_d800 "scvtf",
        /// Unsigned words to numbers.
        FromUnsigned = 0x6e21_d800 "ucvtf",
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
