//! Disassembly, in UAL syntax.

#![expect(
    clippy::too_many_lines,
    reason = "what the tables are made into is long"
)]

mod operands;

use crate::decode::Decoded;
use crate::insn::Insn;
use crate::simd::*;
use crate::types::*;
pub(crate) use operands::Operand;
use operands::*;
use std::fmt;

include!(concat!(env!("OUT_DIR"), "/asm.rs"));

/// The assembler text of an instruction; made by [`Decoded::asm`].
#[derive(Clone, Copy, Debug)]
pub struct Asm<'a> {
    decoded: &'a Decoded,
    pc: u32,
}

impl Decoded {
    /// Returns the assembler text; `pc` is the address of the instruction itself.
    pub fn asm(&self, pc: u32) -> Asm<'_> {
        Asm { decoded: self, pc }
    }
}

impl fmt::Display for Asm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = self.decoded;
        write_asm(f, d.encoding.0, &d.insn, d.cond, self.pc, d.t32)
    }
}
