//! Addition, multiplication, division, square root and the fused multiply-add (ARM ARM A2.7.7).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "counts of bits are below 128, quotients and roots of two significands have 64 bits"
)]

use super::fast::Fast;
use super::format::{Class, Unpacked, infinity, neg, unpack, zero};
use super::nan::{invalid, process};
use super::round::{collapse, round_pack, shift_right_jam, shift_right_jam_wide};
use super::{Env, Format, Rounding};
use crate::fpscr;

/// Returns `a + b` (FPAdd).
#[inline]
pub fn add<F: Format + Fast>(env: &mut Env, a: u64, b: u64) -> u64 {
    F::fast_add(env, a, b).unwrap_or_else(|| slow_add::<F>(env, a, b, false))
}

/// Returns `a - b` (FPSub). A NaN in `b` keeps its sign.
#[inline]
pub fn sub<F: Format + Fast>(env: &mut Env, a: u64, b: u64) -> u64 {
    F::fast_add(env, a, neg::<F>(b)).unwrap_or_else(|| slow_add::<F>(env, a, b, true))
}

/// Returns `a * b` (FPMul).
#[inline]
pub fn mul<F: Format + Fast>(env: &mut Env, a: u64, b: u64) -> u64 {
    F::fast_mul(env, a, b).unwrap_or_else(|| slow_mul::<F>(env, a, b))
}

/// Returns `a / b` (FPDiv).
#[inline]
pub fn div<F: Format + Fast>(env: &mut Env, a: u64, b: u64) -> u64 {
    F::fast_div(env, a, b).unwrap_or_else(|| slow_div::<F>(env, a, b))
}

/// Returns the square root of `a` (FPSqrt).
#[inline]
pub fn sqrt<F: Format + Fast>(env: &mut Env, a: u64) -> u64 {
    F::fast_sqrt(env, a).unwrap_or_else(|| slow_sqrt::<F>(env, a))
}

/// Returns `addend + a * b`, rounded once (FPMulAdd).
#[inline]
pub fn mul_add<F: Format + Fast>(env: &mut Env, addend: u64, a: u64, b: u64) -> u64 {
    F::fast_mul_add(env, addend, a, b).unwrap_or_else(|| slow_mul_add::<F>(env, addend, a, b))
}

/// Returns the zero that an exact cancellation gives: negative only when rounding down.
fn cancelled<F: Format>(env: &Env) -> u64 {
    zero::<F>(env.rounding == Rounding::Down)
}

pub(super) fn slow_add<F: Format>(env: &mut Env, a: u64, b: u64, negate_b: bool) -> u64 {
    let (ua, mut ub) = (unpack::<F>(a, env), unpack::<F>(b, env));
    if let Some(nan) = process::<F, 2>(env, [(a, ua), (b, ub)]) {
        return nan;
    }
    // Only after NaNs: FPSub returns a NaN operand with the sign that it came with.
    ub.sign ^= negate_b;
    add_numbers::<F>(env, ua, ub)
}

fn add_numbers<F: Format>(env: &mut Env, a: Unpacked, b: Unpacked) -> u64 {
    match (a.class, b.class) {
        (Class::Infinite, Class::Infinite) if a.sign != b.sign => invalid::<F>(env),
        (Class::Infinite, _) => infinity::<F>(a.sign),
        (_, Class::Infinite) => infinity::<F>(b.sign),
        (Class::Zero, Class::Zero) if a.sign == b.sign => zero::<F>(a.sign),
        (Class::Zero, Class::Zero) => cancelled::<F>(env),
        (Class::Zero, _) => round_pack::<F>(env, b.sign, b.exp, b.sig),
        (_, Class::Zero) => round_pack::<F>(env, a.sign, a.exp, a.sig),
        _ => add_finite::<F>(env, a, b),
    }
}

fn add_finite<F: Format>(env: &mut Env, a: Unpacked, b: Unpacked) -> u64 {
    // The larger magnitude first: a difference is not negative then, and has its sign.
    let (big, small) = if (a.exp, a.sig) >= (b.exp, b.sig) {
        (a, b)
    } else {
        (b, a)
    };
    // One bit of headroom above; at least ten guard bits below, since significands have 53 bits at
    // most.
    let x = big.sig >> 1;
    let y = shift_right_jam(small.sig >> 1, big.exp.abs_diff(small.exp));
    let sum = if a.sign == b.sign { x + y } else { x - y };
    if sum == 0 {
        return cancelled::<F>(env);
    }
    // More than two zeros come only of exponents at most one apart, when no bit was jammed.
    let zeros = sum.leading_zeros();
    round_pack::<F>(env, big.sign, big.exp + 1 - zeros as i32, sum << zeros)
}

pub(super) fn slow_mul<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    let (ua, ub) = (unpack::<F>(a, env), unpack::<F>(b, env));
    if let Some(nan) = process::<F, 2>(env, [(a, ua), (b, ub)]) {
        return nan;
    }
    let sign = ua.sign ^ ub.sign;
    match (ua.class, ub.class) {
        (Class::Infinite, Class::Zero) | (Class::Zero, Class::Infinite) => invalid::<F>(env),
        (Class::Infinite, _) | (_, Class::Infinite) => infinity::<F>(sign),
        (Class::Zero, _) | (_, Class::Zero) => zero::<F>(sign),
        _ => {
            let (exp, product) = product(&ua, &ub);
            round_pack::<F>(env, sign, exp, collapse(product))
        }
    }
}

/// Returns the exact product of two finite numbers: `p * 2^(exp - 127)` with bit 127 of `p` set.
fn product(a: &Unpacked, b: &Unpacked) -> (i32, u128) {
    let product = u128::from(a.sig) * u128::from(b.sig);
    // Two significands in [1, 2) multiply to a number in [1, 4): there is one zero at most.
    let zeros = product.leading_zeros();
    (a.exp + b.exp + 1 - zeros as i32, product << zeros)
}

pub(super) fn slow_div<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    let (ua, ub) = (unpack::<F>(a, env), unpack::<F>(b, env));
    if let Some(nan) = process::<F, 2>(env, [(a, ua), (b, ub)]) {
        return nan;
    }
    let sign = ua.sign ^ ub.sign;
    match (ua.class, ub.class) {
        (Class::Infinite, Class::Infinite) | (Class::Zero, Class::Zero) => invalid::<F>(env),
        // Before the division by zero: an infinity by zero is exact, and raises nothing.
        (Class::Infinite, _) => infinity::<F>(sign),
        (Class::Zero, _) | (_, Class::Infinite) => zero::<F>(sign),
        (_, Class::Zero) => {
            env.raise(fpscr::DZC);
            infinity::<F>(sign)
        }
        _ => {
            // Both significands have bit 63 set, so that the quotient is below 2^64.
            let numerator = u128::from(ua.sig) << 63;
            let divisor = u128::from(ub.sig);
            let quotient = (numerator / divisor) as u64;
            let sticky = u64::from(numerator % divisor != 0);
            let zeros = quotient.leading_zeros();
            // A quotient below one has lost one bit at the bottom, far below any rounding position.
            round_pack::<F>(
                env,
                sign,
                ua.exp - ub.exp - zeros as i32,
                (quotient << zeros) | sticky,
            )
        }
    }
}

pub(super) fn slow_sqrt<F: Format>(env: &mut Env, a: u64) -> u64 {
    let ua = unpack::<F>(a, env);
    if let Some(nan) = process::<F, 1>(env, [(a, ua)]) {
        return nan;
    }
    match ua.class {
        // Before the sign is looked at: the root of minus zero is minus zero.
        Class::Zero => zero::<F>(ua.sign),
        _ if ua.sign => invalid::<F>(env),
        Class::Infinite => infinity::<F>(false),
        _ => {
            // The exponent is halved, so it has to be even.
            let odd = ua.exp & 1;
            // From 2^126 to 2^128, so that the root has 64 bits, the topmost one set.
            let radicand = u128::from(ua.sig) << (63 + odd);
            let root = radicand.isqrt();
            let sticky = u64::from(root * root != radicand);
            round_pack::<F>(env, false, (ua.exp - odd) / 2, root as u64 | sticky)
        }
    }
}

pub(super) fn slow_mul_add<F: Format>(env: &mut Env, addend: u64, a: u64, b: u64) -> u64 {
    let uc = unpack::<F>(addend, env);
    let (ua, ub) = (unpack::<F>(a, env), unpack::<F>(b, env));
    let nan = process::<F, 3>(env, [(addend, uc), (a, ua), (b, ub)]);
    let nonsense = (ua.is_inf() && ub.is_zero()) || (ua.is_zero() && ub.is_inf());
    // A quiet NaN as the addend does not hide that the product is invalid.
    if nonsense && (nan.is_none() || uc.class == Class::Quiet) {
        return invalid::<F>(env);
    }
    if let Some(nan) = nan {
        return nan;
    }
    let sign = ua.sign ^ ub.sign;
    if ua.is_inf() || ub.is_inf() {
        let opposed = uc.is_inf() && uc.sign != sign;
        return if opposed {
            invalid::<F>(env)
        } else {
            infinity::<F>(sign)
        };
    }
    if uc.is_inf() {
        return infinity::<F>(uc.sign);
    }
    // An exact zero still has a sign, by which it and a zero addend may cancel.
    if ua.is_zero() || ub.is_zero() {
        let product = Unpacked {
            class: Class::Zero,
            sign,
            exp: 0,
            sig: 0,
        };
        return add_numbers::<F>(env, uc, product);
    }
    let (exp, product) = product(&ua, &ub);
    // A zero addend decides nothing, not even the sign.
    if uc.is_zero() {
        return round_pack::<F>(env, sign, exp, collapse(product));
    }
    fuse::<F>(env, uc, (sign, exp, product))
}

/// Adds an exact product `(sign, exp, significand)` to a finite number.
fn fuse<F: Format>(env: &mut Env, c: Unpacked, product: (bool, i32, u128)) -> u64 {
    // On the scale of the product, 2^(exp - 127).
    let addend = (c.sign, c.exp, u128::from(c.sig) << 64);
    let product_is_bigger = (product.1, product.2) >= (addend.1, addend.2);
    let (big, small) = if product_is_bigger {
        (product, addend)
    } else {
        (addend, product)
    };
    // A product has 106 bits at most: headroom above and guard bits below cost nothing.
    let x = big.2 >> 1;
    let y = shift_right_jam_wide(small.2 >> 1, big.1.abs_diff(small.1));
    let sum = if big.0 == small.0 { x + y } else { x - y };
    if sum == 0 {
        return cancelled::<F>(env);
    }
    let zeros = sum.leading_zeros();
    round_pack::<F>(env, big.0, big.1 + 1 - zeros as i32, collapse(sum << zeros))
}
