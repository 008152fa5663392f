//! Conversions between floating-point formats (FPDoubleToSingle, FPHalfToSingle and the like).

use super::format::{Class, infinity, unpack, zero};
use super::round::round_pack;
use super::{Env, Format};
use crate::fpscr;

/// Returns `bits` of the format `From` in the format `To`, rounded.
///
/// A NaN keeps its sign and the upper part of its payload. Alternative half precision has no place
/// for infinities and NaNs: they become the largest number and zero, and raise IOC.
pub fn convert<From: Format, To: Format>(env: &mut Env, bits: u64) -> u64 {
    let operand = unpack::<From>(bits, env);
    let alternative = To::HAS_ALTERNATIVE && env.alternative_half;
    match operand.class {
        Class::Quiet | Class::Signalling => {
            // A NaN that the format cannot hold makes the operation invalid even if it is quiet.
            if operand.class == Class::Signalling || alternative {
                env.raise(fpscr::IOC);
            }
            if alternative {
                return zero::<To>(operand.sign);
            }
            if env.default_nan {
                return To::DEFAULT_NAN;
            }
            // Aligned at the top. QUIET keeps it a NaN even if nothing else of the payload is left.
            let payload = (bits & From::FRAC) << (63 - From::FRAC_BITS) >> (63 - To::FRAC_BITS);
            infinity::<To>(operand.sign) | To::QUIET | payload
        }
        Class::Infinite if alternative => {
            env.raise(fpscr::IOC);
            zero::<To>(operand.sign) | (To::SIGN - 1)
        }
        Class::Infinite => infinity::<To>(operand.sign),
        Class::Zero => zero::<To>(operand.sign),
        Class::Finite => round_pack::<To>(env, operand.sign, operand.exp, operand.sig),
    }
}
