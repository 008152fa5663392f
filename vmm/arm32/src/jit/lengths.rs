//! Advanced SIMD on registers of different lengths: what all back ends take from an instruction.

use arm32_isa::{Insn, NeonDiffOp};

/// An operation on registers of different lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// What is done.
    pub op: NeonDiffOp,
    /// Whether lanes are unsigned.
    pub unsigned: bool,
    /// The narrow lanes are of 2^`size` bytes: 0 to 2.
    pub size: u8,
    /// The destination.
    pub vd: u8,
    /// The first operand.
    pub vn: u8,
    /// The second operand.
    pub vm: u8,
    /// The lane of it that stands for all of them.
    pub lane: Option<u8>,
}

impl Lengths {
    /// Returns what `insn` does, if it is such an operation.
    pub fn of(insn: &Insn) -> Option<Self> {
        let (op, unsigned, size, vd, vn, vm, lane) = match *insn {
            Insn::NeonDiff {
                op,
                unsigned,
                size,
                vd,
                vn,
                vm,
            } => (op, unsigned, size, vd, vn, vm, None),
            Insn::NeonDiffScalar {
                op,
                unsigned,
                size,
                vd,
                vn,
                vm,
                lane,
            } => (op, unsigned, size, vd, vn, vm, Some(lane)),
            _ => return None,
        };
        (size < 3).then_some(Self {
            op,
            unsigned,
            size,
            vd,
            vn,
            vm,
            lane,
        })
    }
}
