//! VFP and Advanced SIMD.

use arm32_isa::Insn;

use crate::exec::Handler;

/// The handler of `insn`, if it is one of this module's.
pub const fn handler(_insn: &Insn) -> Option<Handler> {
    None
}
