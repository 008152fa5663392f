//! VFPv4 (32 double registers) and Advanced SIMD as a Cortex-A15 has them, bit-exact: results,
//! NaNs, denormals, flush-to-zero, default NaN, rounding modes and the cumulative flags.
//!
//! * [`soft`] is the arithmetic on bit patterns,
//! * [`regs`] is the register bank and the FPSCR,
//! * [`exec`] executes decoded instructions on the bank and tells the core how those that touch
//!   core registers or memory move their data.
//!
//! # Why not `rustc_apfloat`
//!
//! Its arithmetic is right, but three things here are not IEEE 754's free choices and would have to
//! be done around it for every operation: the Arm architecture detects tininess *before* rounding,
//! flushes denormal operands and results with flags of their own, and has its own order of NaN
//! operands; square roots, the alternative half-precision format and the estimates it lacks. All
//! operations here end in one short function, [`soft::round::round_pack`], where those rules are
//! stated once; it is also several times faster than arbitrary-precision arithmetic, and the host
//! does the common cases. `rustc_apfloat` is what the tests compare with.

pub mod exec;
pub mod fpscr;
pub mod regs;
pub mod soft;

pub use regs::FpRegs;
