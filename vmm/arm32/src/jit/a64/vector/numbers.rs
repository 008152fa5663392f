//! Advanced SIMD on single-precision numbers by the host's, where that gives the same results and
//! the same flags.
//!
//! Advanced SIMD of a 32-bit core obeys the standard FPSCR value; the host's registers that say the
//! like are left alone, since writing them takes long. When a case is sure to be the same is said
//! in the module of that name of `x64`, and it is found in the same way here. It is left to the
//! handler with all of its lanes if one of them is not.

use arm32_fpu::fpscr::IXC;
use arm32_isa::{Insn, Neon2Op};

use super::super::asm::{
    Access, Asm, Bits, Cond, Fixup, Gpr, Lanes, Logic, One, Shift, Singles, SinglesOne, Vector,
    Zero, mask,
};
use super::super::frame::{self, SCRATCH};
use super::{Shape, lane_of};
use crate::jit::singles::{Kind, Operation, Relation, Sum};

use Vector::{V0, V1, V2, V3, V4, V5, V6, V7};

/// The least of the magnitudes that were looked at: what must not be tiny.
const LEAST: Vector = V5;
/// Ones.
const ONES: Vector = V7;
/// All sixteen bytes, unsigned words.
const WORDS: (bool, bool, u8) = (true, true, 2);
const VALUE: Gpr = SCRATCH[0];

/// Writes an instruction on single-precision numbers; branches to `slow` where the handler must do
/// it. `None`, and nothing is written, if there is no code for it.
pub(super) fn emit(a: &mut Asm, insn: &Insn, slow: &mut Vec<Fixup>) -> Option<()> {
    if let Some(operation) = Operation::of(insn) {
        return three(a, operation, slow);
    }
    match *insn {
        Insn::Neon2 { op, q, vd, vm, .. } => {
            let shape = Shape { q, size: 2 };
            one(a, shape, op, vm, slow)?;
            shape.store(a, vd, V0);
        }
        Insn::NeonCvtFixed {
            to_fixed,
            unsigned,
            fraction,
            q,
            vd,
            vm,
        } if fraction <= 32 => {
            let shape = Shape { q, size: 2 };
            inexact_already(a, slow);
            shape.load(a, V0, vm);
            if to_fixed {
                to_words(a, unsigned, fraction, slow);
            } else {
                let op = if unsigned {
                    SinglesOne::FromUnsigned
                } else {
                    SinglesOne::FromWords
                };
                a.singles_one(op, V0, V0);
                // Exact: no word is so small.
                scale(a, -i32::from(fraction));
            }
            shape.store(a, vd, V0);
        }
        _ => return None,
    }
    Some(())
}

/// Leaves the instruction to the handler unless there was an inexact result already.
fn inexact_already(a: &mut Asm, slow: &mut Vec<Fixup>) {
    a.access(Access::LOAD, VALUE, frame::FPSCR);
    a.logic_imm(
        Logic::AndSet,
        Gpr::ZERO,
        VALUE,
        mask(IXC).unwrap_or_default(),
    );
    slow.push(a.jump_if(Cond::EQ));
}

/// Has `d` be twice the magnitudes of `v` less one, so that zeros are the largest of all.
fn magnitude(a: &mut Asm, d: Vector, v: Vector) {
    a.shift_lanes(Shift::Left, (false, 2), 1, d, v);
    a.lanes(Lanes::Add, (true, false, 2), d, d, ONES);
}

/// Looks at the magnitudes in `v`, too.
fn and(a: &mut Asm, v: Vector) {
    a.lanes(Lanes::Min, WORDS, LEAST, LEAST, v);
}

/// Looks at the magnitudes of `v`, too; V6 changes.
fn and_of(a: &mut Asm, v: Vector) {
    magnitude(a, V6, v);
    and(a, V6);
}

/// Begins with the magnitudes of V0 and V1; V3 is ones where one of them is zero, V6 has those of
/// V1.
fn begin(a: &mut Asm) {
    ones(a);
    magnitude(a, LEAST, V0);
    magnitude(a, V6, V1);
    a.lanes(Lanes::Max, WORDS, V3, LEAST, V6);
    a.lanes(Lanes::Equal, (true, false, 2), V3, V3, ONES);
    and(a, V6);
}

fn ones(a: &mut Asm) {
    a.lanes(Lanes::Equal, (true, false, 2), ONES, ONES, ONES);
}

/// Looks at the magnitudes of a product, which is an exact zero only where V3 says so; V4 and V6
/// change.
fn and_of_product(a: &mut Asm, v: Vector) {
    a.shift_lanes(Shift::Left, (false, 2), 1, V4, v);
    a.lanes(Lanes::Add, (true, false, 2), V6, V4, ONES);
    // Zeros stay zeros.
    a.lanes(Lanes::Min, WORDS, V6, V6, V4);
    a.bits(Bits::Or, V6, V6, V3);
    and(a, V6);
}

/// Leaves the instruction to the handler if any of the magnitudes is tiny, or if the words of `bad`
/// are not zero; both change.
fn end(a: &mut Asm, bad: Vector, slow: &mut Vec<Fixup>) {
    a.shift_lanes(Shift::Right, (true, 2), 24, LEAST, LEAST);
    a.against_zero(Zero::Equal, 2, LEAST, LEAST);
    a.bits(Bits::Or, bad, bad, LEAST);
    a.largest(bad, bad);
    a.get_word(VALUE, bad, 0);
    slow.push(a.jump_if_zero(VALUE, false));
}

/// Ends with a result that must be finite.
fn end_finite(a: &mut Asm, v: Vector, slow: &mut Vec<Fixup>) {
    // A number less itself is zero; of all else it is a NaN.
    a.singles(Singles::Sub, V6, v, v);
    end(a, V6, slow);
}

/// Ends with V0 and V1, which must be no NaNs; V4 changes.
fn end_ordered(a: &mut Asm, slow: &mut Vec<Fixup>) {
    // Numbers and infinities are equal to themselves.
    a.singles(Singles::Equal, V6, V0, V0);
    a.singles(Singles::Equal, V4, V1, V1);
    a.bits(Bits::And, V6, V6, V4);
    a.one(One::Not, (false, 0), V6, V6);
    end(a, V6, slow);
}

/// Has V0 be the even ones of the words of two doublewords, and V1 the odd ones.
fn part_pairs(a: &mut Asm) {
    // The lower doublewords, side by side.
    a.lanes(Lanes::Zip1, (true, false, 3), V2, V0, V1);
    a.lanes(Lanes::Unzip1, (true, false, 2), V0, V2, V2);
    a.lanes(Lanes::Unzip2, (true, false, 2), V1, V2, V2);
}

/// Has all numbers of `v` be `value`.
fn number(a: &mut Asm, v: Vector, value: f32) {
    a.set(VALUE, value.to_bits());
    a.duplicate(2, v, VALUE);
}

/// Has V0 be 2^`exponent` times its numbers.
fn scale(a: &mut Asm, exponent: i32) {
    if exponent != 0 {
        number(a, V1, 2f32.powi(exponent));
        a.singles(Singles::Multiply, V0, V0, V1);
    }
}

/// Writes an operation on two registers.
fn three(a: &mut Asm, operation: Operation, slow: &mut Vec<Fixup>) -> Option<()> {
    let Operation { kind, q, vd, .. } = operation;
    let shape = Shape { q, size: 2 };
    match operation.lane {
        Some(lane) => lane_of(a, V1, 2, operation.vm, lane)?,
        None => shape.load(a, V1, operation.vm),
    }
    shape.load(a, V0, operation.vn);
    combine(a, shape, kind, vd, slow);
    shape.store(a, vd, V0);
    Some(())
}

const fn sum_of(sum: Sum) -> Singles {
    match sum {
        Sum::Add => Singles::Add,
        Sum::Sub => Singles::Sub,
    }
}

const fn relation_of(relation: Relation) -> Singles {
    match relation {
        Relation::Equal => Singles::Equal,
        Relation::GreaterEqual => Singles::GreaterEqual,
        Relation::Greater => Singles::Greater,
    }
}

/// Has V0 be V0 and V1 put together.
fn combine(a: &mut Asm, shape: Shape, kind: Kind, vd: u8, slow: &mut Vec<Fixup>) {
    match kind {
        Kind::Sum(op) => add(a, sum_of(op), slow),
        Kind::SumOfPairs => {
            part_pairs(a);
            add(a, Singles::Add, slow);
        }
        Kind::Difference => {
            add(a, Singles::Sub, slow);
            a.singles_one(SinglesOne::Absolute, V0, V0);
        }
        Kind::Multiply(then) => {
            product(a, slow);
            let Some(op) = then else {
                end_finite(a, V2, slow);
                return a.bits(Bits::Or, V0, V2, V2);
            };
            shape.load(a, V0, vd);
            and_of(a, V0);
            with_product(a, sum_of(op), slow);
        }
        Kind::Step { from, half } => {
            product(a, slow);
            number(a, V0, from);
            with_product(a, Singles::Sub, slow);
            if half {
                // Exact: what is left of three is not tiny.
                scale(a, -1);
            }
        }
        Kind::Fused(op) => {
            let op = match op {
                Sum::Add => Singles::FusedAdd,
                Sum::Sub => Singles::FusedSub,
            };
            inexact_already(a, slow);
            begin(a);
            shape.load(a, V2, vd);
            and_of(a, V2);
            a.singles(op, V2, V0, V1);
            and_of_product(a, V2);
            end_finite(a, V2, slow);
            a.bits(Bits::Or, V0, V2, V2);
        }
        Kind::Extreme { larger, pairs } => {
            let op = if larger { Singles::Max } else { Singles::Min };
            if pairs {
                part_pairs(a);
            }
            compare(a, op, slow);
        }
        Kind::Compare(relation) => compare(a, relation_of(relation), slow),
        Kind::CompareMagnitudes(relation) => {
            for v in [V0, V1] {
                a.singles_one(SinglesOne::Absolute, v, v);
            }
            compare(a, relation_of(relation), slow);
        }
    }
}

/// Has V0 be the sum, or difference, of V0 and V1.
fn add(a: &mut Asm, op: Singles, slow: &mut Vec<Fixup>) {
    inexact_already(a, slow);
    begin(a);
    a.singles(op, V0, V0, V1);
    // One that is zero is exact: both operands are multiples of the smallest denormal number.
    and_of(a, V0);
    end_finite(a, V0, slow);
}

/// Has V2 be the product of V0 and V1, whose magnitudes are still to be judged.
fn product(a: &mut Asm, slow: &mut Vec<Fixup>) {
    inexact_already(a, slow);
    begin(a);
    a.singles(Singles::Multiply, V2, V0, V1);
    and_of_product(a, V2);
}

/// Puts V0 and the product in V2 together.
fn with_product(a: &mut Asm, op: Singles, slow: &mut Vec<Fixup>) {
    a.singles(op, V0, V0, V2);
    and_of(a, V0);
    end_finite(a, V0, slow);
}

/// Compares V0 with V1, or chooses from them: nothing is inexact.
fn compare(a: &mut Asm, op: Singles, slow: &mut Vec<Fixup>) {
    begin(a);
    end_ordered(a, slow);
    a.singles(op, V0, V0, V1);
}

/// Operations on one register, to V0.
fn one(a: &mut Asm, shape: Shape, op: Neon2Op, vm: u8, slow: &mut Vec<Fixup>) -> Option<()> {
    let (zero_first, compared) = match op {
        Neon2Op::VabsF | Neon2Op::VnegF => {
            let op = if op == Neon2Op::VabsF {
                SinglesOne::Absolute
            } else {
                SinglesOne::Negate
            };
            shape.load(a, V0, vm);
            a.singles_one(op, V0, V0);
            return Some(());
        }
        Neon2Op::Vceq0F => (false, Singles::Equal),
        Neon2Op::Vcgt0F => (false, Singles::Greater),
        Neon2Op::Vcge0F => (false, Singles::GreaterEqual),
        Neon2Op::Vcle0F => (true, Singles::GreaterEqual),
        Neon2Op::Vclt0F => (true, Singles::Greater),
        _ => return None,
    };
    let (number, zero) = if zero_first { (V1, V0) } else { (V0, V1) };
    shape.load(a, number, vm);
    a.bits(Bits::Xor, zero, zero, zero);
    compare(a, compared, slow);
    Some(())
}

/// Has V0 be its numbers times 2^`fraction` as words, where they fit.
fn to_words(a: &mut Asm, unsigned: bool, fraction: u8, slow: &mut Vec<Fixup>) {
    /// Twice the magnitude of 2^31: of what does not fit, and of NaNs, it is as large.
    const LIMIT: u32 = 2 * 0x4f00_0000;
    ones(a);
    magnitude(a, LEAST, V0);
    scale(a, fraction.into());
    a.shift_lanes(Shift::Left, (false, 2), 1, V6, V0);
    a.set(VALUE, LIMIT);
    a.duplicate(2, V4, VALUE);
    a.lanes(Lanes::GreaterEqual, WORDS, V6, V6, V4);
    a.singles_one(SinglesOne::ToWords, V0, V0);
    if unsigned {
        // Those of 2^31 and more are rare.
        a.shift_lanes(Shift::Right, (true, 2), 31, V4, V0);
        a.bits(Bits::Or, V6, V6, V4);
    }
    end(a, V6, slow);
}
