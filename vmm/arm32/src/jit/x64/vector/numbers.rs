//! Advanced SIMD on single-precision numbers by the host's, where that gives the same results and
//! the same flags.
//!
//! Advanced SIMD obeys the standard FPSCR value: it rounds to nearest, as the host does, flushes
//! denormal numbers to zero, and gives the default NaN for every NaN. All lanes are done at once,
//! and all are left to the handler if one of them is not sure to be the same:
//! - IXC is to be set already wherever a result may be inexact, as in VFP's arithmetic.
//! - An operand that is a denormal number is flushed, and raises IDC.
//! - Results that are NaNs or infinities come with IOC or OFC.
//! - A result that is tiny before it is rounded is flushed, and raises UFC. It is at most the
//!   smallest normal number: whatever is as small is left to the handler, but exact zeros.
//!
//! The upper lanes of doublewords are zeros, which are sure to be the same.

use arm32_isa::{Insn, Neon2Op};

use super::super::asm::{
    Asm, Cc, CompareSingles, Fixup, Fused, Packed, PackedShift, Rm, Singles, Xmm,
};
use super::super::frame;
use super::lanes::{everywhere, has, has_fused};
use super::{Shape, constant, lane_of};
use crate::jit::singles::{Kind, Operation, Relation, Sum};

use Xmm::{X0, X1, X2, X3, X4, X5, X6, X7};

/// The bit of the FPSCR that says that there was an inexact result.
const IXC_BIT: u8 = 4;
/// The least of the magnitudes that were looked at: what must not be tiny.
const LEAST: Xmm = X5;
/// Ones.
const ONES: Xmm = X7;
/// The even words of two vectors, or the odd ones.
const EVEN: u8 = 0b10_00_10_00;
const ODD: u8 = 0b11_01_11_01;

/// Writes an instruction on single-precision numbers; branches to `slow` where the handler must do
/// it. `None`, and nothing is written, if there is no code for it.
pub(super) fn emit(a: &mut Asm, insn: &Insn, slow: &mut Vec<Fixup>) -> Option<()> {
    // All of them look at magnitudes as unsigned numbers, and at many lanes at once.
    (has(Packed::MinU32) && has(Packed::Test)).then_some(())?;
    if let Some(operation) = Operation::of(insn) {
        return three(a, operation, slow);
    }
    match *insn {
        Insn::Neon2 { op, q, vd, vm, .. } => {
            let shape = Shape { q, size: 2 };
            let result = one(a, shape, op, vm, slow)?;
            shape.store(a, vd, result);
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
            shape.load(a, X0, vm);
            if to_fixed {
                to_words(a, unsigned, fraction, slow);
            } else {
                from_words(a, unsigned, fraction, slow);
            }
            shape.store(a, vd, X0);
        }
        _ => return None,
    }
    Some(())
}

/// Leaves the instruction to the handler unless there was an inexact result already.
fn inexact_already(a: &mut Asm, slow: &mut Vec<Fixup>) {
    a.bit_test(Rm::Mem(frame::FPSCR), IXC_BIT);
    slow.push(a.jump_if(Cc::Ae));
}

/// Has `d` be twice the magnitudes of `x` less one, so that zeros are the largest of all.
fn magnitude(a: &mut Asm, d: Xmm, x: Xmm) {
    a.copy_vector(d, x);
    a.packed_shift(PackedShift::Left32, d, 1);
    a.packed(Packed::Add32, d, ONES);
}

/// Begins with the magnitudes of XMM0 and XMM1; XMM6 has those of XMM1.
fn begin(a: &mut Asm) {
    a.packed(Packed::Equal32, ONES, ONES);
    magnitude(a, LEAST, X0);
    magnitude(a, X6, X1);
}

/// Looks at the magnitudes of `x`, too; XMM6 changes.
fn and_of(a: &mut Asm, x: Xmm) {
    magnitude(a, X6, x);
    a.packed(Packed::MinU32, LEAST, X6);
}

/// Begins with the magnitudes of XMM0 and XMM1; XMM3 is ones where one of them is zero.
fn begin_product(a: &mut Asm) {
    begin(a);
    a.copy_vector(X3, LEAST);
    a.packed(Packed::MaxU32, X3, X6);
    a.packed(Packed::Equal32, X3, ONES);
    a.packed(Packed::MinU32, LEAST, X6);
}

/// Looks at the magnitudes of a product, which is an exact zero only where XMM3 says so; XMM4 and
/// XMM6 change.
fn and_of_product(a: &mut Asm, x: Xmm) {
    a.copy_vector(X4, x);
    a.packed_shift(PackedShift::Left32, X4, 1);
    a.copy_vector(X6, X4);
    a.packed(Packed::Add32, X6, ONES);
    // Zeros stay zeros.
    a.packed(Packed::MinU32, X6, X4);
    a.packed(Packed::Or, X6, X3);
    a.packed(Packed::MinU32, LEAST, X6);
}

/// Leaves the instruction to the handler if any of the magnitudes is tiny, or if the lanes of `bad`
/// are not zero; both change, and XMM4.
fn end(a: &mut Asm, bad: Xmm, slow: &mut Vec<Fixup>) {
    a.packed_shift(PackedShift::Right32, LEAST, 24);
    a.packed(Packed::Xor, X4, X4);
    a.packed(Packed::Equal32, LEAST, X4);
    a.packed(Packed::Or, bad, LEAST);
    a.packed(Packed::Test, bad, bad);
    slow.push(a.jump_if(Cc::Ne));
}

/// Ends with a result that must be finite.
fn end_finite(a: &mut Asm, x: Xmm, slow: &mut Vec<Fixup>) {
    // A number less itself is zero; of all else it is a NaN.
    a.copy_vector(X6, x);
    a.singles(Singles::Sub, X6, X6);
    end(a, X6, slow);
}

/// Ends with XMM0 and XMM1, which must be no NaNs.
fn end_ordered(a: &mut Asm, slow: &mut Vec<Fixup>) {
    a.packed(Packed::MinU32, LEAST, X6);
    a.copy_vector(X6, X0);
    a.compare_singles(CompareSingles::Unordered, X6, X1);
    end(a, X6, slow);
}

/// Has XMM0 be the even ones of the words of two doublewords, and XMM1 the odd ones.
fn part_pairs(a: &mut Asm) {
    a.packed(Packed::UnpackLow64, X0, X1);
    a.copy_vector(X1, X0);
    a.shuffle_two(X0, X0, EVEN);
    a.shuffle_two(X1, X1, ODD);
}

/// Has the numbers of `x` be without signs.
fn unsigned(a: &mut Asm, x: Xmm) {
    a.packed_shift(PackedShift::Left32, x, 1);
    a.packed_shift(PackedShift::Right32, x, 1);
}

/// Has all numbers of `x` be `value`.
fn number(a: &mut Asm, x: Xmm, value: f32) {
    constant(a, x, everywhere(2, value.to_bits().into()));
}

/// Writes an operation on two registers.
fn three(a: &mut Asm, operation: Operation, slow: &mut Vec<Fixup>) -> Option<()> {
    let Operation { kind, q, vd, .. } = operation;
    if matches!(kind, Kind::Fused(_)) {
        has_fused().then_some(())?;
    }
    let shape = Shape { q, size: 2 };
    if let Some(lane) = operation.lane {
        lane_of(a, 2, operation.vm, lane)?;
        a.copy_vector(X1, X0);
    } else {
        shape.load(a, X1, operation.vm);
    }
    shape.load(a, X0, operation.vn);
    let result = combined(a, shape, kind, vd, slow);
    shape.store(a, vd, result);
    Some(())
}

const fn sum_of(sum: Sum) -> Singles {
    match sum {
        Sum::Add => Singles::Add,
        Sum::Sub => Singles::Sub,
    }
}

/// Puts XMM0 and XMM1 together; returns where the result is.
fn combined(a: &mut Asm, shape: Shape, kind: Kind, vd: u8, slow: &mut Vec<Fixup>) -> Xmm {
    match kind {
        Kind::Sum(op) => add(a, sum_of(op), slow),
        Kind::SumOfPairs => {
            part_pairs(a);
            add(a, Singles::Add, slow);
        }
        Kind::Difference => {
            add(a, Singles::Sub, slow);
            unsigned(a, X0);
        }
        Kind::Multiply(then) => {
            product(a, slow);
            let Some(op) = then else {
                end_finite(a, X2, slow);
                return X2;
            };
            shape.load(a, X0, vd);
            and_of(a, X0);
            with_product(a, sum_of(op), slow);
        }
        Kind::Step { from, half } => {
            product(a, slow);
            number(a, X0, from);
            with_product(a, Singles::Sub, slow);
            if half {
                // Exact: what is left of three is not tiny.
                number(a, X1, 0.5);
                a.singles(Singles::Mul, X0, X1);
            }
        }
        Kind::Fused(op) => {
            let op = match op {
                Sum::Add => Fused::Add,
                Sum::Sub => Fused::Sub,
            };
            inexact_already(a, slow);
            begin_product(a);
            shape.load(a, X2, vd);
            and_of(a, X2);
            a.fused_singles(op, X2, X0, X1);
            and_of_product(a, X2);
            end_finite(a, X2, slow);
            return X2;
        }
        Kind::Extreme { larger, pairs } => {
            if pairs {
                part_pairs(a);
            }
            extreme(a, larger, slow);
        }
        Kind::Compare(relation) => return compare(a, relation, slow),
        Kind::CompareMagnitudes(relation) => {
            unsigned(a, X0);
            unsigned(a, X1);
            return compare(a, relation, slow);
        }
    }
    X0
}

/// Has XMM0 be the sum, or difference, of XMM0 and XMM1.
fn add(a: &mut Asm, op: Singles, slow: &mut Vec<Fixup>) {
    inexact_already(a, slow);
    begin(a);
    a.packed(Packed::MinU32, LEAST, X6);
    a.singles(op, X0, X1);
    // One that is zero is exact: both operands are multiples of the smallest denormal number.
    and_of(a, X0);
    end_finite(a, X0, slow);
}

/// Has XMM2 be the product of XMM0 and XMM1, whose magnitudes are still to be judged.
fn product(a: &mut Asm, slow: &mut Vec<Fixup>) {
    inexact_already(a, slow);
    begin_product(a);
    a.copy_vector(X2, X0);
    a.singles(Singles::Mul, X2, X1);
    and_of_product(a, X2);
}

/// Puts XMM0 and the product in XMM2 together.
fn with_product(a: &mut Asm, op: Singles, slow: &mut Vec<Fixup>) {
    a.singles(op, X0, X2);
    and_of(a, X0);
    end_finite(a, X0, slow);
}

/// Has XMM0 be the larger or smaller numbers of XMM0 and XMM1.
fn extreme(a: &mut Asm, larger: bool, slow: &mut Vec<Fixup>) {
    // Of zeros the sign decides, which is what the two ways round differ in.
    let (op, combine) = if larger {
        (Singles::Max, Packed::And)
    } else {
        (Singles::Min, Packed::Or)
    };
    begin(a);
    end_ordered(a, slow);
    a.copy_vector(X2, X0);
    a.singles(op, X0, X1);
    a.singles(op, X1, X2);
    a.packed(combine, X0, X1);
}

/// Compares XMM0 with XMM1; returns where the result is.
fn compare(a: &mut Asm, relation: Relation, slow: &mut Vec<Fixup>) -> Xmm {
    // The second is less.
    let op = match relation {
        Relation::Equal => CompareSingles::Equal,
        Relation::GreaterEqual => CompareSingles::LessEqual,
        Relation::Greater => CompareSingles::Less,
    };
    begin(a);
    end_ordered(a, slow);
    a.compare_singles(op, X1, X0);
    X1
}

/// Operations on one register; returns where the result is.
fn one(a: &mut Asm, shape: Shape, op: Neon2Op, vm: u8, slow: &mut Vec<Fixup>) -> Option<Xmm> {
    let (zero_first, compared) = match op {
        Neon2Op::VabsF | Neon2Op::VnegF => (false, None),
        Neon2Op::Vceq0F => (false, Some(Relation::Equal)),
        Neon2Op::Vcgt0F => (false, Some(Relation::Greater)),
        Neon2Op::Vcge0F => (false, Some(Relation::GreaterEqual)),
        Neon2Op::Vcle0F => (true, Some(Relation::GreaterEqual)),
        Neon2Op::Vclt0F => (true, Some(Relation::Greater)),
        _ => return None,
    };
    let (number, zero) = if zero_first { (X1, X0) } else { (X0, X1) };
    shape.load(a, number, vm);
    match (op, compared) {
        (_, Some(compared)) => {
            a.packed(Packed::Xor, zero, zero);
            return Some(compare(a, compared, slow));
        }
        (Neon2Op::VabsF, _) => unsigned(a, number),
        _ => {
            a.packed(Packed::Equal32, ONES, ONES);
            a.packed_shift(PackedShift::Left32, ONES, 31);
            a.packed(Packed::Xor, number, ONES);
        }
    }
    Some(number)
}

/// Has XMM0 be its numbers times 2^`fraction` as words, where they fit.
fn to_words(a: &mut Asm, unsigned: bool, fraction: u8, slow: &mut Vec<Fixup>) {
    a.packed(Packed::Equal32, ONES, ONES);
    magnitude(a, LEAST, X0);
    if fraction > 0 {
        // What is infinite then does not fit either.
        number(a, X1, power(i32::from(fraction)));
        a.singles(Singles::Mul, X0, X1);
    }
    a.singles_to_words(X0, X0);
    // What does not fit has become the least word. A sign says the same of unsigned words, and of
    // those of which the host knows nothing.
    a.copy_vector(X6, X0);
    if unsigned {
        a.packed_shift(PackedShift::Right32, X6, 31);
    } else {
        a.packed_shift(PackedShift::Left32, ONES, 31);
        a.packed(Packed::Equal32, X6, ONES);
    }
    end(a, X6, slow);
}

/// Has XMM0 be its words, divided by 2^`fraction`, as numbers.
fn from_words(a: &mut Asm, unsigned: bool, fraction: u8, slow: &mut Vec<Fixup>) {
    if unsigned {
        // The host has signed words only.
        a.copy_vector(X6, X0);
        a.packed_shift(PackedShift::Right32, X6, 31);
        a.packed(Packed::Test, X6, X6);
        slow.push(a.jump_if(Cc::Ne));
    }
    a.words_to_singles(X0, X0);
    if fraction > 0 {
        // Exact: no word is so small.
        number(a, X1, power(-i32::from(fraction)));
        a.singles(Singles::Mul, X0, X1);
    }
}

/// Returns 2^`exponent`, of at most 32.
fn power(exponent: i32) -> f32 {
    2f32.powi(exponent)
}
