//! Operand types of VFP and Advanced SIMD instructions, and how they are written.

mod operands;
mod text;

use crate::types::names;
pub(crate) use operands::*;
pub use operands::{expand_double, expand_single};
pub(crate) use text::*;

names! {
    /// A VFP operation with three registers.
    VfpOp {
        /// Rd + Rn * Rm, rounded twice.
        Vmla = "vmla",
        /// Rd - Rn * Rm, rounded twice.
        Vmls = "vmls",
        /// -Rd - Rn * Rm, rounded twice.
        Vnmla = "vnmla",
        /// -Rd + Rn * Rm, rounded twice.
        Vnmls = "vnmls",
        /// Rn * Rm.
        Vmul = "vmul",
        /// -(Rn * Rm).
        Vnmul = "vnmul",
        /// Rn + Rm.
        Vadd = "vadd",
        /// Rn - Rm.
        Vsub = "vsub",
        /// Rn / Rm.
        Vdiv = "vdiv",
        /// Rd + Rn * Rm, rounded once.
        Vfma = "vfma",
        /// Rd - Rn * Rm, rounded once.
        Vfms = "vfms",
        /// -Rd - Rn * Rm, rounded once.
        Vfnma = "vfnma",
        /// -Rd + Rn * Rm, rounded once.
        Vfnms = "vfnms",
    }
}

names! {
    /// A VFP operation with two registers.
    VfpUnaryOp {
        /// Copies.
        Vmov = "vmov",
        /// Clears the sign.
        Vabs = "vabs",
        /// Changes the sign.
        Vneg = "vneg",
        /// Square root.
        Vsqrt = "vsqrt",
    }
}

names! {
    /// The addressing of VLDM and VSTM.
    FpMultiple {
        /// Increment after, base unchanged.
        Ia = "ia",
        /// Increment after, base written back.
        IaWriteback = "ia!",
        /// Decrement before, base written back.
        DbWriteback = "db!",
    }
}

/// What the lanes of an operation are, for its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// No type: bitwise.
    Bits,
    /// Only a size.
    Size,
    /// Integers whose sign does not matter.
    Int,
    /// Signed or unsigned integers.
    Signed,
    /// Always signed integers.
    AlwaysSigned,
    /// Polynomials over {0, 1}.
    Poly,
    /// Single-precision numbers.
    Float,
}

/// Declares operations with the kind of their lanes.
macro_rules! typed_names {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal $lanes:ident),+ $(,)? }) => {
        names! { $(#[$meta])* $name { $($(#[$vmeta])* $variant = $text),+ } }

        impl $name {
            /// Returns what its lanes are.
            pub const fn lanes(self) -> Lanes {
                match self {
                    $(Self::$variant => Lanes::$lanes),+
                }
            }
        }
    };
}

typed_names! {
    /// An Advanced SIMD operation on three registers of the same length.
    Neon3Op {
        /// Halving addition.
        Vhadd = "vhadd" Signed,
        /// Saturating addition.
        Vqadd = "vqadd" Signed,
        /// Halving addition, rounded.
        Vrhadd = "vrhadd" Signed,
        /// AND.
        Vand = "vand" Bits,
        /// AND NOT.
        Vbic = "vbic" Bits,
        /// OR.
        Vorr = "vorr" Bits,
        /// OR NOT.
        Vorn = "vorn" Bits,
        /// Exclusive OR.
        Veor = "veor" Bits,
        /// Select by the destination.
        Vbsl = "vbsl" Bits,
        /// Insert where the second operand is one.
        Vbit = "vbit" Bits,
        /// Insert where the second operand is zero.
        Vbif = "vbif" Bits,
        /// Halving subtraction.
        Vhsub = "vhsub" Signed,
        /// Saturating subtraction.
        Vqsub = "vqsub" Signed,
        /// Greater.
        Vcgt = "vcgt" Signed,
        /// Greater or equal.
        Vcge = "vcge" Signed,
        /// Shift by register.
        Vshl = "vshl" Signed,
        /// Saturating shift by register.
        Vqshl = "vqshl" Signed,
        /// Rounding shift by register.
        Vrshl = "vrshl" Signed,
        /// Saturating rounding shift by register.
        Vqrshl = "vqrshl" Signed,
        /// Maximum.
        Vmax = "vmax" Signed,
        /// Minimum.
        Vmin = "vmin" Signed,
        /// Absolute difference.
        Vabd = "vabd" Signed,
        /// Absolute difference, accumulated.
        Vaba = "vaba" Signed,
        /// Addition.
        Vadd = "vadd" Int,
        /// Subtraction.
        Vsub = "vsub" Int,
        /// Test bits.
        Vtst = "vtst" Size,
        /// Equal.
        Vceq = "vceq" Int,
        /// Multiply and accumulate.
        Vmla = "vmla" Int,
        /// Multiply and subtract.
        Vmls = "vmls" Int,
        /// Multiplication.
        Vmul = "vmul" Int,
        /// Polynomial multiplication.
        VmulP = "vmul" Poly,
        /// Pairwise maximum.
        Vpmax = "vpmax" Signed,
        /// Pairwise minimum.
        Vpmin = "vpmin" Signed,
        /// Saturating doubling multiplication, high half.
        Vqdmulh = "vqdmulh" AlwaysSigned,
        /// The same, rounded.
        Vqrdmulh = "vqrdmulh" AlwaysSigned,
        /// Pairwise addition.
        Vpadd = "vpadd" Int,
        /// Fused multiply and accumulate.
        VfmaF = "vfma" Float,
        /// Fused multiply and subtract.
        VfmsF = "vfms" Float,
        /// Addition.
        VaddF = "vadd" Float,
        /// Subtraction.
        VsubF = "vsub" Float,
        /// Pairwise addition.
        VpaddF = "vpadd" Float,
        /// Absolute difference.
        VabdF = "vabd" Float,
        /// Multiply and accumulate.
        VmlaF = "vmla" Float,
        /// Multiply and subtract.
        VmlsF = "vmls" Float,
        /// Multiplication.
        VmulF = "vmul" Float,
        /// Equal.
        VceqF = "vceq" Float,
        /// Greater or equal.
        VcgeF = "vcge" Float,
        /// Greater.
        VcgtF = "vcgt" Float,
        /// Greater or equal in magnitude.
        VacgeF = "vacge" Float,
        /// Greater in magnitude.
        VacgtF = "vacgt" Float,
        /// Maximum.
        VmaxF = "vmax" Float,
        /// Minimum.
        VminF = "vmin" Float,
        /// Pairwise maximum.
        VpmaxF = "vpmax" Float,
        /// Pairwise minimum.
        VpminF = "vpmin" Float,
        /// Reciprocal step.
        VrecpsF = "vrecps" Float,
        /// Reciprocal square root step.
        VrsqrtsF = "vrsqrts" Float,
    }
}

typed_names! {
    /// An Advanced SIMD operation on registers of different lengths.
    NeonDiffOp {
        /// Long addition: quadword from doublewords.
        Vaddl = "vaddl" Signed,
        /// Wide addition: quadword and doubleword.
        Vaddw = "vaddw" Signed,
        /// Long subtraction.
        Vsubl = "vsubl" Signed,
        /// Wide subtraction.
        Vsubw = "vsubw" Signed,
        /// High half of a sum: doubleword from quadwords.
        Vaddhn = "vaddhn" Int,
        /// High half of a sum, rounded.
        Vraddhn = "vraddhn" Int,
        /// High half of a difference.
        Vsubhn = "vsubhn" Int,
        /// High half of a difference, rounded.
        Vrsubhn = "vrsubhn" Int,
        /// Long absolute difference, accumulated.
        Vabal = "vabal" Signed,
        /// Long absolute difference.
        Vabdl = "vabdl" Signed,
        /// Long multiply and accumulate.
        Vmlal = "vmlal" Signed,
        /// Long multiply and subtract.
        Vmlsl = "vmlsl" Signed,
        /// Long multiplication.
        Vmull = "vmull" Signed,
        /// Long polynomial multiplication.
        VmullP = "vmull" Poly,
        /// Saturating doubling long multiply and accumulate.
        Vqdmlal = "vqdmlal" AlwaysSigned,
        /// Saturating doubling long multiply and subtract.
        Vqdmlsl = "vqdmlsl" AlwaysSigned,
        /// Saturating doubling long multiplication.
        Vqdmull = "vqdmull" AlwaysSigned,
    }
}

impl NeonDiffOp {
    /// Returns whether the destination is a doubleword and both operands are quadwords.
    pub const fn narrows(self) -> bool {
        matches!(
            self,
            Self::Vaddhn | Self::Vraddhn | Self::Vsubhn | Self::Vrsubhn
        )
    }

    /// Returns whether the first operand is a quadword, as the destination is.
    pub const fn is_wide(self) -> bool {
        matches!(self, Self::Vaddw | Self::Vsubw)
    }
}

typed_names! {
    /// An Advanced SIMD operation with a scalar as second operand, all of the same length.
    NeonScalarOp {
        /// Multiply and accumulate.
        Vmla = "vmla" Int,
        /// Multiply and subtract.
        Vmls = "vmls" Int,
        /// Multiplication.
        Vmul = "vmul" Int,
        /// Multiply and accumulate.
        VmlaF = "vmla" Float,
        /// Multiply and subtract.
        VmlsF = "vmls" Float,
        /// Multiplication.
        VmulF = "vmul" Float,
        /// Saturating doubling multiplication, high half.
        Vqdmulh = "vqdmulh" AlwaysSigned,
        /// The same, rounded.
        Vqrdmulh = "vqrdmulh" AlwaysSigned,
    }
}

typed_names! {
    /// An Advanced SIMD shift by an immediate, lanes of one size.
    NeonShiftOp {
        /// Right.
        Vshr = "vshr" Signed,
        /// Right, accumulated.
        Vsra = "vsra" Signed,
        /// Right, rounded.
        Vrshr = "vrshr" Signed,
        /// Right, rounded, accumulated.
        Vrsra = "vrsra" Signed,
        /// Right, inserted.
        Vsri = "vsri" Size,
        /// Left.
        Vshl = "vshl" Int,
        /// Left, inserted.
        Vsli = "vsli" Size,
        /// Left, signed to unsigned saturation.
        Vqshlu = "vqshlu" AlwaysSigned,
        /// Left, saturating.
        Vqshl = "vqshl" Signed,
    }
}

typed_names! {
    /// An Advanced SIMD shift right by an immediate into lanes of half the size.
    NeonNarrowOp {
        /// Plain.
        Vshrn = "vshrn" Int,
        /// Rounded.
        Vrshrn = "vrshrn" Int,
        /// Signed to unsigned saturation.
        Vqshrun = "vqshrun" AlwaysSigned,
        /// Signed to unsigned saturation, rounded.
        Vqrshrun = "vqrshrun" AlwaysSigned,
        /// Saturating.
        Vqshrn = "vqshrn" Signed,
        /// Saturating, rounded.
        Vqrshrn = "vqrshrn" Signed,
    }
}

names! {
    /// What an Advanced SIMD immediate does.
    NeonImmOp {
        /// Writes it.
        Vmov = "vmov",
        /// Writes its complement.
        Vmvn = "vmvn",
        /// ORs it.
        Vorr = "vorr",
        /// Clears its bits.
        Vbic = "vbic",
    }
}

typed_names! {
    /// An Advanced SIMD operation with one operand.
    Neon2Op {
        /// Reverses lanes within doublewords.
        Vrev64 = "vrev64" Size,
        /// Reverses lanes within words.
        Vrev32 = "vrev32" Size,
        /// Reverses lanes within halfwords.
        Vrev16 = "vrev16" Size,
        /// Pairwise long addition.
        Vpaddl = "vpaddl" Signed,
        /// Pairwise long addition, accumulated.
        Vpadal = "vpadal" Signed,
        /// Counts leading sign bits.
        Vcls = "vcls" AlwaysSigned,
        /// Counts leading zeros.
        Vclz = "vclz" Int,
        /// Counts ones.
        Vcnt = "vcnt" Size,
        /// Complement.
        Vmvn = "vmvn" Bits,
        /// Saturating absolute value.
        Vqabs = "vqabs" AlwaysSigned,
        /// Saturating negation.
        Vqneg = "vqneg" AlwaysSigned,
        /// Greater than zero.
        Vcgt0 = "vcgt" AlwaysSigned,
        /// At least zero.
        Vcge0 = "vcge" AlwaysSigned,
        /// Equal to zero.
        Vceq0 = "vceq" Int,
        /// At most zero.
        Vcle0 = "vcle" AlwaysSigned,
        /// Less than zero.
        Vclt0 = "vclt" AlwaysSigned,
        /// Absolute value.
        Vabs = "vabs" AlwaysSigned,
        /// Negation.
        Vneg = "vneg" AlwaysSigned,
        /// Greater than zero.
        Vcgt0F = "vcgt" Float,
        /// At least zero.
        Vcge0F = "vcge" Float,
        /// Equal to zero.
        Vceq0F = "vceq" Float,
        /// At most zero.
        Vcle0F = "vcle" Float,
        /// Less than zero.
        Vclt0F = "vclt" Float,
        /// Absolute value.
        VabsF = "vabs" Float,
        /// Negation.
        VnegF = "vneg" Float,
        /// Reciprocal estimate of unsigned numbers.
        Vrecpe = "vrecpe" Signed,
        /// Reciprocal estimate.
        VrecpeF = "vrecpe" Float,
        /// Reciprocal square root estimate of unsigned numbers.
        Vrsqrte = "vrsqrte" Signed,
        /// Reciprocal square root estimate.
        VrsqrteF = "vrsqrte" Float,
    }
}

impl Neon2Op {
    /// Returns whether the assembler syntax has `#0` as second operand.
    pub const fn compares_with_zero(self) -> bool {
        matches!(
            self,
            Self::Vcgt0
                | Self::Vcge0
                | Self::Vceq0
                | Self::Vcle0
                | Self::Vclt0
                | Self::Vcgt0F
                | Self::Vcge0F
                | Self::Vceq0F
                | Self::Vcle0F
                | Self::Vclt0F
        )
    }
}

names! {
    /// A permutation that writes both of its registers.
    NeonPermuteOp {
        /// Exchange.
        Vswp = "vswp",
        /// Transpose 2x2 matrices.
        Vtrn = "vtrn",
        /// De-interleave.
        Vuzp = "vuzp",
        /// Interleave.
        Vzip = "vzip",
    }
}

typed_names! {
    /// A narrowing move.
    NeonMovnOp {
        /// Low half.
        Vmovn = "vmovn" Int,
        /// Signed to unsigned saturation.
        Vqmovun = "vqmovun" AlwaysSigned,
        /// Saturation.
        Vqmovn = "vqmovn" Signed,
    }
}
