//! Comparison, maximum and minimum (FPCompare, FPCompareGT and friends, FPMax; ARM ARM A2.7.7).

use std::cmp::Ordering;

use super::format::{Class, Unpacked, unpack};
use super::nan::process;
use super::{Env, Format};
use crate::fpscr;

/// Returns the order of two data, `None` if unordered. A signalling NaN raises IOC; a quiet one
/// does if `signalling` is set.
#[inline]
pub fn compare<F: Format>(env: &mut Env, a: u64, b: u64, signalling: bool) -> Option<Ordering> {
    let (ua, ub) = (unpack::<F>(a, env), unpack::<F>(b, env));
    if ua.is_nan() || ub.is_nan() {
        if signalling || ua.class == Class::Signalling || ub.class == Class::Signalling {
            env.raise(fpscr::IOC);
        }
        return None;
    }
    Some(order(&ua, &ub))
}

/// Returns the order of two data that are no NaNs; zeros are equal.
fn order(a: &Unpacked, b: &Unpacked) -> Ordering {
    let rank = |u: &Unpacked| match u.class {
        Class::Zero => 0,
        Class::Finite => 1,
        _ => 2,
    };
    // Zeros and infinities carry no exponent: what they are goes before it.
    let magnitude = |u: &Unpacked| (rank(u), u.exp, u.sig);
    // Minus zero counts as positive, so that it equals zero.
    match (a.sign && !a.is_zero(), b.sign && !b.is_zero()) {
        (false, false) => magnitude(a).cmp(&magnitude(b)),
        (true, true) => magnitude(b).cmp(&magnitude(a)),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

/// Returns the condition flags that VCMP writes, at their places in the FPSCR.
#[must_use]
pub fn nzcv(order: Option<Ordering>) -> u32 {
    match order {
        Some(Ordering::Equal) => fpscr::Z | fpscr::C,
        Some(Ordering::Less) => fpscr::N,
        Some(Ordering::Greater) => fpscr::C,
        None => fpscr::C | fpscr::V,
    }
}

/// Returns the larger operand (FPMax); of zeros, the positive one.
pub fn max<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    select::<F>(env, a, b, Ordering::Greater)
}

/// Returns the smaller operand (FPMin); of zeros, the negative one.
pub fn min<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    select::<F>(env, a, b, Ordering::Less)
}

fn select<F: Format>(env: &mut Env, a: u64, b: u64, wanted: Ordering) -> u64 {
    let (ua, ub) = (unpack::<F>(a, env), unpack::<F>(b, env));
    if let Some(nan) = process::<F, 2>(env, [(a, ua), (b, ub)]) {
        return nan;
    }
    // `order` calls zeros equal; FPMax and FPMin go by their signs.
    if ua.is_zero() && ub.is_zero() {
        let negative = if wanted == Ordering::Greater {
            ua.sign && ub.sign
        } else {
            ua.sign || ub.sign
        };
        return super::format::zero::<F>(negative);
    }
    let (bits, chosen) = if order(&ua, &ub) == wanted {
        (a, ua)
    } else {
        (b, ub)
    };
    // A flushed denormal comes out as the zero it was taken for.
    if chosen.is_zero() {
        super::format::zero::<F>(chosen.sign)
    } else {
        bits
    }
}
