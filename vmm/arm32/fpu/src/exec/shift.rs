//! Shifts by an immediate, narrowing and lengthening moves (ARM ARM A7.4.4, A7.4.5).

use arm32_isa::{NeonMovnOp, NeonNarrowOp, NeonShiftOp as Op};

use super::lanes::{
    Lane, Narrow, narrow as truncate, narrow_saturating, with_lane, with_narrow_lane,
};
use super::same::shl_saturating;
use super::{read, saturate, write};
use crate::FpRegs;

/// The fields of the instruction; for narrowing ones `size` is that of the narrow lanes.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub unsigned: bool,
    pub size: u8,
    pub q: bool,
    pub vd: u8,
    pub vm: u8,
    pub shift: u8,
}

/// Shifts lanes in place.
pub(super) fn execute(regs: &mut FpRegs, op: Op, o: &Operands) {
    let (d, m) = (read(regs, o.q, o.vd), read(regs, o.q, o.vm));
    let mut saturated = false;
    let result =
        with_lane!(o.size, o.unsigned, L => lanes::<L>(op, o.shift.into(), d, m, &mut saturated));
    write(regs, o.q, o.vd, result);
    saturate(regs, saturated);
}

#[inline]
fn lanes<L: Lane>(op: Op, shift: u32, d: u128, m: u128, saturated: &mut bool) -> u128 {
    // Decoding gives 1 to the lane size for right shifts; anything else must still not panic.
    let right = shift.clamp(1, L::BITS);
    match op {
        Op::Vshr => L::map(m, |x| x.shr(right)),
        Op::Vsra => L::zip(d, m, |d, x| d.wrapping_add(x.shr(right))),
        Op::Vrshr => L::map(m, |x| x.shr_rounded(right)),
        Op::Vrsra => L::zip(d, m, |d, x| d.wrapping_add(x.shr_rounded(right))),
        Op::Vsri => insert::<L::Unsigned>(d, m, |x| x.shr(right)),
        Op::Vshl => L::map(m, |x| x.shl(shift)),
        Op::Vsli => insert::<L::Unsigned>(d, m, |x| x.shl(shift)),
        // The operand is signed by definition, whatever lanes were selected.
        Op::Vqshlu => L::Signed::map(m, |x| shl_to_unsigned(x, shift, saturated)),
        Op::Vqshl => L::map(m, |x| shl_saturating(x, shift, saturated)),
    }
}

/// Replaces the bits that the shift can set and keeps the others.
fn insert<L: Lane>(d: u128, m: u128, shift: impl Fn(L) -> L) -> u128 {
    // What becomes of all ones shows which bits those are.
    let mask = shift(!L::ZERO);
    L::zip(d, m, |d, x| (d & !mask) | shift(x))
}

/// Shifts a signed number left and saturates it to the unsigned numbers of its size.
fn shl_to_unsigned<L: Lane>(x: L, shift: u32, saturated: &mut bool) -> L {
    if x < L::ZERO {
        *saturated = true;
        return L::ZERO;
    }
    if shift > 0 && x.shr(L::BITS - shift) != L::ZERO {
        *saturated = true;
        return !L::ZERO;
    }
    x.shl(shift)
}

/// Shifts right into lanes of half the size.
pub(super) fn narrow(regs: &mut FpRegs, op: NeonNarrowOp, o: &Operands) {
    let m = regs.q(o.vm);
    let rounds = matches!(
        op,
        NeonNarrowOp::Vrshrn | NeonNarrowOp::Vqrshrun | NeonNarrowOp::Vqrshrn
    );
    // Without saturation either will do: no copy of the sign gets into the half that is kept.
    let signed_source = match op {
        NeonNarrowOp::Vqshrn | NeonNarrowOp::Vqrshrn => !o.unsigned,
        NeonNarrowOp::Vqshrun | NeonNarrowOp::Vqrshrun => true,
        _ => false,
    };
    // Decoding gives this range; rounding looks at the bit below the result.
    let shift = u32::from(o.shift).clamp(1, 8 << o.size);
    let shifted = with_narrow_lane!(o.size, !signed_source, L => {
        <L as Narrow>::Wide::map(m, |x| if rounds { x.shr_rounded(shift) } else { Lane::shr(x, shift) })
    });
    let keep = match op {
        NeonNarrowOp::Vshrn | NeonNarrowOp::Vrshrn => NeonMovnOp::Vmovn,
        NeonNarrowOp::Vqshrun | NeonNarrowOp::Vqrshrun => NeonMovnOp::Vqmovun,
        NeonNarrowOp::Vqshrn | NeonNarrowOp::Vqrshrn => NeonMovnOp::Vqmovn,
    };
    fit(regs, keep, o, shifted);
}

/// Narrows without shifting.
pub(super) fn move_narrow(regs: &mut FpRegs, op: NeonMovnOp, o: &Operands) {
    let m = regs.q(o.vm);
    fit(regs, op, o, m);
}

/// Makes the lanes of `wide` fit half their size and writes them.
fn fit(regs: &mut FpRegs, op: NeonMovnOp, o: &Operands, wide: u128) {
    let mut saturated = false;
    let result = match op {
        NeonMovnOp::Vmovn => with_narrow_lane!(o.size, true, L => {
            truncate::<<L as Narrow>::Wide>(wide)
        }),
        NeonMovnOp::Vqmovn => with_narrow_lane!(o.size, o.unsigned, L => {
            narrow_saturating::<<L as Narrow>::Wide, L>(wide, &mut saturated)
        }),
        NeonMovnOp::Vqmovun => with_narrow_lane!(o.size, false, L => {
            narrow_saturating::<<L as Narrow>::Wide, <L as Lane>::Unsigned>(wide, &mut saturated)
        }),
    };
    regs.set_d(o.vd, result);
    saturate(regs, saturated);
}

/// Executes VSHLL and VMOVL: widens, then shifts left.
pub(super) fn long(regs: &mut FpRegs, o: &Operands) {
    let m = regs.d(o.vm);
    let result = with_narrow_lane!(o.size, o.unsigned, L => {
        <L as Narrow>::Wide::map(L::widen_all(m), |x| Lane::shl(x, o.shift.into()))
    });
    regs.set_q(o.vd, result);
}
