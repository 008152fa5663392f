//! Operations on registers of different lengths (ARM ARM A7.4.2): long, wide and narrowing.

use arm32_isa::NeonDiffOp as Op;

use super::lanes::{Lane, Narrow, narrow, with_narrow_lane};
use super::same::polynomial;
use super::saturate;
use crate::FpRegs;

/// The fields of the instruction but the second operand.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub unsigned: bool,
    pub size: u8,
    pub vd: u8,
    pub vn: u8,
}

/// Executes `op`; the second operand is `m`, or `wide_m` for the narrowing operations.
pub(super) fn execute(regs: &mut FpRegs, op: Op, shape: Shape, m: u64, wide_m: u128) {
    if op.narrows() {
        let result = high_half(op, shape.size, regs.q(shape.vn), wide_m);
        return regs.set_d(shape.vd, result);
    }
    let d = regs.q(shape.vd);
    let mut saturated = false;
    let result = if op.is_wide() {
        let n = regs.q(shape.vn);
        with_narrow_lane!(shape.size, shape.unsigned, L => wide::<L>(op, n, m))
    } else if op == Op::VmullP {
        long_polynomial(regs.d(shape.vn), m)
    } else {
        let n = regs.d(shape.vn);
        with_narrow_lane!(shape.size, shape.unsigned, L => long::<L>(op, d, n, m, &mut saturated))
    };
    regs.set_q(shape.vd, result);
    saturate(regs, saturated);
}

fn wide<L: Narrow>(op: Op, n: u128, m: u64) -> u128 {
    let m = L::widen_all(m);
    match op {
        Op::Vaddw => L::Wide::zip(n, m, Lane::wrapping_add),
        _ => L::Wide::zip(n, m, Lane::wrapping_sub),
    }
}

fn long<L: Narrow>(op: Op, d: u128, n: u64, m: u64, saturated: &mut bool) -> u128 {
    // The product of two widened lanes always fits, so that `wrapping_mul` loses nothing.
    let (n, m) = (L::widen_all(n), L::widen_all(m));
    match op {
        Op::Vaddl => L::Wide::zip(n, m, Lane::wrapping_add),
        Op::Vsubl => L::Wide::zip(n, m, Lane::wrapping_sub),
        Op::Vabdl => L::Wide::zip(n, m, Lane::abs_diff),
        Op::Vabal => L::Wide::zip3(d, n, m, |d, a, b| d.wrapping_add(a.abs_diff(b))),
        Op::Vmull => L::Wide::zip(n, m, Lane::wrapping_mul),
        Op::Vmlal => L::Wide::zip3(d, n, m, |d, a, b| d.wrapping_add(a.wrapping_mul(b))),
        Op::Vmlsl => L::Wide::zip3(d, n, m, |d, a, b| d.wrapping_sub(a.wrapping_mul(b))),
        _ => L::Wide::zip3(d, n, m, |d, a, b| {
            let product = a.wrapping_mul(b);
            // Both the doubling and the accumulation can saturate.
            let double = product.saturating_add(product);
            let (result, plain) = match op {
                Op::Vqdmlal => (d.saturating_add(double), d.wrapping_add(double)),
                Op::Vqdmlsl => (d.saturating_sub(double), d.wrapping_sub(double)),
                _ => (double, double),
            };
            *saturated |= double != product.wrapping_add(product) || result != plain;
            result
        }),
    }
}

fn long_polynomial(n: u64, m: u64) -> u128 {
    let (n, m) = (n.to_le_bytes(), m.to_le_bytes());
    let lanes: [u16; 8] = std::array::from_fn(|index| polynomial(n[index], m[index]));
    u16::store(lanes)
}

fn high_half(op: Op, size: u8, n: u128, m: u128) -> u64 {
    fn lanes<W: Lane>(op: Op, n: u128, m: u128) -> u64 {
        let half = W::BITS / 2;
        let rounds = matches!(op, Op::Vraddhn | Op::Vrsubhn);
        // Half of the last place that is kept. The sum may wrap, as it does in the manual.
        let rounding = if rounds {
            W::ONE.shl(half - 1)
        } else {
            W::ZERO
        };
        let result = W::zip(n, m, |a, b| {
            let sum = match op {
                Op::Vaddhn | Op::Vraddhn => a.wrapping_add(b),
                _ => a.wrapping_sub(b),
            };
            sum.wrapping_add(rounding).shr(half)
        });
        narrow::<W>(result)
    }
    // `size` is that of the narrow lanes.
    match size {
        0 => lanes::<u16>(op, n, m),
        1 => lanes::<u32>(op, n, m),
        _ => lanes::<u64>(op, n, m),
    }
}
