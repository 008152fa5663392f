//! Conversions to and from integers and fixed-point numbers (FPToFixed, FixedToFP; ARM ARM A2.7.7).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "integers of at most 64 bits, signed or not, are their low 64 bits, and counts of bits are small"
)]

use super::format::{Class, unpack, zero};
use super::round::{round_pack, rounds_up};
use super::{Env, Format, Rounding};
use crate::fpscr;

/// A fixed-point type: `bits` wide (at most 32), `fraction` of them behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Width of the number, 16 or 32 bits.
    pub bits: u32,
    /// Number of fraction bits, from 0 to `bits`.
    pub fraction: u32,
    /// Whether it is two's complement.
    pub signed: bool,
}

impl Fixed {
    /// Creates a 32-bit integer.
    #[must_use]
    pub fn integer(signed: bool) -> Self {
        Self {
            bits: 32,
            fraction: 0,
            signed,
        }
    }

    /// Returns the largest and the smallest value, unscaled.
    fn limits(self) -> (i128, i128) {
        if self.signed {
            ((1 << (self.bits - 1)) - 1, -(1 << (self.bits - 1)))
        } else {
            ((1 << self.bits) - 1, 0)
        }
    }
}

/// Returns the fixed-point number nearest (in `rounding`) to `bits`, saturated, sign-extended to 64
/// bits if it is signed. Out of range and NaN (which gives 0) raise IOC, otherwise an inexact
/// result raises IXC.
pub fn to_fixed<F: Format>(env: &mut Env, bits: u64, to: Fixed, rounding: Rounding) -> u64 {
    let operand = unpack::<F>(bits, env);
    let (max, min) = to.limits();
    match operand.class {
        Class::Quiet | Class::Signalling => {
            env.raise(fpscr::IOC);
            return 0;
        }
        Class::Zero => return 0,
        Class::Infinite => {
            env.raise(fpscr::IOC);
            return (if operand.sign { min } else { max }) as u64;
        }
        Class::Finite => {}
    }
    let exp = operand.exp + to.fraction as i32;
    // From 2^40 on nothing fits, whatever the rounding.
    let (integer, rest) = match exp {
        40.. => (1 << 40, 0),
        0..40 => (operand.sig >> (63 - exp), operand.sig << 1 << exp),
        -1 => (0, operand.sig),
        // Less than a half: only that it is not zero matters.
        _ => (0, 1),
    };
    let rounded = integer + u64::from(rounds_up(rounding, operand.sign, integer & 1 != 0, rest));
    // The range is checked after rounding: -0.4 may become a zero, which unsigned numbers have.
    let value = if operand.sign {
        -i128::from(rounded)
    } else {
        i128::from(rounded)
    };
    let saturated = value.clamp(min, max);
    // One exception at most: what saturates is invalid and not inexact, too.
    if saturated != value {
        env.raise(fpscr::IOC);
    } else if rest != 0 {
        env.raise(fpscr::IXC);
    }
    saturated as u64
}

/// Returns the floating-point number nearest (in `rounding`) to the low bits of `value`.
pub fn from_fixed<F: Format>(env: &mut Env, value: u64, from: Fixed, rounding: Rounding) -> u64 {
    let unused = 64 - from.bits;
    // At the top, so that bits above the width of the number are dropped.
    let top = value << unused;
    let sign = from.signed && top >> 63 != 0;
    let magnitude = if sign {
        // The magnitude of the least number is right as an unsigned number.
        ((top as i64 >> unused) as u64).wrapping_neg()
    } else {
        top >> unused
    };
    if magnitude == 0 {
        // Integers have no minus zero, and no rounding mode makes one of an exact zero.
        return zero::<F>(false);
    }
    let zeros = magnitude.leading_zeros();
    let exp = 63 - zeros as i32 - from.fraction as i32;
    // `round_pack` rounds as the environment says.
    let saved = std::mem::replace(&mut env.rounding, rounding);
    let result = round_pack::<F>(env, sign, exp, magnitude << zeros);
    env.rounding = saved;
    result
}
