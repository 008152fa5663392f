//! Which NaN an operation returns (FPProcessNaN, FPProcessNaNs and FPProcessNaNs3, ARM ARM A2.7.6).

use super::Env;
use super::format::{Class, Format, Unpacked};
use crate::fpscr;

/// An operand: how it came, and taken apart.
pub type Operand = (u64, Unpacked);

/// Returns the default NaN of an invalid operation.
#[cold]
pub fn invalid<F: Format>(env: &mut Env) -> u64 {
    env.raise(fpscr::IOC);
    F::DEFAULT_NAN
}

/// Returns the result for one NaN operand: quiet, or the default NaN.
#[cold]
pub fn process_one<F: Format>(env: &mut Env, (bits, op): Operand) -> u64 {
    if op.class == Class::Signalling {
        env.raise(fpscr::IOC);
    }
    if env.default_nan {
        F::DEFAULT_NAN
    } else {
        // Sign and payload stay, as FPProcessNaN has it.
        bits | F::QUIET
    }
}

/// Returns the result if any operand is a NaN: of the first signalling one, or else of the first
/// quiet one.
#[inline]
pub fn process<F: Format, const N: usize>(env: &mut Env, operands: [Operand; N]) -> Option<u64> {
    if !operands.iter().any(|(_, op)| op.is_nan()) {
        return None;
    }
    let first = |class| operands.into_iter().find(|(_, op)| op.class == class);
    first(Class::Signalling)
        .or_else(|| first(Class::Quiet))
        .map(|operand| process_one::<F>(env, operand))
}
