//! Integer instructions of Advanced SIMD on the lanes of XMM registers, 16 bytes or the low 8.
//!
//! SSE2 is part of every x86-64 host; what takes SSE4.1 is left to the handlers of hosts without.

pub mod lanes;
mod numbers;
mod permute;
pub mod resize;
mod saturate;

use arm32_isa::{Insn, Neon2Op, Neon3Op, NeonImmOp, NeonScalarOp};

use super::asm::{Asm, Fixup, Mem, Packed, Width, Xmm};
use super::bank::duplicate;
use super::frame::{self, WORK};
use lanes::{ADD, EQUAL, GREATER, SUB, has, max, min, multiply};

use Xmm::{X0, X1, X2, X3};

/// Registers of one length.
#[derive(Clone, Copy)]
struct Shape {
    q: bool,
    size: u8,
}

impl Shape {
    /// A quadword, or a doubleword, whatever its lanes are.
    const fn whole(q: bool) -> Self {
        Self { q, size: 0 }
    }

    const fn bytes(self) -> u8 {
        if self.q { 16 } else { 8 }
    }

    /// Returns where register `n` is; a quadword has the number of its lower doubleword.
    const fn place(self, n: u8) -> Mem {
        frame::bank(8 * (n & if self.q { 30 } else { 31 }))
    }

    fn load(self, a: &mut Asm, x: Xmm, n: u8) {
        a.load_vector(self.bytes(), x, self.place(n));
    }

    fn store(self, a: &mut Asm, n: u8, x: Xmm) {
        a.store_vector(self.bytes(), self.place(n), x);
    }

    /// Returns the operation of its lanes from a table by size.
    fn of<T: Copy>(self, table: &[T]) -> Option<T> {
        table.get(usize::from(self.size)).copied()
    }
}

/// Writes an instruction of Advanced SIMD on integers or bits; branches to `slow` where the handler
/// must do it. `None` if it is none of those that the host does in a few instructions.
pub fn emit(a: &mut Asm, insn: &Insn, slow: &mut Vec<Fixup>) -> Option<()> {
    if let Some(()) = numbers::emit(a, insn, slow) {
        return Some(());
    }
    match *insn {
        Insn::NeonDiff { .. } | Insn::NeonDiffScalar { .. } => return resize::different(a, insn),
        Insn::NeonNarrow { .. } | Insn::NeonMovn { .. } | Insn::Vshll { .. } => {
            return resize::resized(a, insn, slow);
        }
        Insn::Neon3 { .. } | Insn::NeonScalar { .. } => return same(a, insn),
        Insn::NeonShift {
            op,
            unsigned,
            size,
            q,
            vd,
            vm,
            shift,
        } => {
            let shape = Shape { q, size };
            shape.load(a, X0, vm);
            let result = lanes::shift(a, shape, op, unsigned, shift, vd, slow)?;
            shape.store(a, vd, result);
        }
        Insn::NeonImm { .. } | Insn::Neon2 { .. } => return one_operand(a, insn),
        Insn::NeonPermute {
            op,
            size,
            q,
            vd,
            vm,
        } if vd != vm => {
            let shape = Shape { q, size };
            shape.load(a, X0, vd);
            shape.load(a, X1, vm);
            let (first, second) = permute::permute(a, shape, op)?;
            shape.store(a, vd, first);
            shape.store(a, vm, second);
        }
        Insn::Vext { q, vd, vn, vm, imm } => {
            let shape = Shape { q, size: 0 };
            permute::extract(a, shape, (vn, vm), imm);
            shape.store(a, vd, X0);
        }
        Insn::Vtbl {
            extension,
            regs,
            vd,
            vn,
            vm,
        } => permute::look_up(a, extension, regs, (vd, vn, vm))?,
        Insn::VdupLane {
            size,
            q,
            vd,
            vm,
            lane,
        } => {
            lane_of(a, size, vm, lane)?;
            Shape { q, size }.store(a, vd, X0);
        }
        _ => return None,
    }
    Some(())
}

/// Writes an operation on registers of one length, or on a register and a lane.
fn same(a: &mut Asm, insn: &Insn) -> Option<()> {
    match *insn {
        Insn::NeonScalar {
            op,
            size,
            q,
            vd,
            vn,
            vm,
            lane,
        } => {
            let op = match op {
                NeonScalarOp::Vmul => Neon3Op::Vmul,
                NeonScalarOp::Vmla => Neon3Op::Vmla,
                NeonScalarOp::Vmls => Neon3Op::Vmls,
                NeonScalarOp::Vqdmulh => Neon3Op::Vqdmulh,
                NeonScalarOp::Vqrdmulh => Neon3Op::Vqrdmulh,
                _ => return None,
            };
            let shape = Shape { q, size };
            lane_of(a, size, vm, lane)?;
            a.copy_vector(X1, X0);
            shape.load(a, X0, vn);
            let result = sums(a, shape, op, vd).or_else(|| saturate::same(a, size, op, false))?;
            shape.store(a, vd, result);
        }
        Insn::Neon3 {
            op,
            unsigned,
            size,
            q,
            vd,
            vn,
            vm,
        } => {
            let shape = Shape { q, size };
            shape.load(a, X0, vn);
            shape.load(a, X1, vm);
            let result = bitwise(a, shape, op, vd)
                .or_else(|| sums(a, shape, op, vd))
                .or_else(|| compared(a, shape, op, unsigned, vd))
                .or_else(|| saturate::same(a, size, op, unsigned))
                .or_else(|| pairs(a, shape, op, unsigned))
                .or_else(|| halved(a, shape, op, unsigned))?;
            shape.store(a, vd, result);
        }
        _ => return None,
    }
    Some(())
}

/// Has all lanes of XMM0 be one of doubleword `n`.
fn lane_of(a: &mut Asm, size: u8, n: u8, lane: u8) -> Option<()> {
    (size < 3 && lane < 8 >> size).then_some(())?;
    // Words from there on, the last ones from what lies behind the bank: only the lane counts.
    a.load_vector(4, X0, frame::bank(8 * (n & 31) + (lane << size)));
    duplicate(a, size);
    Some(())
}

/// Writes an instruction whose operand is one register, or a constant.
fn one_operand(a: &mut Asm, insn: &Insn) -> Option<()> {
    match *insn {
        Insn::NeonImm {
            op, q, vd, value, ..
        } => {
            let shape = Shape { q, size: 3 };
            let value = if matches!(op, NeonImmOp::Vmvn | NeonImmOp::Vbic) {
                !value
            } else {
                value
            };
            constant(a, X0, value);
            let combine = match op {
                NeonImmOp::Vmov | NeonImmOp::Vmvn => None,
                NeonImmOp::Vorr => Some(Packed::Or),
                NeonImmOp::Vbic => Some(Packed::And),
            };
            if let Some(combine) = combine {
                shape.load(a, X1, vd);
                a.packed(combine, X0, X1);
            }
            shape.store(a, vd, X0);
        }
        Insn::Neon2 {
            op,
            unsigned,
            size,
            q,
            vd,
            vm,
        } => {
            let shape = Shape { q, size };
            shape.load(a, X0, vm);
            match op {
                Neon2Op::Vqabs | Neon2Op::Vqneg => {
                    saturate::negated(a, size, op == Neon2Op::Vqabs)?;
                }
                Neon2Op::Vabs if size < 3 => lanes::absolute(a, X0, size),
                Neon2Op::Vpaddl | Neon2Op::Vpadal => {
                    resize::add_pairs(a, size, unsigned)?;
                    if op == Neon2Op::Vpadal {
                        shape.load(a, X1, vd);
                        a.packed(*ADD.get(usize::from(size) + 1)?, X0, X1);
                    }
                }
                _ => permute::reverse(a, shape, op).or_else(|| against_zero(a, shape, op))?,
            }
            shape.store(a, vd, X0);
        }
        _ => return None,
    }
    Some(())
}

/// Has both halves of `x` be `value`.
fn constant(a: &mut Asm, x: Xmm, value: u64) {
    match value {
        0 => a.packed(Packed::Xor, x, x),
        u64::MAX => a.packed(Packed::Equal32, x, x),
        _ => {
            a.set64(WORK, value);
            a.set_vector(Width::Quad, x, WORK);
            a.packed(Packed::UnpackLow64, x, x);
        }
    }
}

/// Has all bits of `x` change; XMM3 changes.
fn complement(a: &mut Asm, x: Xmm) {
    a.packed(Packed::Equal32, X3, X3);
    a.packed(Packed::Xor, x, X3);
}

/// Operations on bits, of XMM0 and XMM1; returns where the result is.
fn bitwise(a: &mut Asm, shape: Shape, op: Neon3Op, vd: u8) -> Option<Xmm> {
    // `first` where `mask` is 1, else `second`.
    let select = |a: &mut Asm, mask: Xmm, first: Xmm, second: Xmm| {
        shape.load(a, X2, vd);
        a.packed(Packed::And, first, mask);
        a.packed(Packed::NotAnd, mask, second);
        a.packed(Packed::Or, first, mask);
        first
    };
    Some(match op {
        Neon3Op::Vand => binary(a, Packed::And),
        Neon3Op::Vorr => binary(a, Packed::Or),
        Neon3Op::Veor => binary(a, Packed::Xor),
        Neon3Op::Vbic => {
            a.packed(Packed::NotAnd, X1, X0);
            X1
        }
        Neon3Op::Vorn => {
            complement(a, X1);
            binary(a, Packed::Or)
        }
        Neon3Op::Vbsl => select(a, X2, X0, X1),
        Neon3Op::Vbit => select(a, X1, X0, X2),
        Neon3Op::Vbif => select(a, X1, X2, X0),
        _ => return None,
    })
}

fn binary(a: &mut Asm, op: Packed) -> Xmm {
    a.packed(op, X0, X1);
    X0
}

/// Sums, differences and products; returns where the result is.
fn sums(a: &mut Asm, shape: Shape, op: Neon3Op, vd: u8) -> Option<Xmm> {
    Some(match op {
        Neon3Op::Vadd => binary(a, shape.of(&ADD)?),
        Neon3Op::Vsub => binary(a, shape.of(&SUB)?),
        Neon3Op::Vmul => {
            multiply(a, shape.size)?;
            X0
        }
        Neon3Op::Vmla | Neon3Op::Vmls => {
            multiply(a, shape.size)?;
            shape.load(a, X2, vd);
            let table = if op == Neon3Op::Vmla { &ADD } else { &SUB };
            a.packed(shape.of(table)?, X2, X0);
            X2
        }
        _ => return None,
    })
}

/// Comparisons and what comes of them; returns where the result is.
fn compared(a: &mut Asm, shape: Shape, op: Neon3Op, unsigned: bool, vd: u8) -> Option<Xmm> {
    let greatest = max(shape.size, unsigned).filter(|op| has(*op));
    let least = min(shape.size, unsigned).filter(|op| has(*op));
    Some(match op {
        Neon3Op::Vceq => binary(a, shape.of(&EQUAL)?),
        Neon3Op::Vtst => {
            a.packed(Packed::And, X0, X1);
            a.packed(Packed::Xor, X1, X1);
            a.packed(shape.of(&EQUAL)?, X0, X1);
            complement(a, X0);
            X0
        }
        Neon3Op::Vcgt if !unsigned => binary(a, shape.of(&GREATER)?),
        Neon3Op::Vcge if !unsigned => {
            a.packed(shape.of(&GREATER)?, X1, X0);
            complement(a, X1);
            X1
        }
        // The larger one is the first; or it is not the second.
        Neon3Op::Vcge => {
            a.packed(greatest?, X1, X0);
            binary(a, shape.of(&EQUAL)?)
        }
        Neon3Op::Vcgt => {
            a.packed(greatest?, X0, X1);
            binary(a, shape.of(&EQUAL)?);
            complement(a, X0);
            X0
        }
        Neon3Op::Vmax => binary(a, greatest?),
        Neon3Op::Vmin => binary(a, least?),
        Neon3Op::Vabd | Neon3Op::Vaba => {
            a.copy_vector(X2, X0);
            a.packed(greatest?, X0, X1);
            a.packed(least?, X2, X1);
            a.packed(shape.of(&SUB)?, X0, X2);
            if op == Neon3Op::Vaba {
                shape.load(a, X1, vd);
                a.packed(shape.of(&ADD)?, X0, X1);
            }
            X0
        }
        Neon3Op::Vrhadd if unsigned && shape.size < 2 => {
            binary(a, shape.of(&[Packed::Mean8, Packed::Mean16])?)
        }
        _ => return None,
    })
}

/// Halved sums and differences; returns where the result is.
fn halved(a: &mut Asm, shape: Shape, op: Neon3Op, unsigned: bool) -> Option<Xmm> {
    let (add, sub) = (shape.of(&ADD)?, shape.of(&SUB)?);
    (shape.size < 3).then_some(())?;
    // What both have, or only one of them has, and half of where they differ: nothing carries.
    let common = match op {
        Neon3Op::Vhadd => Packed::And,
        Neon3Op::Vrhadd => Packed::Or,
        Neon3Op::Vhsub => Packed::NotAnd,
        _ => return None,
    };
    a.copy_vector(X2, X0);
    a.packed(common, X2, X1);
    a.packed(Packed::Xor, X0, X1);
    lanes::right(a, shape.size, unsigned, 1);
    Some(match op {
        Neon3Op::Vrhadd => {
            a.packed(sub, X2, X0);
            X2
        }
        Neon3Op::Vhadd => {
            a.packed(add, X0, X2);
            X0
        }
        _ => {
            a.packed(sub, X0, X2);
            X0
        }
    })
}

/// Operations on neighbours among the lanes of two doublewords; returns where the result is.
fn pairs(a: &mut Asm, shape: Shape, op: Neon3Op, unsigned: bool) -> Option<Xmm> {
    let op = match op {
        Neon3Op::Vpadd => shape.of(&ADD)?,
        Neon3Op::Vpmax => max(shape.size, unsigned).filter(|op| has(*op))?,
        Neon3Op::Vpmin => min(shape.size, unsigned).filter(|op| has(*op))?,
        _ => return None,
    };
    (shape.size < 3).then_some(())?;
    a.packed(Packed::UnpackLow64, X0, X1);
    a.copy_vector(X1, X0);
    resize::narrow(a, shape.size, X0, X0);
    resize::narrow_high(a, shape.size, X1, X1);
    Some(binary(a, op))
}

/// Compares the lanes of XMM0 with zero, or works out what needs no other operand.
fn against_zero(a: &mut Asm, shape: Shape, op: Neon2Op) -> Option<()> {
    // XMM1 is 0: compared with, or compared.
    a.packed(Packed::Xor, X1, X1);
    let swapped = |a: &mut Asm, table: &[Packed]| {
        a.packed(shape.of(table)?, X1, X0);
        a.copy_vector(X0, X1);
        Some(())
    };
    match op {
        Neon2Op::Vmvn => complement(a, X0),
        Neon2Op::Vcnt => lanes::count_ones(a),
        Neon2Op::Vneg => swapped(a, &SUB)?,
        Neon2Op::Vceq0 => a.packed(shape.of(&EQUAL)?, X0, X1),
        Neon2Op::Vcgt0 => a.packed(shape.of(&GREATER)?, X0, X1),
        Neon2Op::Vclt0 => swapped(a, &GREATER)?,
        Neon2Op::Vcge0 => {
            swapped(a, &GREATER)?;
            complement(a, X0);
        }
        Neon2Op::Vcle0 => {
            a.packed(shape.of(&GREATER)?, X0, X1);
            complement(a, X0);
        }
        _ => return None,
    }
    Some(())
}
