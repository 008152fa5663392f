//! The floating-point arithmetic of the Arm architecture on bit patterns (ARM ARM DDI 0406C A2.7).
//!
//! Operands and results are raw bits in a `u64`, low-aligned; the format is a type parameter
//! ([`Half`], [`Single`], [`Double`]). Every operation takes an [`Env`]: the control bits it obeys
//! and the cumulative flags it raises. All operations end in one function, [`round::round_pack`].

pub mod arith;
pub mod compare;
pub mod convert;
pub mod env;
pub mod estimate;
mod fast;
pub mod format;
pub mod integer;
pub mod nan;
pub mod round;

pub use env::{Env, Rounding};
pub use fast::Fast;
pub use format::{Double, Format, Half, Single};
#[cfg(test)]
mod tests;
