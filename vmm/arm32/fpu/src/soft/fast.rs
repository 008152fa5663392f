//! Host arithmetic, where it is provably the same.
//!
//! The host computes IEEE 754 binary32 and binary64 in round-to-nearest. Its result is taken only
//! if
//! * the rounding mode is to-nearest,
//! * every operand is a normal number or a zero (no NaN, no denormal that might be flushed),
//! * the result is larger in magnitude than the smallest normal number, or is an exact zero, so
//!   that it can be neither tiny before rounding nor an overflow, and
//! * it is known whether the result is exact: because IXC is set already, or by arithmetic that
//!   recovers the rounding error exactly (in binary64 for binary32; by Knuth's two-sum for
//!   additions).

use super::{Double, Env, Format, Half, Rounding, Single};
use crate::fpscr;

/// Operations of a format that may be done by the host; `None` where that would not be certain.
pub trait Fast: Sized {
    /// Adds two numbers.
    fn fast_add(_env: &mut Env, _a: u64, _b: u64) -> Option<u64> {
        None
    }
    /// Multiplies two numbers.
    fn fast_mul(_env: &mut Env, _a: u64, _b: u64) -> Option<u64> {
        None
    }
    /// Divides a number by another.
    fn fast_div(_env: &mut Env, _a: u64, _b: u64) -> Option<u64> {
        None
    }
    /// Takes the square root.
    fn fast_sqrt(_env: &mut Env, _a: u64) -> Option<u64> {
        None
    }
    /// Multiplies and adds, rounding once.
    fn fast_mul_add(_env: &mut Env, _addend: u64, _a: u64, _b: u64) -> Option<u64> {
        None
    }
}

/// Returns whether `bits` is a normal number.
#[inline]
fn is_normal<F: Format>(bits: u64) -> bool {
    let field = (bits >> F::FRAC_BITS) & F::EXP_MAX;
    // One comparison for both ends: zero wraps to the largest number of all.
    field.wrapping_sub(1) < F::EXP_MAX - 1
}

/// Returns whether `bits` is a normal number or a zero.
#[inline]
fn is_plain<F: Format>(bits: u64) -> bool {
    is_normal::<F>(bits) || bits & !F::SIGN == 0
}

/// Returns whether `bits` is certainly neither tiny before rounding nor an overflow.
#[inline]
fn is_safe<F: Format>(bits: u64) -> bool {
    let magnitude = bits & !F::SIGN;
    // The smallest normal number may be a tiny value rounded up, which counts as an underflow.
    magnitude > 1 << F::FRAC_BITS && magnitude < F::INFINITY
}

/// Returns the result, once it is known to be right, with IXC raised if it is not exact. Whether it
/// is matters only if IXC is not set yet.
#[inline(always)]
fn done(env: &mut Env, bits: u64, exact: impl FnOnce() -> bool) -> Option<u64> {
    if env.flags & fpscr::IXC == 0 && !exact() {
        env.raise(fpscr::IXC);
    }
    Some(bits)
}

#[inline]
fn nearest(env: &Env) -> bool {
    env.rounding == Rounding::Nearest
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a single-precision number is the low word"
)]
fn single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

#[inline]
fn single_bits(value: f32) -> u64 {
    u64::from(value.to_bits())
}

/// Returns the rounding error of `sum = a + b` in binary64, exactly (Knuth), unless something
/// overflowed.
#[inline]
fn two_sum_error(a: f64, b: f64, sum: f64) -> f64 {
    let b_part = sum - a;
    (a - (sum - b_part)) + (b - b_part)
}

impl Fast for Half {}

impl Fast for Single {
    #[inline]
    fn fast_add(env: &mut Env, a: u64, b: u64) -> Option<u64> {
        if !nearest(env) || !is_plain::<Self>(a) || !is_plain::<Self>(b) {
            return None;
        }
        let (x, y) = (single(a), single(b));
        let sum = x + y;
        let bits = single_bits(sum);
        // A sum of zero is exact: both numbers are multiples of the smallest denormal one.
        if !is_safe::<Self>(bits) && sum != 0.0 {
            return None;
        }
        done(env, bits, || {
            // With exponents far apart the sum does not fit binary64 either: its error counts, too.
            let (x, y) = (f64::from(x), f64::from(y));
            let wide = x + y;
            two_sum_error(x, y, wide) == 0.0 && wide == f64::from(sum)
        })
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "this is where the product is rounded"
    )]
    fn fast_mul(env: &mut Env, a: u64, b: u64) -> Option<u64> {
        if !nearest(env) || !is_normal::<Self>(a) || !is_normal::<Self>(b) {
            return None;
        }
        // 24 by 24 bits fit 53: the wide product is exact.
        let wide = f64::from(single(a)) * f64::from(single(b));
        let product = wide as f32;
        let bits = single_bits(product);
        is_safe::<Self>(bits).then(|| done(env, bits, || f64::from(product) == wide))?
    }

    #[inline]
    fn fast_div(env: &mut Env, a: u64, b: u64) -> Option<u64> {
        if !nearest(env) || !is_normal::<Self>(a) || !is_normal::<Self>(b) {
            return None;
        }
        let quotient = single(a) / single(b);
        let bits = single_bits(quotient);
        // 24 by 24 bits again: the product is not rounded, so that equality decides.
        let exact = || f64::from(quotient) * f64::from(single(b)) == f64::from(single(a));
        is_safe::<Self>(bits).then(|| done(env, bits, exact))?
    }

    #[inline]
    fn fast_sqrt(env: &mut Env, a: u64) -> Option<u64> {
        if !nearest(env) || !is_normal::<Self>(a) || a & Self::SIGN != 0 {
            return None;
        }
        // The root of a normal number is far from both ends of the range, and always safe.
        let root = single(a).sqrt();
        let exact = || f64::from(root) * f64::from(root) == f64::from(single(a));
        done(env, single_bits(root), exact)
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "this is where the sum is rounded"
    )]
    fn fast_mul_add(env: &mut Env, addend: u64, a: u64, b: u64) -> Option<u64> {
        if !nearest(env)
            || !is_plain::<Self>(addend)
            || !is_normal::<Self>(a)
            || !is_normal::<Self>(b)
        {
            return None;
        }
        // Exact, as in `fast_mul`: only the sum is rounded.
        let product = f64::from(single(a)) * f64::from(single(b));
        let addend = f64::from(single(addend));
        let sum = product + addend;
        let error = two_sum_error(product, addend, sum);
        let mut odd = sum.to_bits();
        // Round to odd in binary64, so that rounding once more to binary32 is right.
        if error != 0.0 && odd & 1 == 0 {
            odd = if (error > 0.0) == (sum > 0.0) {
                odd + 1
            } else {
                odd - 1
            };
        }
        let result = f64::from_bits(odd) as f32;
        let bits = single_bits(result);
        let exact = || error == 0.0 && f64::from(result) == sum;
        is_safe::<Self>(bits).then(|| done(env, bits, exact))?
    }
}

/// Returns whether the host's answer can be taken without knowing whether it is exact.
#[inline]
fn nearest_and_inexact_already(env: &Env) -> bool {
    nearest(env) && env.flags & fpscr::IXC != 0
}

impl Fast for Double {
    #[inline]
    fn fast_add(env: &mut Env, a: u64, b: u64) -> Option<u64> {
        if !nearest(env) || !is_plain::<Self>(a) || !is_plain::<Self>(b) {
            return None;
        }
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        let sum = x + y;
        let bits = sum.to_bits();
        if !is_safe::<Self>(bits) && sum != 0.0 {
            return None;
        }
        let error = two_sum_error(x, y, sum);
        // Intermediate overflow shows as an infinity or NaN in the error.
        error
            .is_finite()
            .then(|| done(env, bits, || error == 0.0))?
    }

    #[inline]
    fn fast_mul(env: &mut Env, a: u64, b: u64) -> Option<u64> {
        if !nearest_and_inexact_already(env) || !is_normal::<Self>(a) || !is_normal::<Self>(b) {
            return None;
        }
        // No wider type of the host shows whether this is exact, hence the condition on IXC.
        let bits = (f64::from_bits(a) * f64::from_bits(b)).to_bits();
        is_safe::<Self>(bits).then_some(bits)
    }

    #[inline]
    fn fast_div(env: &mut Env, a: u64, b: u64) -> Option<u64> {
        if !nearest_and_inexact_already(env) || !is_normal::<Self>(a) || !is_normal::<Self>(b) {
            return None;
        }
        let bits = (f64::from_bits(a) / f64::from_bits(b)).to_bits();
        is_safe::<Self>(bits).then_some(bits)
    }

    #[inline]
    fn fast_sqrt(env: &mut Env, a: u64) -> Option<u64> {
        let usable =
            nearest_and_inexact_already(env) && is_normal::<Self>(a) && a & Self::SIGN == 0;
        usable.then(|| f64::from_bits(a).sqrt().to_bits())
    }

    #[inline]
    fn fast_mul_add(env: &mut Env, addend: u64, a: u64, b: u64) -> Option<u64> {
        let usable = nearest_and_inexact_already(env)
            && is_plain::<Self>(addend)
            && is_normal::<Self>(a)
            && is_normal::<Self>(b);
        if !usable {
            return None;
        }
        // Rounded once on every host: without such an instruction, a library function does it.
        let bits = f64::from_bits(a)
            .mul_add(f64::from_bits(b), f64::from_bits(addend))
            .to_bits();
        is_safe::<Self>(bits).then_some(bits)
    }
}
