//! Which of the host's operations is which of the guest's.

use arm32_isa::{
    Insn, Neon2Op, Neon3Op, NeonDiffOp, NeonMovnOp, NeonNarrowOp, NeonScalarOp, NeonShiftOp,
};

use super::super::asm::{Bits, Different, Lanes, One, Shift, Zero};

/// Returns whether an instruction may set QC.
pub(super) const fn saturates(insn: &Insn) -> bool {
    match insn {
        Insn::Neon3 { op, .. } => matches!(
            op,
            Neon3Op::Vqadd
                | Neon3Op::Vqsub
                | Neon3Op::Vqshl
                | Neon3Op::Vqrshl
                | Neon3Op::Vqdmulh
                | Neon3Op::Vqrdmulh
        ),
        Insn::NeonScalar { op, .. } => {
            matches!(op, NeonScalarOp::Vqdmulh | NeonScalarOp::Vqrdmulh)
        }
        Insn::NeonDiff { op, .. } | Insn::NeonDiffScalar { op, .. } => matches!(
            op,
            NeonDiffOp::Vqdmlal | NeonDiffOp::Vqdmlsl | NeonDiffOp::Vqdmull
        ),
        Insn::NeonShift { op, .. } => matches!(op, NeonShiftOp::Vqshl | NeonShiftOp::Vqshlu),
        Insn::NeonNarrow { op, .. } => !matches!(op, NeonNarrowOp::Vshrn | NeonNarrowOp::Vrshrn),
        Insn::NeonMovn { op, .. } => !matches!(op, NeonMovnOp::Vmovn),
        Insn::Neon2 { op, .. } => matches!(op, Neon2Op::Vqabs | Neon2Op::Vqneg),
        _ => false,
    }
}

pub(super) const fn bits_of(op: Neon3Op) -> Option<Bits> {
    Some(match op {
        Neon3Op::Vand => Bits::And,
        Neon3Op::Vbic => Bits::AndNot,
        Neon3Op::Vorr => Bits::Or,
        Neon3Op::Vorn => Bits::OrNot,
        Neon3Op::Veor => Bits::Xor,
        Neon3Op::Vbsl => Bits::Select,
        Neon3Op::Vbit => Bits::InsertTrue,
        Neon3Op::Vbif => Bits::InsertFalse,
        _ => return None,
    })
}

/// Returns the host's operation, and whether there is one for unsigned lanes besides.
pub(super) const fn lanes_of(op: Neon3Op) -> Option<(Lanes, bool)> {
    Some(match op {
        Neon3Op::Vhadd => (Lanes::HalvingAdd, true),
        Neon3Op::Vrhadd => (Lanes::MeanUp, true),
        Neon3Op::Vhsub => (Lanes::HalvingSub, true),
        Neon3Op::Vcgt => (Lanes::Greater, true),
        Neon3Op::Vcge => (Lanes::GreaterEqual, true),
        // The register with the amounts is the second operand here, too.
        Neon3Op::Vshl => (Lanes::Shift, true),
        Neon3Op::Vrshl => (Lanes::RoundingShift, true),
        Neon3Op::Vmax => (Lanes::Max, true),
        Neon3Op::Vmin => (Lanes::Min, true),
        Neon3Op::Vabd => (Lanes::Difference, true),
        Neon3Op::Vaba => (Lanes::AddDifference, true),
        Neon3Op::Vadd => (Lanes::Add, false),
        Neon3Op::Vsub => (Lanes::Sub, false),
        Neon3Op::Vtst => (Lanes::Test, false),
        Neon3Op::Vceq => (Lanes::Equal, false),
        Neon3Op::Vmla => (Lanes::MultiplyAdd, false),
        Neon3Op::Vmls => (Lanes::MultiplySub, false),
        Neon3Op::Vmul => (Lanes::Multiply, false),
        Neon3Op::Vpmax => (Lanes::MaxPairs, true),
        Neon3Op::Vpmin => (Lanes::MinPairs, true),
        Neon3Op::Vpadd => (Lanes::AddPairs, false),
        Neon3Op::Vqadd => (Lanes::LimitedAdd, true),
        Neon3Op::Vqsub => (Lanes::LimitedSub, true),
        Neon3Op::Vqshl => (Lanes::LimitedShift, true),
        Neon3Op::Vqrshl => (Lanes::LimitedRoundingShift, true),
        Neon3Op::Vqdmulh => (Lanes::DoubledHigh, false),
        Neon3Op::Vqrdmulh => (Lanes::DoubledHighRounded, false),
        _ => return None,
    })
}

pub(super) const fn different_of(op: NeonDiffOp) -> Option<Different> {
    Some(match op {
        NeonDiffOp::Vaddl => Different::AddLong,
        NeonDiffOp::Vaddw => Different::AddWide,
        NeonDiffOp::Vsubl => Different::SubLong,
        NeonDiffOp::Vsubw => Different::SubWide,
        NeonDiffOp::Vaddhn => Different::AddHigh,
        NeonDiffOp::Vraddhn => Different::AddHighRounded,
        NeonDiffOp::Vsubhn => Different::SubHigh,
        NeonDiffOp::Vrsubhn => Different::SubHighRounded,
        NeonDiffOp::Vabal => Different::AddDifferenceLong,
        NeonDiffOp::Vabdl => Different::DifferenceLong,
        NeonDiffOp::Vmlal => Different::MultiplyAddLong,
        NeonDiffOp::Vmlsl => Different::MultiplySubLong,
        NeonDiffOp::Vmull => Different::MultiplyLong,
        NeonDiffOp::Vqdmlal => Different::DoubledAddLong,
        NeonDiffOp::Vqdmlsl => Different::DoubledSubLong,
        NeonDiffOp::Vqdmull => Different::DoubledLong,
        _ => return None,
    })
}

pub(super) const fn shift_of(op: NeonShiftOp) -> Shift {
    match op {
        NeonShiftOp::Vshr => Shift::Right,
        NeonShiftOp::Vsra => Shift::RightAdd,
        NeonShiftOp::Vrshr => Shift::RightRounded,
        NeonShiftOp::Vrsra => Shift::RightRoundedAdd,
        NeonShiftOp::Vsri => Shift::RightInsert,
        NeonShiftOp::Vshl => Shift::Left,
        NeonShiftOp::Vsli => Shift::LeftInsert,
        NeonShiftOp::Vqshl => Shift::LimitedLeft,
        NeonShiftOp::Vqshlu => Shift::LimitedLeftUnsigned,
    }
}

pub(super) const fn zero_of(op: Neon2Op) -> Option<Zero> {
    Some(match op {
        Neon2Op::Vcgt0 => Zero::Greater,
        Neon2Op::Vcge0 => Zero::GreaterEqual,
        Neon2Op::Vceq0 => Zero::Equal,
        Neon2Op::Vcle0 => Zero::LessEqual,
        Neon2Op::Vclt0 => Zero::Less,
        _ => return None,
    })
}

/// Returns the host's operation, and whether there is one for unsigned lanes besides.
pub(super) const fn one_of(op: Neon2Op) -> Option<(One, bool)> {
    Some(match op {
        Neon2Op::Vrev64 => (One::Reverse64, false),
        Neon2Op::Vrev32 => (One::Reverse32, false),
        Neon2Op::Vrev16 => (One::Reverse16, false),
        Neon2Op::Vpaddl => (One::AddPairsLong, true),
        Neon2Op::Vpadal => (One::AddPairsLongTo, true),
        Neon2Op::Vcls => (One::LeadingSigns, false),
        Neon2Op::Vclz => (One::LeadingZeros, false),
        Neon2Op::Vcnt => (One::Ones, false),
        Neon2Op::Vmvn => (One::Not, false),
        Neon2Op::Vabs => (One::Absolute, false),
        Neon2Op::Vneg => (One::Negate, false),
        Neon2Op::Vqabs => (One::LimitedAbsolute, false),
        Neon2Op::Vqneg => (One::LimitedNegate, false),
        _ => return None,
    })
}
