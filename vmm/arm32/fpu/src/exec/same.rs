//! Integer operations on three registers of the same length (ARM ARM A7.4.1).

use arm32_isa::Neon3Op as Op;

use super::lanes::{Lane, Narrow, with_lane, with_narrow_lane};
use super::{read, saturate, write};
use crate::FpRegs;

/// The fields of the instruction.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub unsigned: bool,
    pub size: u8,
    pub q: bool,
    pub vd: u8,
    pub vn: u8,
    pub vm: u8,
}

/// Executes `op` if it is one on integers or bits; returns whether it was.
pub(super) fn execute(regs: &mut FpRegs, op: Op, o: &Operands) -> bool {
    // All operands are read before the result is written: `vd` may be one of the others.
    let (d, n, m) = (
        read(regs, o.q, o.vd),
        read(regs, o.q, o.vn),
        read(regs, o.q, o.vm),
    );
    let mut saturated = false;
    let result = bitwise(op, d, n, m)
        .or_else(|| modular(op, o, d, n, m))
        .or_else(|| compared(op, o, d, n, m))
        .or_else(|| halved(op, o, n, m))
        .or_else(|| saturating(op, o, n, m, &mut saturated))
        .or_else(|| shifted(op, o, n, m, &mut saturated))
        .or_else(|| pairwise(op, o, n, m));
    if let Some(result) = result {
        write(regs, o.q, o.vd, result);
        saturate(regs, saturated);
    }
    result.is_some()
}

#[inline]
fn bitwise(op: Op, d: u128, n: u128, m: u128) -> Option<u128> {
    Some(match op {
        Op::Vand => n & m,
        Op::Vbic => n & !m,
        Op::Vorr => n | m,
        Op::Vorn => n | !m,
        Op::Veor => n ^ m,
        Op::Vbsl => (n & d) | (m & !d),
        Op::Vbit => (n & m) | (d & !m),
        Op::Vbif => (d & m) | (n & !m),
        _ => return None,
    })
}

/// Computes arithmetic modulo the lane size, where signedness does not matter.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "VMUL keeps the low half of the product"
)]
fn modular(op: Op, o: &Operands, d: u128, n: u128, m: u128) -> Option<u128> {
    Some(match op {
        Op::Vadd => with_lane!(o.size, true, L => L::zip(n, m, Lane::wrapping_add)),
        Op::Vsub => with_lane!(o.size, true, L => L::zip(n, m, Lane::wrapping_sub)),
        // No multiplication has lanes of 64 bits.
        Op::Vmul => with_narrow_lane!(o.size, true, L => L::zip(n, m, Lane::wrapping_mul)),
        Op::Vmla => with_narrow_lane!(o.size, true, L => L::zip3(d, n, m, |d, a, b| {
            Lane::wrapping_add(d, Lane::wrapping_mul(a, b))
        })),
        Op::Vmls => with_narrow_lane!(o.size, true, L => L::zip3(d, n, m, |d, a, b| {
            Lane::wrapping_sub(d, Lane::wrapping_mul(a, b))
        })),
        // Polynomials have bytes only.
        Op::VmulP => u8::zip(n, m, |a, b| polynomial(a, b) as u8),
        _ => return None,
    })
}

/// Returns the product of two polynomials over {0, 1} (PolynomialMult, A2.8.1).
pub(super) fn polynomial(a: u8, b: u8) -> u16 {
    (0..8)
        .filter(|bit| a >> bit & 1 != 0)
        .fold(0, |product, bit| product ^ (u16::from(b) << bit))
}

#[inline]
fn compared(op: Op, o: &Operands, d: u128, n: u128, m: u128) -> Option<u128> {
    let (size, unsigned) = (o.size, o.unsigned);
    Some(match op {
        // Equality and tests of bits do not depend on signedness.
        Op::Vceq => with_narrow_lane!(size, true, L => L::zip(n, m, |a, b| L::mask(a == b))),
        Op::Vtst => with_narrow_lane!(size, true, L => L::zip(n, m, |a, b| L::mask(a & b != 0))),
        Op::Vcgt => with_narrow_lane!(size, unsigned, L => L::zip(n, m, |a, b| L::mask(a > b))),
        Op::Vcge => with_narrow_lane!(size, unsigned, L => L::zip(n, m, |a, b| L::mask(a >= b))),
        Op::Vmax => with_narrow_lane!(size, unsigned, L => L::zip(n, m, Ord::max)),
        Op::Vmin => with_narrow_lane!(size, unsigned, L => L::zip(n, m, Ord::min)),
        Op::Vabd => with_narrow_lane!(size, unsigned, L => L::zip(n, m, <L as Lane>::abs_diff)),
        Op::Vaba => with_narrow_lane!(size, unsigned, L => L::zip3(d, n, m, |d, a, b| {
            Lane::wrapping_add(d, <L as Lane>::abs_diff(a, b))
        })),
        _ => return None,
    })
}

fn halved(op: Op, o: &Operands, n: u128, m: u128) -> Option<u128> {
    let (size, unsigned) = (o.size, o.unsigned);
    Some(match op {
        Op::Vhadd => {
            with_narrow_lane!(size, unsigned, L => L::zip(n, m, |a, b| a.halving_add(b, 0)))
        }
        Op::Vrhadd => {
            with_narrow_lane!(size, unsigned, L => L::zip(n, m, |a, b| a.halving_add(b, 1)))
        }
        Op::Vhsub => with_narrow_lane!(size, unsigned, L => L::zip(n, m, Lane::halving_sub)),
        _ => return None,
    })
}

fn saturating(op: Op, o: &Operands, n: u128, m: u128, saturated: &mut bool) -> Option<u128> {
    let (size, unsigned) = (o.size, o.unsigned);
    Some(match op {
        Op::Vqadd => with_lane!(size, unsigned, L => L::zip(n, m, |a, b| {
            // The two sums differ exactly where the first one saturates.
            let sum = Lane::saturating_add(a, b);
            *saturated |= sum != Lane::wrapping_add(a, b);
            sum
        })),
        Op::Vqsub => with_lane!(size, unsigned, L => L::zip(n, m, |a, b| {
            let difference = Lane::saturating_sub(a, b);
            *saturated |= difference != Lane::wrapping_sub(a, b);
            difference
        })),
        Op::Vqdmulh | Op::Vqrdmulh => doubled_high(size, op == Op::Vqrdmulh, n, m, saturated),
        _ => return None,
    })
}

/// Computes VQDMULH and VQRDMULH: the high half of twice the product.
pub(super) fn doubled_high(size: u8, round: bool, n: u128, m: u128, saturated: &mut bool) -> u128 {
    fn lanes<L: Narrow>(round: bool, n: u128, m: u128, saturated: &mut bool) -> u128 {
        let rounding = if round {
            L::Wide::ONE.shl(L::BITS - 1)
        } else {
            L::Wide::ZERO
        };
        L::zip(n, m, |a, b| {
            // Only the square of the smallest number does not fit; then both additions saturate.
            let product = a.widen().wrapping_mul(b.widen());
            let double = product.saturating_add(product);
            *saturated |= double != product.wrapping_add(product);
            L::truncate(double.saturating_add(rounding).shr(L::BITS).to_i128())
        })
    }
    // Sizes 1 and 2 only: there is no form for bytes.
    if size == 1 {
        lanes::<i16>(round, n, m, saturated)
    } else {
        lanes::<i32>(round, n, m, saturated)
    }
}

/// Shifts by the signed low byte of each lane of `amounts`.
fn shifted(op: Op, o: &Operands, n: u128, amounts: u128, saturated: &mut bool) -> Option<u128> {
    let (round, saturating) = match op {
        Op::Vshl => (false, false),
        Op::Vrshl => (true, false),
        Op::Vqshl => (false, true),
        Op::Vqrshl => (true, true),
        _ => return None,
    };
    Some(
        with_lane!(o.size, o.unsigned, L => L::zip(n, amounts, |x, amount| {
            // `unsigned_abs`, since -128 has no negative of its type.
            match amount.low_byte() {
                left @ 0.. if saturating => shl_saturating(x, left.unsigned_abs().into(), saturated),
                left @ 0.. => Lane::shl(x, left.unsigned_abs().into()),
                right => shr_by_register(x, right.unsigned_abs().into(), round),
            }
        })),
    )
}

/// Shifts right by any amount.
fn shr_by_register<L: Lane>(x: L, count: u32, round: bool) -> L {
    match round {
        false => x.shr(count),
        // Beyond the lane size nothing is left to round up; at the lane size the topmost bit is.
        true if count > L::BITS => L::ZERO,
        true => x.shr_rounded(count),
    }
}

/// Shifts left by any amount; what does not fit becomes the limit on its side.
pub(super) fn shl_saturating<L: Lane>(x: L, count: u32, saturated: &mut bool) -> L {
    let shifted = x.shl(count);
    // Shifting back gives the same number only if no significant bit was lost.
    let fits = if count < L::BITS {
        shifted.shr(count) == x
    } else {
        x == L::ZERO
    };
    if fits {
        return shifted;
    }
    *saturated = true;
    if x < L::ZERO { L::MIN } else { L::MAX }
}

/// Computes a pairwise operation. They exist for doublewords only: the first operand gives the low
/// lanes.
fn pairwise(op: Op, o: &Operands, n: u128, m: u128) -> Option<u128> {
    let both = n | (m << 64);
    let (size, unsigned) = (o.size, o.unsigned);
    let result = match op {
        Op::Vpadd => with_narrow_lane!(size, true, L => L::pairs(both, Lane::wrapping_add)),
        Op::Vpmax => with_narrow_lane!(size, unsigned, L => L::pairs(both, Ord::max)),
        Op::Vpmin => with_narrow_lane!(size, unsigned, L => L::pairs(both, Ord::min)),
        _ => return None,
    };
    Some(u128::from(result))
}
