//! Lanes that saturate. The host says of none whether it did: results are compared with what they
//! were without, or the case is left to the handler. What saturates sets FPSCR.QC, which stays set.

use arm32_fpu::fpscr;
use arm32_isa::{Neon3Op, NeonDiffOp, NeonShiftOp};

use super::super::asm::{Alu, Asm, Cc, Fixup, Packed, PackedShift, Rm, Shuffle, Width, Xmm};
use super::super::frame::{self, WORK};
use super::lanes::{self, ADD, EQUAL, SUB, everywhere, has};
use super::{Shape, constant, resize};

use Xmm::{X0, X1, X2, X3, X4, X5};

/// Of a mask of bytes: all of them.
const ALL: i32 = 0xffff;

/// Sets QC unless the bytes of `x` that are all ones are those of `none`, a bit each.
fn note(a: &mut Asm, x: Xmm, none: i32) {
    a.high_bits(WORK, x);
    a.alu_imm(Width::Long, Alu::Cmp, Rm::Reg(WORK), none);
    let nothing = a.jump_if(Cc::E);
    let qc = fpscr::QC.cast_signed();
    a.alu_imm(Width::Long, Alu::Or, Rm::Mem(frame::FPSCR), qc);
    a.bind_here(nothing);
}

/// Leaves the instruction to the handler unless `x` and `y` are equal; `x` changes.
fn equal_or_slow(a: &mut Asm, x: Xmm, y: Xmm, slow: &mut Vec<Fixup>) {
    a.packed(Packed::Equal32, x, y);
    a.high_bits(WORK, x);
    a.alu_imm(Width::Long, Alu::Cmp, Rm::Reg(WORK), ALL);
    slow.push(a.jump_if(Cc::Ne));
}

/// Has each lane of `x` that is the least number be the greatest: it is what a result without
/// saturation is where it does not fit. `mask` changes.
fn flip_least(a: &mut Asm, size: u8, x: Xmm, mask: Xmm) -> Option<()> {
    let equal = *[
        Packed::Equal8,
        Packed::Equal16,
        Packed::Equal32,
        Packed::Equal64,
    ]
    .get(usize::from(size))?;
    has(equal).then_some(())?;
    constant(a, mask, everywhere(size, 1 << ((8 << size) - 1)));
    a.packed(equal, mask, x);
    note(a, mask, 0);
    a.packed(Packed::Xor, x, mask);
    Some(())
}

/// Operations on registers of one length, XMM0 and XMM1; returns where the result is.
pub(super) fn same(a: &mut Asm, size: u8, op: Neon3Op, unsigned: bool) -> Option<Xmm> {
    match op {
        Neon3Op::Vqadd => sum(a, size, unsigned, false),
        Neon3Op::Vqsub => sum(a, size, unsigned, true),
        Neon3Op::Vqdmulh => doubled_high(a, size, false),
        Neon3Op::Vqrdmulh => doubled_high(a, size, true),
        _ => None,
    }
}

/// Sums, or differences; returns where the result is. XMM2 to XMM5 change.
pub(super) fn sum(a: &mut Asm, size: u8, unsigned: bool, subtract: bool) -> Option<Xmm> {
    let plain = *if subtract { &SUB } else { &ADD }.get(usize::from(size))?;
    a.copy_vector(X2, X0);
    a.packed(plain, X2, X1);
    let limited = match (size, unsigned, subtract) {
        (0, false, false) => Packed::LimitedAddS8,
        (1, false, false) => Packed::LimitedAddS16,
        (0, true, false) => Packed::LimitedAddU8,
        (1, true, false) => Packed::LimitedAddU16,
        (0, false, true) => Packed::LimitedSubS8,
        (1, false, true) => Packed::LimitedSubS16,
        (0, true, true) => Packed::LimitedSubU8,
        (1, true, true) => Packed::LimitedSubU16,
        _ => return Some(wide_sum(a, size, unsigned, subtract)),
    };
    a.packed(limited, X0, X1);
    a.packed(Packed::Equal8, X2, X0);
    note(a, X2, ALL);
    Some(X0)
}

/// The same of lanes that no instruction saturates; XMM2 is the result without saturation.
fn wide_sum(a: &mut Asm, size: u8, unsigned: bool, subtract: bool) -> Xmm {
    // The signs of XMM3 say which lanes overflow.
    a.copy_vector(X3, X0);
    a.copy_vector(X4, X0);
    match (unsigned, subtract) {
        (false, false) => {
            // Operands of one sign, and a result of the other.
            a.packed(Packed::Xor, X3, X2);
            a.copy_vector(X4, X1);
            a.packed(Packed::Xor, X4, X2);
            a.packed(Packed::And, X3, X4);
        }
        (false, true) => {
            a.packed(Packed::Xor, X3, X1);
            a.packed(Packed::Xor, X4, X2);
            a.packed(Packed::And, X3, X4);
        }
        (true, false) => {
            // A carry: of both operands, or of one that was not kept.
            a.packed(Packed::And, X3, X1);
            a.packed(Packed::Or, X4, X1);
            a.copy_vector(X5, X2);
            a.packed(Packed::NotAnd, X5, X4);
            a.packed(Packed::Or, X3, X5);
        }
        (true, true) => {
            // A borrow.
            a.packed(Packed::NotAnd, X3, X1);
            a.packed(Packed::Xor, X4, X1);
            a.packed(Packed::NotAnd, X4, X2);
            a.packed(Packed::Or, X3, X4);
        }
    }
    spread_signs(a, size, X3);
    note(a, X3, 0);
    match (unsigned, subtract) {
        (true, false) => {
            a.packed(Packed::Or, X2, X3);
            X2
        }
        (true, true) => {
            a.packed(Packed::NotAnd, X3, X2);
            X3
        }
        (false, _) => {
            // The limit on the side of the first operand.
            spread_signs(a, size, X0);
            constant(a, X4, everywhere(size, lanes::ones(size) >> 1));
            a.packed(Packed::Xor, X0, X4);
            a.packed(Packed::And, X0, X3);
            a.packed(Packed::NotAnd, X3, X2);
            a.packed(Packed::Or, X0, X3);
            X0
        }
    }
}

/// Has all bits of the words or doublewords of `x` be their sign.
fn spread_signs(a: &mut Asm, size: u8, x: Xmm) {
    a.packed_shift(PackedShift::Signed32, x, 31);
    if size == 3 {
        a.shuffle(Shuffle::Words, x, x, lanes::UPPER);
    }
}

/// High halves of twice the products; returns where they are.
fn doubled_high(a: &mut Asm, size: u8, round: bool) -> Option<Xmm> {
    match size {
        1 => {
            a.copy_vector(X2, X0);
            a.packed(Packed::Mul16, X2, X1);
            a.packed(Packed::MulHighS16, X0, X1);
            a.packed_shift(PackedShift::Left16, X0, 1);
            if round {
                // What is the highest bit below the result.
                a.copy_vector(X3, X2);
                a.packed_shift(PackedShift::Left16, X3, 1);
                a.packed_shift(PackedShift::Right16, X3, 15);
            }
            a.packed_shift(PackedShift::Right16, X2, 15);
            a.packed(Packed::Or, X0, X2);
            if round {
                a.packed(Packed::Add16, X0, X3);
            }
        }
        2 if has(Packed::MulLongS32) => {
            a.copy_vector(X2, X0);
            a.copy_vector(X3, X1);
            a.packed_shift(PackedShift::Right64, X2, 32);
            a.packed_shift(PackedShift::Right64, X3, 32);
            a.packed(Packed::MulLongS32, X0, X1);
            a.packed(Packed::MulLongS32, X2, X3);
            a.packed(Packed::Add64, X0, X0);
            a.packed(Packed::Add64, X2, X2);
            if round {
                constant(a, X3, 1 << 31);
                a.packed(Packed::Add64, X0, X3);
                a.packed(Packed::Add64, X2, X3);
            }
            a.packed_shift(PackedShift::Right64, X0, 32);
            a.packed_shift(PackedShift::Right64, X2, 32);
            a.packed_shift(PackedShift::Left64, X2, 32);
            a.packed(Packed::Or, X0, X2);
        }
        _ => return None,
    }
    // Only the square of the least number does not fit, and only it gives the least one.
    flip_least(a, size, X0, X3)?;
    Some(X0)
}

/// Twice the products of low lanes, perhaps added to or taken from the destination; returns where
/// the result is.
pub(super) fn doubled_long(a: &mut Asm, size: u8, op: NeonDiffOp, vd: u8) -> Option<Xmm> {
    (size == 1 || size == 2).then_some(())?;
    let wide = size + 1;
    resize::product(a, size, false)?;
    a.packed(ADD[usize::from(wide)], X0, X0);
    flip_least(a, wide, X0, X3)?;
    let subtract = match op {
        NeonDiffOp::Vqdmull => return Some(X0),
        NeonDiffOp::Vqdmlal => false,
        NeonDiffOp::Vqdmlsl => true,
        _ => return None,
    };
    a.copy_vector(X1, X0);
    Shape::whole(true).load(a, X0, vd);
    sum(a, wide, false, subtract)
}

/// Has the lanes of XMM0 fit half their size, from and to lanes that are `unsigned`.
pub(super) fn fit(
    a: &mut Asm,
    size: u8,
    unsigned: (bool, bool),
    slow: &mut Vec<Fixup>,
) -> Option<()> {
    a.copy_vector(X2, X0);
    if size == 2 {
        // No instruction saturates: what does not fit is left to the handler.
        resize::narrow(a, size, X0, X0);
        a.copy_vector(X1, X0);
        resize::widen(a, X1, size, unsigned.1);
        equal_or_slow(a, X1, X2, slow);
        return Some(());
    }
    let pack = match (size, unsigned.1) {
        (0, false) => Packed::PackS16,
        (0, true) => Packed::PackU16,
        (_, false) => Packed::PackS32,
        (_, true) => Packed::PackU32,
    };
    has(pack).then_some(())?;
    if unsigned.0 {
        // To the host they are signed.
        let least = lanes::min(size + 1, true).filter(|op| has(*op))?;
        constant(a, X1, everywhere(size + 1, lanes::ones(size)));
        a.packed(least, X0, X1);
    }
    a.packed(pack, X0, X0);
    a.copy_vector(X1, X0);
    resize::widen(a, X1, size, unsigned.1);
    a.packed(Packed::Equal8, X1, X2);
    note(a, X1, ALL);
    Some(())
}

/// Shifts the lanes of XMM0 to the left, where nothing saturates; returns where the result is.
pub(super) fn left(
    a: &mut Asm,
    size: u8,
    op: NeonShiftOp,
    unsigned: bool,
    amount: u8,
    slow: &mut Vec<Fixup>,
) -> Option<Xmm> {
    let unsigned = match op {
        NeonShiftOp::Vqshl if amount == 0 => return Some(X0),
        NeonShiftOp::Vqshl => unsigned,
        // A negative number is another one when it comes back, if it moved at all.
        NeonShiftOp::Vqshlu if amount > 0 => true,
        _ => return None,
    };
    a.copy_vector(X2, X0);
    lanes::left(a, size, amount);
    lanes::clear(a, size, lanes::ones(size) << amount & lanes::ones(size));
    a.copy_vector(X3, X0);
    lanes::right(a, size, unsigned, amount);
    equal_or_slow(a, X0, X2, slow);
    Some(X3)
}

/// Has the lanes of XMM0 change their sign, or be without it.
pub(super) fn negated(a: &mut Asm, size: u8, absolute: bool) -> Option<()> {
    EQUAL.get(usize::from(size))?;
    if absolute {
        lanes::absolute(a, X0, size);
    } else {
        a.packed(Packed::Xor, X1, X1);
        a.packed(SUB[usize::from(size)], X1, X0);
        a.copy_vector(X0, X1);
    }
    flip_least(a, size, X0, X3)
}
