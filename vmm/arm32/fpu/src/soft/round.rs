//! Rounding an exact value into a format (FPRound, ARM ARM A2.7.5): the one place where results are
//! made.

use super::format::{infinity, zero};
use super::{Env, Format, Rounding};
use crate::fpscr;

macro_rules! shift_right_jam {
    ($(#[$doc:meta])* $name:ident, $type:ident) => {
        $(#[$doc])*
        #[inline]
        pub fn $name(value: $type, count: u32) -> $type {
            match count {
                0 => value,
                1..$type::BITS => (value >> count) | $type::from(value << ($type::BITS - count) != 0),
                // Rust's shifts refuse the width of the type; every bit is a lost one there.
                _ => $type::from(value != 0),
            }
        }
    };
}
shift_right_jam!(
    /// Shifts right by `count`, keeping the fact that ones were lost as the lowest bit.
    shift_right_jam, u64
);
shift_right_jam!(
    /// Shifts right as [`shift_right_jam`] does, on 128 bits.
    shift_right_jam_wide, u128
);

/// Returns the upper half of `value`, its lowest bit telling whether the lower half had ones.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves of a wide integer"
)]
pub fn collapse(value: u128) -> u64 {
    (value >> 64) as u64 | u64::from(value as u64 != 0)
}

/// Returns whether a magnitude is rounded up: `lsb` is its last kept bit, `rest` what follows,
/// top-aligned.
#[inline]
pub fn rounds_up(rounding: Rounding, sign: bool, lsb: bool, rest: u64) -> bool {
    const HALF: u64 = 1 << 63;
    match rounding {
        Rounding::Nearest => rest > HALF || (rest == HALF && lsb),
        Rounding::Up => rest != 0 && !sign,
        Rounding::Down => rest != 0 && sign,
        Rounding::Zero => false,
    }
}

/// Returns the number nearest (in the rounding mode) to `sig * 2^(exp - 63)`, bit 63 of `sig` set
/// and its lowest bit sticky. Raises UFC, OFC, IXC, and for alternative half precision IOC.
/// Tininess is detected before rounding, and a flushed result raises UFC alone.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "exponents of every format are small, and of what is not tiny positive"
)]
pub fn round_pack<F: Format>(env: &mut Env, sign: bool, exp: i32, sig: u64) -> u64 {
    debug_assert!(sig >> 63 == 1, "significands are normalised");
    let tiny = exp < F::MIN_EXP;
    // Before rounding: what is exact is flushed, too, and what would round up to a normal number.
    if tiny && env.flush && F::FLUSHES {
        env.raise(fpscr::UFC);
        return zero::<F>(sign);
    }
    let alternative = F::HAS_ALTERNATIVE && env.alternative_half;
    // The alternative format has numbers with the topmost exponent, and overflows one later.
    let limit = F::EXP_MAX + u64::from(alternative);
    // Too large even if truncated. Any other exponent fits its field.
    if exp >= F::MIN_EXP + F::EXP_MAX as i32 {
        return overflow::<F>(env, sign, alternative);
    }
    let denormal_shift = if tiny { (F::MIN_EXP - exp) as u32 } else { 0 };
    let shift = 63 - F::FRAC_BITS + denormal_shift;
    let (kept, rest) = match shift {
        0 => (sig, 0),
        1..=63 => (sig >> shift, sig << (64 - shift)),
        64 => (0, sig),
        // Less than half of the last place: only that it is not zero matters.
        _ => (0, 1),
    };
    // The leading one of a normal significand adds one to the exponent field.
    let field = if tiny { 0 } else { (exp - F::MIN_EXP) as u64 };
    let truncated = (field << F::FRAC_BITS) + kept;
    let rounded = truncated + u64::from(rounds_up(env.rounding, sign, kept & 1 != 0, rest));
    // Rounding up can carry into the exponent field, as far as an overflow.
    if rounded >> F::FRAC_BITS >= limit {
        return overflow::<F>(env, sign, alternative);
    }
    // Exceptions are not trapped, so that an underflow is one only if it is inexact.
    if rest != 0 {
        env.raise(if tiny {
            fpscr::UFC | fpscr::IXC
        } else {
            fpscr::IXC
        });
    }
    zero::<F>(sign) | rounded
}

/// Returns the result of a magnitude too large for the format.
#[cold]
fn overflow<F: Format>(env: &mut Env, sign: bool, alternative: bool) -> u64 {
    if alternative {
        // There is no infinity to overflow to: the largest number, by an invalid operation.
        env.raise(fpscr::IOC);
        return zero::<F>(sign) | (F::SIGN - 1);
    }
    env.raise(fpscr::OFC | fpscr::IXC);
    // Rounding that is not away from zero stops at the largest finite number.
    let to_infinity = match env.rounding {
        Rounding::Nearest => true,
        Rounding::Up => !sign,
        Rounding::Down => sign,
        Rounding::Zero => false,
    };
    if to_infinity {
        infinity::<F>(sign)
    } else {
        zero::<F>(sign) | F::MAX_FINITE
    }
}
