//! The three formats, and taking a bit pattern apart (FPUnpack, ARM ARM A2.7.5).

use super::Env;
use crate::fpscr;

/// An IEEE 754 binary interchange format.
pub trait Format: Copy {
    /// Bits of the exponent field.
    const EXP_BITS: u32;
    /// Bits of the fraction field.
    const FRAC_BITS: u32;
    /// Whether flush-to-zero applies; it does not to half precision (A2.7.3).
    const FLUSHES: bool = true;
    /// Whether FPSCR.AHP changes the meaning of the topmost exponent.
    const HAS_ALTERNATIVE: bool = false;

    /// The place of the sign.
    const SIGN_SHIFT: u32 = Self::EXP_BITS + Self::FRAC_BITS;
    /// The sign bit.
    const SIGN: u64 = 1 << Self::SIGN_SHIFT;
    /// The fraction field.
    const FRAC: u64 = (1 << Self::FRAC_BITS) - 1;
    /// The largest value of the exponent field.
    const EXP_MAX: u64 = (1 << Self::EXP_BITS) - 1;
    /// The exponent of the smallest normal number.
    const MIN_EXP: i32 = 2 - (1 << (Self::EXP_BITS - 1));
    /// The bit that tells a quiet NaN from a signalling one.
    const QUIET: u64 = 1 << (Self::FRAC_BITS - 1);
    /// Plus infinity.
    const INFINITY: u64 = Self::EXP_MAX << Self::FRAC_BITS;
    /// The default NaN: positive, quiet, no payload.
    const DEFAULT_NAN: u64 = Self::INFINITY | Self::QUIET;
    /// The largest finite number.
    const MAX_FINITE: u64 = Self::INFINITY - 1;
}

/// Half precision, binary16.
#[derive(Clone, Copy, Debug)]
pub struct Half;
/// Single precision, binary32.
#[derive(Clone, Copy, Debug)]
pub struct Single;
/// Double precision, binary64.
#[derive(Clone, Copy, Debug)]
pub struct Double;

impl Format for Half {
    const EXP_BITS: u32 = 5;
    const FRAC_BITS: u32 = 10;
    const FLUSHES: bool = false;
    const HAS_ALTERNATIVE: bool = true;
}
impl Format for Single {
    const EXP_BITS: u32 = 8;
    const FRAC_BITS: u32 = 23;
}
impl Format for Double {
    const EXP_BITS: u32 = 11;
    const FRAC_BITS: u32 = 52;
}

/// What kind of datum a bit pattern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A zero, perhaps by flushing.
    Zero,
    /// A finite number other than zero.
    Finite,
    /// An infinity.
    Infinite,
    /// A quiet NaN.
    Quiet,
    /// A signalling NaN.
    Signalling,
}

/// A datum taken apart. For [`Class::Finite`] the value is `sig * 2^(exp - 63)`, bit 63 of `sig`
/// set.
#[derive(Clone, Copy, Debug)]
pub struct Unpacked {
    /// What it is.
    pub class: Class,
    /// Whether the sign bit is set.
    pub sign: bool,
    /// The binary exponent.
    pub exp: i32,
    /// The significand.
    pub sig: u64,
}

impl Unpacked {
    /// Returns whether it is a NaN of either kind.
    #[inline]
    pub fn is_nan(&self) -> bool {
        matches!(self.class, Class::Quiet | Class::Signalling)
    }

    /// Returns whether it is an infinity.
    #[inline]
    pub fn is_inf(&self) -> bool {
        self.class == Class::Infinite
    }

    /// Returns whether it is a zero.
    #[inline]
    pub fn is_zero(&self) -> bool {
        self.class == Class::Zero
    }
}

/// Takes `bits` apart; a denormal operand that is flushed raises IDC.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "counts of bits and exponent fields are small"
)]
pub fn unpack<F: Format>(bits: u64, env: &mut Env) -> Unpacked {
    let sign = bits & F::SIGN != 0;
    let field = (bits >> F::FRAC_BITS) & F::EXP_MAX;
    let frac = bits & F::FRAC;
    let of = |class, exp, sig| Unpacked {
        class,
        sign,
        exp,
        sig,
    };
    if field == 0 {
        if frac == 0 {
            return of(Class::Zero, 0, 0);
        }
        // IDC tells of flushing only: without FZ a denormal is an operand like any other.
        if F::FLUSHES && env.flush {
            env.raise(fpscr::IDC);
            return of(Class::Zero, 0, 0);
        }
        // Normalised: the exponent goes below that of the least normal number.
        let zeros = frac.leading_zeros();
        let exp = F::MIN_EXP - (zeros as i32 - (63 - F::FRAC_BITS as i32));
        return of(Class::Finite, exp, frac << zeros);
    }
    // With alternative half precision the topmost exponent is one like the others.
    if field == F::EXP_MAX && !(F::HAS_ALTERNATIVE && env.alternative_half) {
        let class = match (frac, frac & F::QUIET) {
            (0, _) => Class::Infinite,
            (_, 0) => Class::Signalling,
            _ => Class::Quiet,
        };
        return of(class, 0, 0);
    }
    // The leading one is implied. Field 1 has the exponent of the smallest normal number.
    let sig = (1 << 63) | (frac << (63 - F::FRAC_BITS));
    of(Class::Finite, field as i32 + F::MIN_EXP - 1, sig)
}

/// Returns zero with the given sign.
#[inline]
pub fn zero<F: Format>(sign: bool) -> u64 {
    u64::from(sign) << F::SIGN_SHIFT
}

/// Returns infinity with the given sign.
#[inline]
pub fn infinity<F: Format>(sign: bool) -> u64 {
    zero::<F>(sign) | F::INFINITY
}

/// Changes the sign of anything, NaNs included, and raises nothing (FPNeg).
#[inline]
pub fn neg<F: Format>(bits: u64) -> u64 {
    bits ^ F::SIGN
}

/// Clears the sign of anything, NaNs included, and raises nothing (FPAbs).
#[inline]
pub fn abs<F: Format>(bits: u64) -> u64 {
    bits & !F::SIGN
}
