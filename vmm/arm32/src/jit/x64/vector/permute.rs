//! What moves lanes of XMM registers and does nothing else.

use arm32_isa::{Neon2Op, NeonPermuteOp};

use super::super::asm::{Asm, Packed, PackedShift, Shuffle, Xmm};
use super::super::frame;
use super::lanes::{everywhere, has};
use super::{Shape, constant, resize};

use Xmm::{X0, X1, X2, X3, X4};

/// Reverses the lanes of XMM0 within groups.
pub(super) fn reverse(a: &mut Asm, shape: Shape, op: Neon2Op) -> Option<()> {
    /// Of four lanes, the neighbours change places.
    const PAIRS: u8 = 0b10_11_00_01;
    /// All four change places.
    const FOUR: u8 = 0b00_01_10_11;
    let step: Option<(bool, u8)> = match (op, shape.size) {
        (Neon2Op::Vrev16, 0) => None,
        (Neon2Op::Vrev32, 0 | 1) => Some((true, PAIRS)),
        (Neon2Op::Vrev64, 0 | 1) => Some((true, FOUR)),
        (Neon2Op::Vrev64, 2) => Some((false, PAIRS)),
        _ => return None,
    };
    if shape.size == 0 {
        // The bytes of each halfword first.
        a.copy_vector(X1, X0);
        a.packed_shift(PackedShift::Right16, X0, 8);
        a.packed_shift(PackedShift::Left16, X1, 8);
        a.packed(Packed::Or, X0, X1);
    }
    match step {
        Some((true, choice)) => {
            a.shuffle(Shuffle::LowHalfwords, X0, X0, choice);
            a.shuffle(Shuffle::HighHalfwords, X0, X0, choice);
        }
        Some((false, choice)) => a.shuffle(Shuffle::Words, X0, X0, choice),
        None => {}
    }
    Some(())
}

/// Permutes XMM0 and XMM1; returns where the results are.
pub(super) fn permute(a: &mut Asm, shape: Shape, op: NeonPermuteOp) -> Option<(Xmm, Xmm)> {
    let Shape { q, size } = shape;
    let low = [Packed::UnpackLow8, Packed::UnpackLow16, Packed::UnpackLow32];
    let high = [
        Packed::UnpackHigh8,
        Packed::UnpackHigh16,
        Packed::UnpackHigh32,
    ];
    if op == NeonPermuteOp::Vswp {
        return Some((X1, X0));
    }
    let (low, high) = (shape.of(&low)?, shape.of(&high)?);
    match op {
        // Of two doublewords the results lie side by side.
        NeonPermuteOp::Vzip if !q => {
            a.packed(low, X0, X1);
            a.copy_vector(X2, X0);
            a.packed_shift(PackedShift::Right128, X2, 8);
        }
        NeonPermuteOp::Vzip => {
            a.copy_vector(X2, X0);
            a.packed(low, X0, X1);
            a.packed(high, X2, X1);
        }
        NeonPermuteOp::Vuzp if !q => {
            a.packed(Packed::UnpackLow64, X0, X1);
            a.copy_vector(X2, X0);
            resize::narrow(a, size, X0, X0);
            resize::narrow_high(a, size, X2, X2);
        }
        NeonPermuteOp::Vuzp => {
            a.copy_vector(X2, X0);
            a.copy_vector(X3, X1);
            resize::narrow(a, size, X0, X1);
            resize::narrow_high(a, size, X2, X3);
        }
        _ => transpose(a, size),
    }
    Some((X0, X2))
}

/// Has XMM0 be the even lanes of XMM0 and XMM1 by turns, and XMM2 the odd ones.
fn transpose(a: &mut Asm, size: u8) {
    let (left, right) = match size {
        0 => (PackedShift::Left16, PackedShift::Right16),
        1 => (PackedShift::Left32, PackedShift::Right32),
        _ => (PackedShift::Left64, PackedShift::Right64),
    };
    let width = 8 << size;
    a.copy_vector(X2, X0);
    a.copy_vector(X3, X1);
    a.packed_shift(left, X0, width);
    a.packed_shift(right, X0, width);
    a.packed_shift(left, X3, width);
    a.packed(Packed::Or, X0, X3);
    a.packed_shift(right, X2, width);
    a.packed_shift(right, X1, width);
    a.packed_shift(left, X1, width);
    a.packed(Packed::Or, X2, X1);
}

/// Looks bytes up in a table of some doublewords.
pub(super) fn look_up(
    a: &mut Asm,
    extension: bool,
    count: u8,
    (vd, vn, vm): (u8, u8, u8),
) -> Option<()> {
    has(Packed::ShuffleBytes).then_some(())?;
    ((1..=4).contains(&count) && vn + count <= 32).then_some(())?;
    let doubleword = Shape::whole(false);
    let part = |a: &mut Asm, x: Xmm, first: u8| {
        let bytes = if count > first + 1 { 16 } else { 8 };
        a.load_vector(bytes, x, frame::bank(8 * (vn + first)));
    };
    doubleword.load(a, X0, vm);
    a.copy_vector(X1, X0);
    // An index of 16 or more gets a sign, which stands for 0; others stay in their low bits.
    constant(a, X3, everywhere(0, 0x70));
    a.packed(Packed::LimitedAddU8, X1, X3);
    part(a, X2, 0);
    a.packed(Packed::ShuffleBytes, X2, X1);
    if count > 2 {
        // Those below 16 become large ones.
        a.copy_vector(X1, X0);
        constant(a, X4, everywhere(0, 16));
        a.packed(Packed::Sub8, X1, X4);
        a.packed(Packed::LimitedAddU8, X1, X3);
        part(a, X4, 2);
        a.packed(Packed::ShuffleBytes, X4, X1);
        a.packed(Packed::Or, X2, X4);
    }
    if extension {
        // What is beyond the table stays as it was.
        constant(a, X1, everywhere(0, 8 * u64::from(count)));
        a.packed(Packed::MaxU8, X1, X0);
        a.packed(Packed::Equal8, X1, X0);
        doubleword.load(a, X0, vd);
        a.packed(Packed::And, X0, X1);
        a.packed(Packed::Or, X2, X0);
    }
    doubleword.store(a, vd, X2);
    Some(())
}

/// Has XMM0 be the bytes of two registers from place `from` of the first on.
pub(super) fn extract(a: &mut Asm, shape: Shape, (vn, vm): (u8, u8), from: u8) {
    let from = from & 15;
    shape.load(a, X0, vn);
    if from == 0 {
        return;
    }
    shape.load(a, X1, vm);
    if !shape.q {
        a.packed(Packed::UnpackLow64, X0, X1);
        a.packed_shift(PackedShift::Right128, X0, from);
        return;
    }
    a.packed_shift(PackedShift::Right128, X0, from);
    a.packed_shift(PackedShift::Left128, X1, 16 - from);
    a.packed(Packed::Or, X0, X1);
}
