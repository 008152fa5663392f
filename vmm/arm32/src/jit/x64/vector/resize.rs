//! Lanes to twice their size, and to half of it: the instructions, and what they are made of.
//!
//! `size` is that of the narrow lanes, 0 to 2.

use arm32_isa::{Insn, NeonDiffOp, NeonMovnOp, NeonNarrowOp};

use super::super::asm::{Asm, Fixup, Packed, PackedShift, Shuffle, Xmm};
use super::lanes::{self, ADD, SUB, everywhere, has};
use super::{Shape, constant, lane_of, saturate};
use crate::jit::lengths::Lengths;

use Xmm::{X0, X1, X2, X5};

/// Has the lanes of `x` be those of its low half, extended; XMM5 changes.
pub(super) fn widen(a: &mut Asm, x: Xmm, size: u8, unsigned: bool) {
    let (interleave, sign) = match size {
        0 => (Packed::UnpackLow8, Some(PackedShift::Signed16)),
        1 => (Packed::UnpackLow16, Some(PackedShift::Signed32)),
        // No shift has lanes of this size and signs.
        _ => (Packed::UnpackLow32, None),
    };
    if !unsigned && let Some(sign) = sign {
        a.packed(interleave, x, x);
        return a.packed_shift(sign, x, 8 << size);
    }
    a.packed(Packed::Xor, X5, X5);
    if !unsigned {
        a.packed(Packed::Greater32, X5, x);
    }
    a.packed(interleave, x, X5);
}

/// Has the lanes of `x` be the low halves of its own, and of `y`; XMM5 changes, and `y`.
pub fn narrow(a: &mut Asm, size: u8, x: Xmm, y: Xmm) {
    let others = (x != y).then_some(y);
    let both = [x].into_iter().chain(others);
    match size {
        0 => {
            a.packed(Packed::Equal32, X5, X5);
            a.packed_shift(PackedShift::Right16, X5, 8);
            both.for_each(|v| a.packed(Packed::And, v, X5));
            a.packed(Packed::PackU16, x, y);
        }
        1 => {
            for v in both {
                a.packed_shift(PackedShift::Left32, v, 16);
                a.packed_shift(PackedShift::Signed32, v, 16);
            }
            a.packed(Packed::PackS32, x, y);
        }
        _ => a.shuffle_two(x, y, 0b10_00_10_00),
    }
}

/// The same of their high halves; XMM5 stays.
pub fn narrow_high(a: &mut Asm, size: u8, x: Xmm, y: Xmm) {
    let others = (x != y).then_some(y);
    let both = [x].into_iter().chain(others);
    match size {
        0 => {
            both.for_each(|v| a.packed_shift(PackedShift::Right16, v, 8));
            a.packed(Packed::PackU16, x, y);
        }
        1 => {
            both.for_each(|v| a.packed_shift(PackedShift::Signed32, v, 16));
            a.packed(Packed::PackS32, x, y);
        }
        _ => a.shuffle_two(x, y, 0b11_01_11_01),
    }
}

/// Has XMM0 be the products of the low lanes of XMM0 and XMM1, in lanes of twice the size; XMM1,
/// XMM2 and XMM5 change. `None` if the host has none.
pub(super) fn product(a: &mut Asm, size: u8, unsigned: bool) -> Option<()> {
    match size {
        0 => {
            widen(a, X0, size, unsigned);
            widen(a, X1, size, unsigned);
            a.packed(Packed::Mul16, X0, X1);
        }
        1 => {
            let high = if unsigned {
                Packed::MulHighU16
            } else {
                Packed::MulHighS16
            };
            a.copy_vector(X2, X0);
            a.packed(Packed::Mul16, X0, X1);
            a.packed(high, X2, X1);
            a.packed(Packed::UnpackLow16, X0, X2);
        }
        _ => {
            let long = if unsigned {
                Packed::MulLongU32
            } else {
                Packed::MulLongS32
            };
            has(long).then_some(())?;
            for x in [X0, X1] {
                a.shuffle(Shuffle::Words, x, x, 0b01_01_00_00);
            }
            a.packed(long, X0, X1);
        }
    }
    Some(())
}

/// Writes an operation on registers of different lengths.
pub(super) fn different(a: &mut Asm, insn: &Insn) -> Option<()> {
    let Lengths {
        op,
        unsigned,
        size,
        vd,
        vn,
        vm,
        lane,
    } = Lengths::of(insn)?;
    match lane {
        Some(lane) => {
            lane_of(a, size, vm, lane)?;
            a.copy_vector(X1, X0);
        }
        None => Shape::whole(op.narrows()).load(a, X1, vm),
    }
    Shape::whole(op.narrows() || op.is_wide()).load(a, X0, vn);
    if op.narrows() {
        halves(a, size, op)?;
        Shape::whole(false).store(a, vd, X0);
        return Some(());
    }
    let result = long(a, size, op, unsigned, vd)?;
    Shape::whole(true).store(a, vd, result);
    Some(())
}

/// Operations to lanes of twice the size; returns where the result is.
fn long(a: &mut Asm, size: u8, op: NeonDiffOp, unsigned: bool, vd: u8) -> Option<Xmm> {
    let wide = usize::from(size) + 1;
    let extend_both = |a: &mut Asm| {
        widen(a, X0, size, unsigned);
        widen(a, X1, size, unsigned);
    };
    match op {
        NeonDiffOp::Vaddw | NeonDiffOp::Vsubw => widen(a, X1, size, unsigned),
        NeonDiffOp::Vaddl | NeonDiffOp::Vsubl | NeonDiffOp::Vabdl | NeonDiffOp::Vabal => {
            extend_both(a);
        }
        NeonDiffOp::Vmull | NeonDiffOp::Vmlal | NeonDiffOp::Vmlsl => product(a, size, unsigned)?,
        _ => return saturate::doubled_long(a, size, op, vd),
    }
    match op {
        NeonDiffOp::Vaddl | NeonDiffOp::Vaddw => a.packed(ADD[wide], X0, X1),
        NeonDiffOp::Vsubl | NeonDiffOp::Vsubw => a.packed(SUB[wide], X0, X1),
        NeonDiffOp::Vabdl | NeonDiffOp::Vabal => {
            a.packed(SUB[wide], X0, X1);
            lanes::absolute(a, X0, size + 1);
        }
        _ => {}
    }
    match op {
        NeonDiffOp::Vabal | NeonDiffOp::Vmlal => {
            Shape::whole(true).load(a, X1, vd);
            a.packed(ADD[wide], X0, X1);
        }
        NeonDiffOp::Vmlsl => {
            Shape::whole(true).load(a, X1, vd);
            a.packed(SUB[wide], X1, X0);
            return Some(X1);
        }
        _ => {}
    }
    Some(X0)
}

/// Has XMM0 be the high halves of sums or differences.
fn halves(a: &mut Asm, size: u8, op: NeonDiffOp) -> Option<()> {
    let wide = size + 1;
    let (table, rounds) = match op {
        NeonDiffOp::Vaddhn => (&ADD, false),
        NeonDiffOp::Vraddhn => (&ADD, true),
        NeonDiffOp::Vsubhn => (&SUB, false),
        NeonDiffOp::Vrsubhn => (&SUB, true),
        _ => return None,
    };
    a.packed(table[usize::from(wide)], X0, X1);
    if rounds {
        constant(a, X1, everywhere(wide, 1 << ((8 << size) - 1)));
        a.packed(ADD[usize::from(wide)], X0, X1);
    }
    narrow_high(a, size, X0, X0);
    Some(())
}

/// Writes a shift or move to lanes of half the size, or of twice the size.
pub(super) fn resized(a: &mut Asm, insn: &Insn, slow: &mut Vec<Fixup>) -> Option<()> {
    match *insn {
        Insn::NeonNarrow {
            op,
            unsigned,
            size,
            vd,
            vm,
            shift,
        } if size < 3 && (1..=8 << size).contains(&shift) => {
            Shape::whole(true).load(a, X0, vm);
            // Without saturation either will do: no copy of the sign gets into what is kept.
            let (rounds, unsigned, keep) = match op {
                NeonNarrowOp::Vshrn => (false, true, NeonMovnOp::Vmovn),
                NeonNarrowOp::Vrshrn => (true, true, NeonMovnOp::Vmovn),
                NeonNarrowOp::Vqshrn => (false, unsigned, NeonMovnOp::Vqmovn),
                NeonNarrowOp::Vqrshrn => (true, unsigned, NeonMovnOp::Vqmovn),
                NeonNarrowOp::Vqshrun => (false, false, NeonMovnOp::Vqmovun),
                NeonNarrowOp::Vqrshrun => (true, false, NeonMovnOp::Vqmovun),
            };
            if rounds {
                lanes::right_rounded(a, size + 1, unsigned, shift);
            } else {
                lanes::right(a, size + 1, unsigned, shift);
            }
            fit(a, keep, size, unsigned, slow)?;
            Shape::whole(false).store(a, vd, X0);
        }
        Insn::NeonMovn {
            op,
            unsigned,
            size,
            vd,
            vm,
        } if size < 3 => {
            Shape::whole(true).load(a, X0, vm);
            fit(a, op, size, unsigned, slow)?;
            Shape::whole(false).store(a, vd, X0);
        }
        Insn::Vshll {
            unsigned,
            size,
            vd,
            vm,
            shift,
        } if size < 3 && shift < 8 << size => {
            // By all of a lane's size is an instruction of its own, and rare.
            Shape::whole(false).load(a, X0, vm);
            widen(a, X0, size, unsigned);
            if shift > 0 {
                lanes::left(a, size + 1, shift);
            }
            Shape::whole(true).store(a, vd, X0);
        }
        _ => return None,
    }
    Some(())
}

/// Has the lanes of XMM0 be what is kept of them in half their size.
fn fit(a: &mut Asm, op: NeonMovnOp, size: u8, unsigned: bool, slow: &mut Vec<Fixup>) -> Option<()> {
    match op {
        NeonMovnOp::Vmovn => narrow(a, size, X0, X0),
        NeonMovnOp::Vqmovn => saturate::fit(a, size, (unsigned, unsigned), slow)?,
        NeonMovnOp::Vqmovun => saturate::fit(a, size, (false, true), slow)?,
    }
    Some(())
}

/// Has XMM0 be the sums of neighbours, in lanes of twice the size.
pub(super) fn add_pairs(a: &mut Asm, size: u8, unsigned: bool) -> Option<()> {
    let (left, right) = match (size, unsigned) {
        (0, true) => (PackedShift::Left16, PackedShift::Right16),
        (0, false) => (PackedShift::Left16, PackedShift::Signed16),
        (1, true) => (PackedShift::Left32, PackedShift::Right32),
        (1, false) => (PackedShift::Left32, PackedShift::Signed32),
        (2, _) => (PackedShift::Left64, PackedShift::Right64),
        _ => return None,
    };
    let width = 8 << size;
    if size == 2 && !unsigned {
        // A negative number counts 2^32 too much.
        a.copy_vector(X2, X0);
        a.packed_shift(PackedShift::Right32, X2, 31);
        a.copy_vector(X1, X2);
        a.packed_shift(PackedShift::Right64, X1, 32);
        a.packed(Packed::Add32, X2, X1);
        a.packed_shift(PackedShift::Left64, X2, 32);
    }
    a.copy_vector(X1, X0);
    a.packed_shift(left, X1, width);
    a.packed_shift(right, X1, width);
    a.packed_shift(right, X0, width);
    a.packed(ADD[usize::from(size) + 1], X0, X1);
    if size == 2 && !unsigned {
        a.packed(Packed::Sub64, X0, X2);
    }
    Some(())
}
