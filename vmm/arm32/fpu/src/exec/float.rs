//! Advanced SIMD on single-precision lanes, which obeys the standard FPSCR value (ARM ARM A2.7.6).

#![expect(
    clippy::cast_possible_truncation,
    reason = "lanes of 32 bits are carried in wider integers"
)]

use std::cmp::Ordering;

use arm32_isa::{Neon2Op, Neon3Op as Op};

use super::same::Operands;
use super::{read, write};
use crate::FpRegs;
use crate::soft::arith::{add, mul, mul_add, sub};
use crate::soft::compare::{compare, max, min};
use crate::soft::convert::convert;
use crate::soft::format::{abs, neg};
use crate::soft::integer::{Fixed, from_fixed, to_fixed};
use crate::soft::{Env, Half, Rounding, Single, estimate};

/// Returns lane `index` of 32 bits.
#[inline(always)]
fn lane(vector: u128, index: u32) -> u64 {
    (vector >> (32 * index)) as u64 & 0xffff_ffff
}

/// Returns the number of lanes.
#[inline(always)]
fn count(q: bool) -> u32 {
    // Not the empty lanes of a doubleword: zeros raise flags in VRECPE and others.
    if q { 4 } else { 2 }
}

/// Returns a vector of the results of `f` for each index.
#[inline(always)]
fn build(count: u32, mut f: impl FnMut(u32) -> u64) -> u128 {
    (0..count).fold(0, |vector, index| {
        vector | (u128::from(f(index)) << (32 * index))
    })
}

/// Executes the operation; one that is not on floating-point lanes does nothing.
pub(super) fn execute(regs: &mut FpRegs, op: Op, o: &Operands) {
    let (n, m) = (read(regs, o.q, o.vn), read(regs, o.q, o.vm));
    three(regs, op, o.q, o.vd, (n, m));
}

/// Executes the operation as [`execute`] does, on operands that are read already.
pub(super) fn three(regs: &mut FpRegs, op: Op, q: bool, vd: u8, (n, m): (u128, u128)) {
    let d = read(regs, q, vd);
    let result = regs.with_env(Env::standard, |_, env| match op {
        Op::VpaddF => pairs(n, m, |a, b| add::<Single>(env, a, b)),
        Op::VpmaxF => pairs(n, m, |a, b| max::<Single>(env, a, b)),
        Op::VpminF => pairs(n, m, |a, b| min::<Single>(env, a, b)),
        _ => build(count(q), |i| {
            one(env, op, lane(d, i), lane(n, i), lane(m, i))
        }),
    });
    write(regs, q, vd, result);
}

/// Applies `f` to neighbours among the lanes of two doublewords.
fn pairs(n: u128, m: u128, mut f: impl FnMut(u64, u64) -> u64) -> u128 {
    let both = n | (m << 64);
    build(2, |i| f(lane(both, 2 * i), lane(both, 2 * i + 1)))
}

/// Computes one lane of an operation.
#[inline]
fn one(env: &mut Env, op: Op, d: u64, n: u64, m: u64) -> u64 {
    match op {
        Op::VaddF => add::<Single>(env, n, m),
        Op::VsubF => sub::<Single>(env, n, m),
        Op::VmulF => mul::<Single>(env, n, m),
        Op::VmlaF => {
            // VMLA rounds twice, the product and the sum; VFMA rounds once.
            let product = mul::<Single>(env, n, m);
            add::<Single>(env, d, product)
        }
        Op::VmlsF => {
            let product = mul::<Single>(env, n, m);
            add::<Single>(env, d, neg::<Single>(product))
        }
        Op::VfmaF => mul_add::<Single>(env, d, n, m),
        // An operand is negated, since the product does not come out of the operation.
        Op::VfmsF => mul_add::<Single>(env, d, neg::<Single>(n), m),
        Op::VabdF => abs::<Single>(sub::<Single>(env, n, m)),
        Op::VmaxF => max::<Single>(env, n, m),
        Op::VminF => min::<Single>(env, n, m),
        // A quiet NaN is no invalid operation for equality, but for the ordered comparisons.
        Op::VceqF => holds(env, n, m, false, Ordering::is_eq),
        Op::VcgeF => holds(env, n, m, true, Ordering::is_ge),
        Op::VcgtF => holds(env, n, m, true, Ordering::is_gt),
        Op::VacgeF => magnitudes_hold(env, n, m, Ordering::is_ge),
        Op::VacgtF => magnitudes_hold(env, n, m, Ordering::is_gt),
        Op::VrecpsF => estimate::recip_step(env, n as u32, m as u32).into(),
        Op::VrsqrtsF => estimate::rsqrt_step(env, n as u32, m as u32).into(),
        _ => d,
    }
}

/// Returns all ones if the comparison holds.
fn holds(env: &mut Env, a: u64, b: u64, signalling: bool, test: fn(Ordering) -> bool) -> u64 {
    let order = compare::<Single>(env, a, b, signalling);
    if order.is_some_and(test) {
        0xffff_ffff
    } else {
        0
    }
}

/// Returns all ones if the ordered comparison of the absolute values holds.
fn magnitudes_hold(env: &mut Env, a: u64, b: u64, test: fn(Ordering) -> bool) -> u64 {
    holds(env, abs::<Single>(a), abs::<Single>(b), true, test)
}

/// Executes an operation on one register.
pub(super) fn unary(regs: &mut FpRegs, op: Neon2Op, q: bool, vd: u8, vm: u8) {
    let m = read(regs, q, vm);
    let result = regs.with_env(Env::standard, |_, env| {
        build(count(q), |i| {
            let x = lane(m, i);
            match op {
                Neon2Op::VabsF => abs::<Single>(x),
                Neon2Op::VnegF => neg::<Single>(x),
                Neon2Op::Vcgt0F => holds(env, x, 0, true, Ordering::is_gt),
                Neon2Op::Vcge0F => holds(env, x, 0, true, Ordering::is_ge),
                Neon2Op::Vceq0F => holds(env, x, 0, false, Ordering::is_eq),
                Neon2Op::Vcle0F => holds(env, x, 0, true, Ordering::is_le),
                Neon2Op::Vclt0F => holds(env, x, 0, true, Ordering::is_lt),
                // Fixed point: only the width of the lanes makes it belong here.
                Neon2Op::Vrecpe => estimate::recip_unsigned(x as u32).into(),
                Neon2Op::VrecpeF => estimate::recip(env, x as u32).into(),
                Neon2Op::Vrsqrte => estimate::rsqrt_unsigned(x as u32).into(),
                Neon2Op::VrsqrteF => estimate::rsqrt(env, x as u32).into(),
                _ => x,
            }
        })
    });
    write(regs, q, vd, result);
}

/// Converts between single precision and 32-bit fixed point.
pub(super) fn convert_fixed(
    regs: &mut FpRegs,
    to: bool,
    unsigned: bool,
    fraction: u8,
    (q, vd, vm): (bool, u8, u8),
) {
    let fixed = Fixed {
        bits: 32,
        fraction: u32::from(fraction).min(32),
        signed: !unsigned,
    };
    let m = read(regs, q, vm);
    let result = regs.with_env(Env::standard, |_, env| {
        build(count(q), |i| {
            if to {
                // A negative result is extended to 64 bits, and would reach into the next lane.
                to_fixed::<Single>(env, lane(m, i), fixed, Rounding::Zero) & 0xffff_ffff
            } else {
                from_fixed::<Single>(env, lane(m, i), fixed, Rounding::Nearest)
            }
        })
    });
    write(regs, q, vd, result);
}

/// Converts between four lanes of half and of single precision.
pub(super) fn convert_half(regs: &mut FpRegs, to_half: bool, vd: u8, vm: u8) {
    if to_half {
        // Read as a whole before the write: `vd` may be one of its halves.
        let m = regs.q(vm);
        let result = regs.with_env(Env::standard, |_, env| {
            (0..4).fold(0, |v, i| {
                v | (convert::<Single, Half>(env, lane(m, i)) << (16 * i))
            })
        });
        regs.set_d(vd, result);
    } else {
        let m = regs.d(vm);
        let result = regs.with_env(Env::standard, |_, env| {
            build(4, |i| {
                convert::<Half, Single>(env, (m >> (16 * i)) & 0xffff)
            })
        });
        regs.set_q(vd, result);
    }
}
