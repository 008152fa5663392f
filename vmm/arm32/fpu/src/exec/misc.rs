//! Operations on one register, with a scalar, or with an immediate (ARM ARM A7.4.3, A7.4.5,
//! A7.4.6).

use arm32_isa::{Neon2Op as Op, Neon3Op, NeonImmOp, NeonScalarOp};

use super::lanes::{Lane, Narrow, with_narrow_lane};
use super::{float, read, same, saturate, write};
use crate::FpRegs;

/// The fields that most of these instructions have.
#[derive(Clone, Copy)]
pub(super) struct Vectors {
    pub size: u8,
    pub q: bool,
    pub vd: u8,
    pub vm: u8,
}

/// Returns a quadword full of one lane of a doubleword.
pub(super) fn splat(vector: u64, size: u8, lane: u8) -> u128 {
    let bits = 8 << (size & 3);
    // A lane beyond the doubleword, which no decoding gives, reads as zero.
    let value = i128::from(vector.checked_shr(u32::from(lane) * bits).unwrap_or(0));
    with_narrow_lane!(size, true, L => L::splat(<L as Lane>::truncate(value)))
}

/// Executes an operation on `vm` and a scalar that fills a vector.
pub(super) fn by_scalar(regs: &mut FpRegs, op: NeonScalarOp, v: Vectors, scalar: u128) {
    let (d, n) = (read(regs, v.q, v.vd), read(regs, v.q, v.vm));
    let float = |regs: &mut FpRegs, op| float::three(regs, op, v.q, v.vd, (n, scalar));
    let mut saturated = false;
    let result = match op {
        NeonScalarOp::Vmul => {
            with_narrow_lane!(v.size, true, L => L::zip(n, scalar, Lane::wrapping_mul))
        }
        NeonScalarOp::Vmla => {
            with_narrow_lane!(v.size, true, L => L::zip3(d, n, scalar, |d, a, b| {
                Lane::wrapping_add(d, Lane::wrapping_mul(a, b))
            }))
        }
        NeonScalarOp::Vmls => {
            with_narrow_lane!(v.size, true, L => L::zip3(d, n, scalar, |d, a, b| {
                Lane::wrapping_sub(d, Lane::wrapping_mul(a, b))
            }))
        }
        NeonScalarOp::Vqdmulh | NeonScalarOp::Vqrdmulh => {
            let round = op == NeonScalarOp::Vqrdmulh;
            same::doubled_high(v.size, round, n, scalar, &mut saturated)
        }
        // These write the register by themselves, and cannot saturate.
        NeonScalarOp::VmulF => return float(regs, Neon3Op::VmulF),
        NeonScalarOp::VmlaF => return float(regs, Neon3Op::VmlaF),
        NeonScalarOp::VmlsF => return float(regs, Neon3Op::VmlsF),
    };
    write(regs, v.q, v.vd, result);
    saturate(regs, saturated);
}

/// Executes an operation with an immediate that is expanded already.
pub(super) fn immediate(regs: &mut FpRegs, op: NeonImmOp, q: bool, vd: u8, value: u64) {
    let value = u128::from(value) | (u128::from(value) << 64);
    let d = read(regs, q, vd);
    let result = match op {
        NeonImmOp::Vmov => value,
        NeonImmOp::Vmvn => !value,
        NeonImmOp::Vorr => d | value,
        NeonImmOp::Vbic => d & !value,
    };
    write(regs, q, vd, result);
}

/// Executes `op` if it is one on integers or bits; returns whether it was.
pub(super) fn unary(regs: &mut FpRegs, op: Op, unsigned: bool, v: Vectors) -> bool {
    let (d, m) = (read(regs, v.q, v.vd), read(regs, v.q, v.vm));
    let mut saturated = false;
    let result = match op {
        Op::Vpaddl | Op::Vpadal => {
            let start = if op == Op::Vpadal { d } else { 0 };
            with_narrow_lane!(v.size, unsigned, L => add_pairs::<L>(start, m))
        }
        Op::Vrev64 | Op::Vrev32 | Op::Vrev16 => {
            let group = match op {
                Op::Vrev64 => 64,
                Op::Vrev32 => 32,
                _ => 16,
            };
            with_narrow_lane!(v.size, true, L => reverse::<L>(m, group))
        }
        Op::Vmvn => !m,
        // Signed lanes: none of these has an unsigned form, and counts do not depend on it.
        _ => match with_narrow_lane!(v.size, false, L => lanewise::<L>(op, m, &mut saturated)) {
            Some(result) => result,
            None => return false,
        },
    };
    write(regs, v.q, v.vd, result);
    saturate(regs, saturated);
    true
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a byte has at most 8 ones")]
fn lanewise<L: Lane>(op: Op, m: u128, saturated: &mut bool) -> Option<u128> {
    let count = |n: u32| L::truncate(n.into());
    let negated = |x: L| L::ZERO.wrapping_sub(x);
    let mut limited = |x: L, negate: bool| {
        // The least number has no negative of its size.
        if negate && x == L::MIN {
            *saturated = true;
            return L::MAX;
        }
        if negate { negated(x) } else { x }
    };
    Some(match op {
        // The sign exclusive-or itself is zero, so that there is one to take away.
        Op::Vcls => L::map(m, |x| count((x ^ x.shr(L::BITS - 1)).leading_zeros() - 1)),
        Op::Vclz => L::map(m, |x| count(x.leading_zeros())),
        // VCNT exists for bytes only.
        Op::Vcnt => u8::map(m, |x| x.count_ones() as u8),
        Op::Vqabs => L::map(m, |x| limited(x, x < L::ZERO)),
        Op::Vqneg => L::map(m, |x| limited(x, true)),
        Op::Vabs => L::map(m, |x| if x < L::ZERO { negated(x) } else { x }),
        Op::Vneg => L::map(m, negated),
        Op::Vcgt0 => L::map(m, |x| L::mask(x > L::ZERO)),
        Op::Vcge0 => L::map(m, |x| L::mask(x >= L::ZERO)),
        Op::Vceq0 => L::map(m, |x| L::mask(x == L::ZERO)),
        Op::Vcle0 => L::map(m, |x| L::mask(x <= L::ZERO)),
        Op::Vclt0 => L::map(m, |x| L::mask(x < L::ZERO)),
        _ => return None,
    })
}

/// Adds neighbours into lanes of twice the size.
fn add_pairs<L: Narrow>(start: u128, m: u128) -> u128 {
    let lanes = L::load(m);
    let mut sums = L::Wide::load(start);
    for (sum, pair) in sums.as_mut().iter_mut().zip(lanes.as_ref().chunks_exact(2)) {
        *sum = sum
            .wrapping_add(pair[0].widen())
            .wrapping_add(pair[1].widen());
    }
    L::Wide::store(sums)
}

/// Reverses the lanes within groups of `group` bits.
pub(super) fn reverse<L: Lane>(m: u128, group: u32) -> u128 {
    let mut lanes = L::load(m);
    // Lanes as large as the group are not encoded, but a chunk of nothing would panic.
    let count = (group / L::BITS).max(1) as usize;
    lanes
        .as_mut()
        .chunks_exact_mut(count)
        .for_each(<[L]>::reverse);
    L::store(lanes)
}
