//! Instructions of the XMM registers: SSE and SSE2, and of SSE4.1 what [`Packed::needs_sse41`]
//! says. Operations have their opcodes behind 0x0f, or 0x0f 0x38.

use super::{Asm, Form, Gpr, Mem, Rm, Width};
use crate::jit::encodings::encodings;

/// A vector register, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Xmm {
    /// XMM0.
    X0 = 0,
    /// XMM1.
    X1 = 1,
    /// XMM2.
    X2 = 2,
    /// XMM3.
    X3 = 3,
    /// XMM4.
    X4 = 4,
    /// XMM5.
    X5 = 5,
    /// XMM6.
    X6 = 6,
    /// XMM7.
    X7 = 7,
}

impl Xmm {
    /// Returns it as the operand of an encoding: the general register of the same number.
    const fn rm(self) -> Rm {
        Rm::Reg(match self {
            Self::X0 => Gpr::Rax,
            Self::X1 => Gpr::Rcx,
            Self::X2 => Gpr::Rdx,
            Self::X3 => Gpr::Rbx,
            Self::X4 => Gpr::Rsp,
            Self::X5 => Gpr::Rbp,
            Self::X6 => Gpr::Rsi,
            Self::X7 => Gpr::Rdi,
        })
    }
}

encodings! {
    /// An operation on the lanes of two vectors. Those of 0x100 and above are of SSE4.1, or of
    /// SSSE3, which each host with SSE4.1 has.
    Packed: u16 {
        /// Interleaves the low bytes.
        UnpackLow8 = 0x60 "punpcklbw",
        /// Interleaves the low halfwords.
        UnpackLow16 = 0x61 "punpcklwd",
        /// Interleaves the low words.
        UnpackLow32 = 0x62 "punpckldq",
        /// Puts the low doublewords together.
        UnpackLow64 = 0x6c "punpcklqdq",
        /// Interleaves the high bytes.
        UnpackHigh8 = 0x68 "punpckhbw",
        /// Interleaves the high halfwords.
        UnpackHigh16 = 0x69 "punpckhwd",
        /// Interleaves the high words.
        UnpackHigh32 = 0x6a "punpckhdq",
        /// AND.
        And = 0xdb "pand",
        /// NOT the first AND the second.
        NotAnd = 0xdf "pandn",
        /// OR.
        Or = 0xeb "por",
        /// Exclusive OR.
        Xor = 0xef "pxor",
        /// Sum of bytes.
        Add8 = 0xfc "paddb",
        /// Sum of halfwords.
        Add16 = 0xfd "paddw",
        /// Sum of words.
        Add32 = 0xfe "paddd",
        /// Sum of doublewords.
        Add64 = 0xd4 "paddq",
        /// Difference of bytes.
        Sub8 = 0xf8 "psubb",
        /// Difference of halfwords.
        Sub16 = 0xf9 "psubw",
        /// Difference of words.
        Sub32 = 0xfa "psubd",
        /// Difference of doublewords.
        Sub64 = 0xfb "psubq",
        /// Low half of the products of halfwords.
        Mul16 = 0xd5 "pmullw",
        /// Low half of the products of words.
        Mul32 = 0x140 "pmulld",
        /// High half of the products of signed halfwords.
        MulHighS16 = 0xe5 "pmulhw",
        /// High half of the products of unsigned halfwords.
        MulHighU16 = 0xe4 "pmulhuw",
        /// Products of the signed low words of doublewords.
        MulLongS32 = 0x128 "pmuldq",
        /// Products of the unsigned low words of doublewords.
        MulLongU32 = 0xf4 "pmuludq",
        /// Saturated signed halfwords to signed bytes, of both vectors.
        PackS16 = 0x63 "packsswb",
        /// Saturated signed halfwords to unsigned bytes.
        PackU16 = 0x67 "packuswb",
        /// Saturated signed words to signed halfwords.
        PackS32 = 0x6b "packssdw",
        /// Saturated signed words to unsigned halfwords.
        PackU32 = 0x12b "packusdw",
        /// Saturated sum of signed bytes.
        LimitedAddS8 = 0xec "paddsb",
        /// Saturated sum of signed halfwords.
        LimitedAddS16 = 0xed "paddsw",
        /// Saturated sum of unsigned bytes.
        LimitedAddU8 = 0xdc "paddusb",
        /// Saturated sum of unsigned halfwords.
        LimitedAddU16 = 0xdd "paddusw",
        /// Saturated difference of signed bytes.
        LimitedSubS8 = 0xe8 "psubsb",
        /// Saturated difference of signed halfwords.
        LimitedSubS16 = 0xe9 "psubsw",
        /// Saturated difference of unsigned bytes.
        LimitedSubU8 = 0xd8 "psubusb",
        /// Saturated difference of unsigned halfwords.
        LimitedSubU16 = 0xd9 "psubusw",
        /// Equal bytes.
        Equal8 = 0x74 "pcmpeqb",
        /// Equal halfwords.
        Equal16 = 0x75 "pcmpeqw",
        /// Equal words.
        Equal32 = 0x76 "pcmpeqd",
        /// Equal doublewords.
        Equal64 = 0x129 "pcmpeqq",
        /// Greater signed bytes.
        Greater8 = 0x64 "pcmpgtb",
        /// Greater signed halfwords.
        Greater16 = 0x65 "pcmpgtw",
        /// Greater signed words.
        Greater32 = 0x66 "pcmpgtd",
        /// Rounded mean of unsigned bytes.
        Mean8 = 0xe0 "pavgb",
        /// Rounded mean of unsigned halfwords.
        Mean16 = 0xe3 "pavgw",
        /// Larger unsigned bytes.
        MaxU8 = 0xde "pmaxub",
        /// Larger unsigned halfwords.
        MaxU16 = 0x13e "pmaxuw",
        /// Larger unsigned words.
        MaxU32 = 0x13f "pmaxud",
        /// Larger signed bytes.
        MaxS8 = 0x13c "pmaxsb",
        /// Larger signed halfwords.
        MaxS16 = 0xee "pmaxsw",
        /// Larger signed words.
        MaxS32 = 0x13d "pmaxsd",
        /// Smaller unsigned bytes.
        MinU8 = 0xda "pminub",
        /// Smaller unsigned halfwords.
        MinU16 = 0x13a "pminuw",
        /// Smaller unsigned words.
        MinU32 = 0x13b "pminud",
        /// Smaller signed bytes.
        MinS8 = 0x138 "pminsb",
        /// Smaller signed halfwords.
        MinS16 = 0xea "pminsw",
        /// Smaller signed words.
        MinS32 = 0x139 "pminsd",
        /// Bytes of the first at the places that the second says; 0 where its sign is set.
        ShuffleBytes = 0x100 "pshufb",
        /// Changes no vector: ZF says whether they have no ones in common.
        Test = 0x117 "ptest",
    }
}

impl Packed {
    /// Returns whether it is part of SSE4.1, which not every x86-64 host has.
    pub const fn needs_sse41(self) -> bool {
        self as u16 >= 0x100
    }
}

encodings! {
    /// A shift of lanes by a constant: opcode, and its extension above. What is shifted by the
    /// width of the lanes or more becomes 0, or the sign.
    PackedShift: u16 {
        /// Halfwords to the right, with zeros.
        Right16 = 0x271 "psrlw",
        /// Words to the right, with zeros.
        Right32 = 0x272 "psrld",
        /// Doublewords to the right, with zeros.
        Right64 = 0x273 "psrlq",
        /// The quadword to the right, by bytes.
        Right128 = 0x373 "psrldq",
        /// Halfwords to the right, with signs.
        Signed16 = 0x471 "psraw",
        /// Words to the right, with signs.
        Signed32 = 0x472 "psrad",
        /// Halfwords to the left.
        Left16 = 0x671 "psllw",
        /// Words to the left.
        Left32 = 0x672 "pslld",
        /// Doublewords to the left.
        Left64 = 0x673 "psllq",
        /// The quadword to the left, by bytes.
        Left128 = 0x773 "pslldq",
    }
}

encodings! {
    /// A choice of lanes by a constant, two bits each: the prefix.
    Shuffle: u16 {
        /// Words.
        Words = 0x66 "pshufd",
        /// The halfwords of the low half; the others stay.
        LowHalfwords = 0xf2 "pshuflw",
        /// The halfwords of the high half; the others stay.
        HighHalfwords = 0xf3 "pshufhw",
    }
}

encodings! {
    /// An operation on the lowest numbers of two vectors.
    Scalar: u16 {
        /// Sum.
        Add = 0x58 "adds",
        /// Product.
        Mul = 0x59 "muls",
        /// Difference.
        Sub = 0x5c "subs",
        /// Quotient.
        Div = 0x5e "divs",
        /// Square root of the second.
        Sqrt = 0x51 "sqrts",
    }
}

encodings! {
    /// An operation on the single-precision numbers of two vectors.
    Singles: u16 {
        /// Sum.
        Add = 0x58 "addps",
        /// Product.
        Mul = 0x59 "mulps",
        /// Difference.
        Sub = 0x5c "subps",
        /// Smaller number; of zeros, the second.
        Min = 0x5d "minps",
        /// Larger number; of zeros, the second.
        Max = 0x5f "maxps",
    }
}

encodings! {
    /// A comparison of the single-precision numbers of two vectors.
    CompareSingles: u8 {
        /// Equal.
        Equal = 0 "cmpeqps",
        /// Less.
        Less = 1 "cmpltps",
        /// Less or equal.
        LessEqual = 2 "cmpleps",
        /// One is a NaN.
        Unordered = 3 "cmpunordps",
    }
}

encodings! {
    /// Arithmetic of three numbers that rounds once: of the lowest ones.
    Fused: u8 {
        /// The first plus the product of the others.
        Add = 0xb9 "vfmadd231",
        /// Minus the first, plus the product.
        NegatedSub = 0xbb "vfmsub231",
        /// The first minus the product.
        Sub = 0xbd "vfnmadd231",
        /// Minus the first, minus the product.
        NegatedAdd = 0xbf "vfnmsub231",
    }
}

const fn precision(double: bool) -> u8 {
    if double { 0xf2 } else { 0xf3 }
}

impl Asm {
    fn xmm(&mut self, prefix: Option<u8>, opcode: &[u8], width: Width, (reg, rm): (u8, Rm)) {
        let form = Form {
            prefix,
            ..Form::new(opcode, width)
        };
        self.modrm(&form, reg, rm);
    }

    /// MOVUPS, MOVQ or MOVD `d`, `s` of 16, 8 or 4 bytes; the rest of `d` becomes 0.
    pub fn load_vector(&mut self, bytes: u8, d: Xmm, s: Mem) {
        let (prefix, opcode) = match bytes {
            16 => (None, 0x10),
            8 => (Some(0xf3), 0x7e),
            _ => (Some(0x66), 0x6e),
        };
        let operands = (d as u8, Rm::Mem(s));
        self.xmm(prefix, &[0x0f, opcode], Width::Long, operands);
    }

    /// MOVUPS, MOVQ or MOVD `d`, `s` of 16, 8 or 4 bytes.
    pub fn store_vector(&mut self, bytes: u8, d: Mem, s: Xmm) {
        let (prefix, opcode) = match bytes {
            16 => (None, 0x11),
            8 => (Some(0x66), 0xd6),
            _ => (Some(0x66), 0x7e),
        };
        let operands = (s as u8, Rm::Mem(d));
        self.xmm(prefix, &[0x0f, opcode], Width::Long, operands);
    }

    /// MOVDQA `d`, `s`.
    pub fn copy_vector(&mut self, d: Xmm, s: Xmm) {
        let operands = (d as u8, s.rm());
        self.xmm(Some(0x66), &[0x0f, 0x6f], Width::Long, operands);
    }

    /// MOVD or MOVQ `d`, `s`; the rest of `d` becomes 0.
    pub fn set_vector(&mut self, width: Width, d: Xmm, s: Gpr) {
        self.xmm(Some(0x66), &[0x0f, 0x6e], width, (d as u8, Rm::Reg(s)));
    }

    /// MOVD or MOVQ `d`, `s`.
    pub fn get_vector(&mut self, width: Width, d: Gpr, s: Xmm) {
        self.xmm(Some(0x66), &[0x0f, 0x7e], width, (s as u8, Rm::Reg(d)));
    }

    /// PMOVMSKB `d`, `s`: the highest bit of each byte.
    pub fn high_bits(&mut self, d: Gpr, s: Xmm) {
        self.xmm(Some(0x66), &[0x0f, 0xd7], Width::Long, (d as u8, s.rm()));
    }

    /// `op` `d`, `s`.
    pub fn packed(&mut self, op: Packed, d: Xmm, s: Xmm) {
        let [opcode, map] = (op as u16).to_le_bytes();
        let (short, long) = ([0x0f, opcode], [0x0f, 0x38, opcode]);
        let opcode = if map == 0 { &short[..] } else { &long };
        self.xmm(Some(0x66), opcode, Width::Long, (d as u8, s.rm()));
    }

    /// `op` `d`, `amount`.
    pub fn packed_shift(&mut self, op: PackedShift, d: Xmm, amount: u8) {
        let [opcode, extension] = (op as u16).to_le_bytes();
        self.xmm(
            Some(0x66),
            &[0x0f, opcode],
            Width::Long,
            (extension, d.rm()),
        );
        self.byte(amount);
    }

    /// `kind` `d`, `s`, `choice`: two bits for each lane, lowest first.
    pub fn shuffle(&mut self, kind: Shuffle, d: Xmm, s: Xmm, choice: u8) {
        let [prefix, _] = (kind as u16).to_le_bytes();
        self.xmm(Some(prefix), &[0x0f, 0x70], Width::Long, (d as u8, s.rm()));
        self.byte(choice);
    }

    /// SHUFPS `d`, `s`, `choice`: two words of `d` below two of `s`.
    pub fn shuffle_two(&mut self, d: Xmm, s: Xmm, choice: u8) {
        self.xmm(None, &[0x0f, 0xc6], Width::Long, (d as u8, s.rm()));
        self.byte(choice);
    }

    /// `op` of double- or single-precision numbers: `d`, `s`.
    pub fn scalar(&mut self, double: bool, op: Scalar, d: Xmm, s: Xmm) {
        let [opcode, _] = (op as u16).to_le_bytes();
        let prefix = Some(precision(double));
        self.xmm(prefix, &[0x0f, opcode], Width::Long, (d as u8, s.rm()));
    }

    /// `op` `d`, `s`.
    pub fn singles(&mut self, op: Singles, d: Xmm, s: Xmm) {
        let [opcode, _] = (op as u16).to_le_bytes();
        self.xmm(None, &[0x0f, opcode], Width::Long, (d as u8, s.rm()));
    }

    /// CMPPS `d`, `s`: lanes of ones where it holds.
    pub fn compare_singles(&mut self, op: CompareSingles, d: Xmm, s: Xmm) {
        self.xmm(None, &[0x0f, 0xc2], Width::Long, (d as u8, s.rm()));
        self.byte(op as u8);
    }

    /// CVTTPS2DQ `d`, `s`.
    pub fn singles_to_words(&mut self, d: Xmm, s: Xmm) {
        self.xmm(Some(0xf3), &[0x0f, 0x5b], Width::Long, (d as u8, s.rm()));
    }

    /// CVTDQ2PS `d`, `s`.
    pub fn words_to_singles(&mut self, d: Xmm, s: Xmm) {
        self.xmm(None, &[0x0f, 0x5b], Width::Long, (d as u8, s.rm()));
    }

    /// `op` `d`, `n`, `m` of the lowest numbers.
    pub fn fused(&mut self, double: bool, op: Fused, d: Xmm, n: Xmm, m: Xmm) {
        self.vex(op as u8, double, d, n, m);
    }

    /// `op` `d`, `n`, `m` of all single-precision numbers.
    pub fn fused_singles(&mut self, op: Fused, d: Xmm, n: Xmm, m: Xmm) {
        // The form of all numbers is the one before.
        self.vex(op as u8 - 1, false, d, n, m);
    }

    /// Writes an instruction of three vectors with the prefix that stands for 0x66 0x0f 0x38.
    fn vex(&mut self, opcode: u8, wide: bool, d: Xmm, n: Xmm, m: Xmm) {
        let third = u8::from(wide) << 7 | (!(n as u8) & 15) << 3 | 1;
        self.bytes.extend([0xc4, 0xe2, third, opcode]);
        self.operand(d as u8, m.rm());
    }

    /// CVTSD2SS or, to `double`, CVTSS2SD `d`, `s`.
    pub fn convert_precision(&mut self, double: bool, d: Xmm, s: Xmm) {
        let prefix = Some(precision(!double));
        self.xmm(prefix, &[0x0f, 0x5a], Width::Long, (d as u8, s.rm()));
    }

    /// CVTSI2SD or CVTSI2SS `d`, `s` of 4 or 8 bytes.
    pub fn convert_from_integer(&mut self, double: bool, width: Width, d: Xmm, s: Gpr) {
        let prefix = Some(precision(double));
        self.xmm(prefix, &[0x0f, 0x2a], width, (d as u8, Rm::Reg(s)));
    }

    /// CVTTSD2SI or CVTTSS2SI `d`, `s`, or with `round` CVTSD2SI or CVTSS2SI, to 8 bytes.
    pub fn convert_to_integer(&mut self, double: bool, round: bool, d: Gpr, s: Xmm) {
        let opcode = if round { 0x2d } else { 0x2c };
        let prefix = Some(precision(double));
        self.xmm(prefix, &[0x0f, opcode], Width::Quad, (d as u8, s.rm()));
    }

    /// UCOMISD or UCOMISS `x`, `y`: CF if less, ZF if equal, both and PF if unordered.
    pub fn compare_scalars(&mut self, double: bool, x: Xmm, y: Xmm) {
        let prefix = double.then_some(0x66);
        self.xmm(prefix, &[0x0f, 0x2e], Width::Long, (x as u8, y.rm()));
    }

    /// CMOVcc `d`, `s`.
    pub fn move_if(&mut self, cc: super::Cc, d: Gpr, s: Gpr) {
        let opcode = [0x0f, 0x40 | cc as u8];
        self.modrm(&Form::new(&opcode, Width::Long), d as u8, Rm::Reg(s));
    }
}
