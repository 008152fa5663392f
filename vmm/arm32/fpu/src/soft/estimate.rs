//! Reciprocal and reciprocal square root: estimates and Newton-Raphson steps (ARM ARM A2.7.7).
//!
//! All of them are single precision and obey the standard FPSCR value only.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "single-precision numbers are carried in 64 bits, and exponent fields are positive here"
)]

use super::arith::{mul, sub};
use super::format::{Class, infinity, unpack, zero};
use super::nan::{invalid, process_one};
use super::{Env, Single};
use crate::fpscr;

/// Returns the manual's `recip_estimate`: for `a` in \[256, 512), as nine-bit fixed point for
/// \[0.5, 1), the reciprocal in \[1, 2) with eight fraction bits.
#[must_use]
pub fn recip_estimate(a: u32) -> u32 {
    // The middle of the interval, q + 0.5, in units of 1/1024: the estimate is the reciprocal
    // rounded to eight fraction bits.
    let middle = 2 * a + 1;
    ((1 << 19) / middle).div_ceil(2)
}

/// Returns the manual's `recip_sqrt_estimate`: for `a` in \[128, 512) the reciprocal square root in
/// \[1, 2) with eight fraction bits. Below 256 `a` stands for \[0.25, 0.5) in steps of 1/512, above
/// for \[0.5, 1) in steps of 1/256, its lowest bit ignored.
#[must_use]
pub fn rsqrt_estimate(a: u32) -> u32 {
    let middle = if a < 256 { 2 * a + 1 } else { 2 * (a | 1) };
    // The largest b with middle * (b + 1)^2 < 2^28 has nine fraction bits; round it to eight.
    let mut b = 512;
    // `a` is 128 at least, so that b ends below 1024 and no product exceeds 32 bits.
    while middle * (b + 1) * (b + 1) < 1 << 28 {
        b += 1;
    }
    (b + 1) >> 1
}

/// Executes VRECPE on a floating-point number (FPRecipEstimate).
pub fn recip(env: &mut Env, bits: u32) -> u32 {
    let operand = unpack::<Single>(u64::from(bits), env);
    let result = match operand.class {
        Class::Quiet | Class::Signalling => process_one::<Single>(env, (u64::from(bits), operand)),
        Class::Infinite => zero::<Single>(operand.sign),
        Class::Zero => {
            env.raise(fpscr::DZC);
            infinity::<Single>(operand.sign)
        }
        // The estimate would be a denormal, which the standard FPSCR value flushes.
        Class::Finite if operand.exp >= 126 => {
            env.raise(fpscr::UFC);
            zero::<Single>(operand.sign)
        }
        Class::Finite => {
            // value = f * 2^(exp + 1) with f in [0.5, 1); the result is r * 2^-(exp + 1).
            let estimate = u64::from(recip_estimate((operand.sig >> 55) as u32));
            // From 1 to 252: larger exponents are dealt with above, and denormals are flushed.
            let field = (127 - (operand.exp + 1)) as u64;
            zero::<Single>(operand.sign) | (field << 23) | ((estimate & 0xff) << 15)
        }
    };
    result as u32
}

/// Executes VRECPE on an unsigned fixed-point number (UnsignedRecipEstimate).
#[must_use]
pub fn recip_unsigned(bits: u32) -> u32 {
    // Below a half the reciprocal is more than 2, which does not fit.
    if bits >> 31 == 0 {
        u32::MAX
    } else {
        recip_estimate(bits >> 23) << 23
    }
}

/// Executes VRSQRTE on a floating-point number (FPRSqrtEstimate).
pub fn rsqrt(env: &mut Env, bits: u32) -> u32 {
    let operand = unpack::<Single>(u64::from(bits), env);
    let result = match operand.class {
        Class::Quiet | Class::Signalling => process_one::<Single>(env, (u64::from(bits), operand)),
        Class::Zero => {
            env.raise(fpscr::DZC);
            infinity::<Single>(operand.sign)
        }
        // Only after zeros: minus zero gives minus infinity.
        _ if operand.sign => invalid::<Single>(env),
        Class::Infinite => zero::<Single>(false),
        Class::Finite => {
            // value = f * 2^(2k) with f in [0.25, 1), below 0.5 for even exponents.
            let odd = operand.exp & 1 != 0;
            let fraction = (operand.sig >> 55) as u32;
            // From 256 for odd exponents, from 128 for even ones, as `rsqrt_estimate` has it.
            let index = if odd { fraction } else { fraction >> 1 };
            // Rounded down for negative exponents, too, where `/` rounds up.
            let k = (operand.exp + 2).div_euclid(2);
            (((127 - k) as u64) << 23) | (u64::from(rsqrt_estimate(index) & 0xff) << 15)
        }
    };
    result as u32
}

/// Executes VRSQRTE on an unsigned fixed-point number (UnsignedRSqrtEstimate).
#[must_use]
pub fn rsqrt_unsigned(bits: u32) -> u32 {
    if bits >> 30 == 0 {
        u32::MAX
    } else {
        rsqrt_estimate(bits >> 23) << 23
    }
}

/// Returns whether the operands are an infinity and a zero, whose product the steps define as zero.
fn infinity_by_zero(a: u64, b: u64, env: &mut Env) -> bool {
    // Flags of looking are those of using: a flushed operand raises IDC either way.
    let (ua, ub) = (unpack::<Single>(a, env), unpack::<Single>(b, env));
    (ua.is_inf() && ub.is_zero()) || (ua.is_zero() && ub.is_inf())
}

/// Executes VRECPS: `2 - a * b`, rounded twice (FPRecipStep).
pub fn recip_step(env: &mut Env, a: u32, b: u32) -> u32 {
    const TWO: u64 = 0x4000_0000;
    let (a, b) = (u64::from(a), u64::from(b));
    if infinity_by_zero(a, b, env) {
        return TWO as u32;
    }
    let product = mul::<Single>(env, a, b);
    sub::<Single>(env, TWO, product) as u32
}

/// Executes VRSQRTS: `(3 - a * b) / 2`, the product rounded, then the rest rounded once
/// (FPRSqrtStep).
pub fn rsqrt_step(env: &mut Env, a: u32, b: u32) -> u32 {
    const THREE: u64 = 0x4040_0000;
    const ONE_AND_A_HALF: u32 = 0x3fc0_0000;
    const HALF: u64 = 0x3f00_0000;
    let (a, b) = (u64::from(a), u64::from(b));
    if infinity_by_zero(a, b, env) {
        return ONE_AND_A_HALF;
    }
    let product = mul::<Single>(env, a, b);
    // Halving is exact: three minus a single-precision number is never tiny.
    let difference = sub::<Single>(env, THREE, product);
    mul::<Single>(env, difference, HALF) as u32
}
