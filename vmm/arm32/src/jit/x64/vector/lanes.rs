//! Which instruction of the host is for which lanes, and shifts by constants.

use arm32_isa::NeonShiftOp;

use super::super::asm::{Asm, Fixup, Packed, PackedShift, Shuffle, Xmm};
use super::{Shape, constant, saturate};

use Xmm::{X0, X1, X2, X3, X5};

/// Of each doubleword, the upper word twice.
pub(super) const UPPER: u8 = 0b11_11_01_01;

/// Sums, by size of the lanes.
pub(super) const ADD: [Packed; 4] = [Packed::Add8, Packed::Add16, Packed::Add32, Packed::Add64];
/// Differences.
pub(super) const SUB: [Packed; 4] = [Packed::Sub8, Packed::Sub16, Packed::Sub32, Packed::Sub64];
/// Equal lanes.
pub(super) const EQUAL: [Packed; 3] = [Packed::Equal8, Packed::Equal16, Packed::Equal32];
/// Greater signed lanes.
pub(super) const GREATER: [Packed; 3] = [Packed::Greater8, Packed::Greater16, Packed::Greater32];

/// Returns whether the host has `op`.
pub fn has(op: Packed) -> bool {
    #[cfg(target_arch = "x86_64")]
    let sse41 = std::arch::is_x86_feature_detected!("sse4.1");
    #[cfg(not(target_arch = "x86_64"))]
    let sse41 = false;
    !op.needs_sse41() || sse41
}

/// Returns whether the host has products that are not rounded before they are added.
pub fn has_fused() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Has XMM0 be the low halves of the products of the lanes of XMM0 and XMM1, if the host has some.
pub(super) fn multiply(a: &mut Asm, size: u8) -> Option<()> {
    match size {
        0 => {
            // The upper bytes of halfwords apart.
            a.copy_vector(X2, X0);
            a.copy_vector(X3, X1);
            a.packed_shift(PackedShift::Right16, X2, 8);
            a.packed_shift(PackedShift::Right16, X3, 8);
            a.packed(Packed::Mul16, X0, X1);
            a.packed(Packed::Mul16, X2, X3);
            a.packed_shift(PackedShift::Left16, X0, 8);
            a.packed_shift(PackedShift::Right16, X0, 8);
            a.packed_shift(PackedShift::Left16, X2, 8);
            a.packed(Packed::Or, X0, X2);
        }
        1 => a.packed(Packed::Mul16, X0, X1),
        2 if has(Packed::Mul32) => a.packed(Packed::Mul32, X0, X1),
        _ => return None,
    }
    Some(())
}

/// Has the bytes of XMM0 be how many ones they have: of pairs of bits, of four, and of all.
pub(super) fn count_ones(a: &mut Asm) {
    for (by, keep) in [(1, 0x55), (2, 0x33), (4, 0x0f)] {
        constant(a, X1, everywhere(0, keep));
        a.copy_vector(X2, X0);
        a.packed_shift(PackedShift::Right16, X2, by);
        a.packed(Packed::And, X0, X1);
        a.packed(Packed::And, X2, X1);
        a.packed(Packed::Add8, X0, X2);
    }
}

/// Returns the larger of lanes.
pub(super) const fn max(size: u8, unsigned: bool) -> Option<Packed> {
    Some(match (size, unsigned) {
        (0, true) => Packed::MaxU8,
        (1, true) => Packed::MaxU16,
        (2, true) => Packed::MaxU32,
        (0, false) => Packed::MaxS8,
        (1, false) => Packed::MaxS16,
        (2, false) => Packed::MaxS32,
        _ => return None,
    })
}

/// Returns the smaller of lanes.
pub(super) const fn min(size: u8, unsigned: bool) -> Option<Packed> {
    Some(match (size, unsigned) {
        (0, true) => Packed::MinU8,
        (1, true) => Packed::MinU16,
        (2, true) => Packed::MinU32,
        (0, false) => Packed::MinS8,
        (1, false) => Packed::MinS16,
        (2, false) => Packed::MinS32,
        _ => return None,
    })
}

/// Returns `lane`, of 2^`size` bytes, in all lanes of a doubleword.
pub(super) fn everywhere(size: u8, lane: u64) -> u64 {
    let bits = 8 << size;
    (0..64).step_by(bits).fold(0, |all, at| all | lane << at)
}

/// All ones in a lane of 2^`size` bytes.
pub(super) const fn ones(size: u8) -> u64 {
    u64::MAX >> (64 - (8 << size))
}

/// Shifts the lanes of XMM0 by a constant; returns where the result is.
pub(super) fn shift(
    a: &mut Asm,
    shape: Shape,
    op: NeonShiftOp,
    unsigned: bool,
    amount: u8,
    vd: u8,
    slow: &mut Vec<Fixup>,
) -> Option<Xmm> {
    let size = shape.size;
    let width = 8u8 << size;
    let amount = match op {
        NeonShiftOp::Vshl | NeonShiftOp::Vsli | NeonShiftOp::Vqshl | NeonShiftOp::Vqshlu => {
            (amount < width).then_some(amount)?
        }
        _ => (1..=width).contains(&amount).then_some(amount)?,
    };
    match op {
        NeonShiftOp::Vshl => {
            left(a, size, amount);
            clear(a, size, ones(size) << amount & ones(size));
        }
        NeonShiftOp::Vshr => right(a, size, unsigned, amount),
        NeonShiftOp::Vrshr => right_rounded(a, size, unsigned, amount),
        NeonShiftOp::Vsra | NeonShiftOp::Vrsra => {
            if op == NeonShiftOp::Vrsra {
                right_rounded(a, size, unsigned, amount);
            } else {
                right(a, size, unsigned, amount);
            }
            shape.load(a, X1, vd);
            a.packed(shape.of(&ADD)?, X0, X1);
        }
        NeonShiftOp::Vsli => {
            left(a, size, amount);
            return Some(insert(a, shape, !(ones(size) << amount) & ones(size), vd));
        }
        NeonShiftOp::Vsri => {
            logical(a, size, amount);
            let shifted = ones(size).checked_shr(amount.into()).unwrap_or(0);
            return Some(insert(a, shape, ones(size) & !shifted, vd));
        }
        NeonShiftOp::Vqshl | NeonShiftOp::Vqshlu => {
            return saturate::left(a, size, op, unsigned, amount, slow);
        }
    }
    Some(X0)
}

/// Shifts to the left. Bytes are shifted by halfwords, and have bits of their neighbours then.
pub(super) fn left(a: &mut Asm, size: u8, amount: u8) {
    let op = match size {
        0 | 1 => PackedShift::Left16,
        2 => PackedShift::Left32,
        _ => PackedShift::Left64,
    };
    a.packed_shift(op, X0, amount);
}

/// Shifts to the right, with zeros; of bytes the same is true as in [`left`].
fn logical(a: &mut Asm, size: u8, amount: u8) {
    let op = match size {
        0 | 1 => PackedShift::Right16,
        2 => PackedShift::Right32,
        _ => PackedShift::Right64,
    };
    a.packed_shift(op, X0, amount);
}

/// Takes from bytes of XMM0, which have bits of their neighbours, what is not in `keep`.
pub(super) fn clear(a: &mut Asm, size: u8, keep: u64) {
    if size == 0 {
        constant(a, X1, everywhere(0, keep));
        a.packed(Packed::And, X0, X1);
    }
}

/// Shifts to the right, rounded: by at least one. XMM1 and XMM2 change.
pub(super) fn right_rounded(a: &mut Asm, size: u8, unsigned: bool, amount: u8) {
    // The highest bit that is lost; to add it is the same as to round before, but does not carry.
    a.copy_vector(X2, X0);
    let (up, down) = match size {
        0 | 1 => (PackedShift::Left16, PackedShift::Right16),
        2 => (PackedShift::Left32, PackedShift::Right32),
        _ => (PackedShift::Left64, PackedShift::Right64),
    };
    let width = 8 << size;
    if size == 0 {
        a.packed_shift(down, X2, amount - 1);
        constant(a, X1, everywhere(0, 1));
        a.packed(Packed::And, X2, X1);
    } else {
        a.packed_shift(up, X2, width - amount);
        a.packed_shift(down, X2, width - 1);
    }
    right(a, size, unsigned, amount);
    a.packed(ADD[usize::from(size & 3)], X0, X2);
}

/// Has the lanes of `x` be without their sign; XMM5 changes.
pub(super) fn absolute(a: &mut Asm, x: Xmm, size: u8) {
    match size {
        0 => {
            a.packed(Packed::Xor, X5, X5);
            a.packed(Packed::Greater8, X5, x);
        }
        1 => {
            a.copy_vector(X5, x);
            a.packed_shift(PackedShift::Signed16, X5, 15);
        }
        _ => {
            a.copy_vector(X5, x);
            a.packed_shift(PackedShift::Signed32, X5, 31);
            if size > 2 {
                a.shuffle(Shuffle::Words, X5, X5, UPPER);
            }
        }
    }
    a.packed(Packed::Xor, x, X5);
    a.packed(SUB[usize::from(size & 3)], x, X5);
}

/// Shifts to the right, with signs or zeros; XMM1 changes.
pub(super) fn right(a: &mut Asm, size: u8, unsigned: bool, amount: u8) {
    match (unsigned, size) {
        (false, 1) => a.packed_shift(PackedShift::Signed16, X0, amount),
        (false, 2) => a.packed_shift(PackedShift::Signed32, X0, amount),
        (true, _) => {
            logical(a, size, amount);
            clear(
                a,
                size,
                ones(size).checked_shr(amount.into()).unwrap_or(0) & 0xff,
            );
        }
        (false, _) => {
            // By the whole width there are but signs, as by one less.
            let amount = amount.min((8 << size) - 1);
            logical(a, size, amount);
            clear(a, size, ones(size) >> amount & 0xff);
            // Where the sign is now: flipped and taken away, it fills what is above.
            let sign = everywhere(size, 1 << ((8 << size) - 1 - amount));
            constant(a, X1, sign);
            a.packed(Packed::Xor, X0, X1);
            let sub = if size == 0 {
                Packed::Sub8
            } else {
                Packed::Sub64
            };
            a.packed(sub, X0, X1);
        }
    }
}

/// Has the bits of `keep` be those of the destination, and the others those of XMM0.
fn insert(a: &mut Asm, shape: Shape, keep: u64, vd: u8) -> Xmm {
    constant(a, X1, everywhere(shape.size, keep));
    shape.load(a, X2, vd);
    a.packed(Packed::And, X2, X1);
    a.packed(Packed::NotAnd, X1, X0);
    a.packed(Packed::Or, X1, X2);
    X1
}
