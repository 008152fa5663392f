//! What each predecoded operation does.
//!
//! Every operation has one shape, [`Op`], and every handler one signature: it acts on the core and
//! says how to go on. The interpreter calls handlers one after the other; a translator to host code
//! can call the same handlers from the code it emits, and replace those that matter by inline code
//! one at a time, because an `Op` is plain data and carries the instruction it was made from.

pub mod access;
pub mod branch;
pub mod dp;
pub mod exclusive;
pub mod ldst;
pub mod media;
pub mod multiple;
pub mod multiply;
pub mod simd;
pub mod system;
pub mod wrap;

/// Takes the fields of one instruction variant, or of several that have them in common, out of an
/// operation. `lower` pairs handlers with variants, so another variant is a bug of ours; to the
/// guest it is an undefined instruction, never a panic.
macro_rules! fields {
    ($cpu:ident, $op:ident => $($wanted:tt)+) => {
        arm32_isa::fields!($op.insn => $($wanted)+ else { return $cpu.undefined() });
    };
}
pub(crate) use fields;

use arm32_isa::Insn;

use crate::cpu::{CoreExit, Cpu, Flow};
use crate::debug::events;
use crate::exception::Exception;
use crate::mmu::{Access, Fault};
pub use crate::state::psr::advance_it;

/// Executes one operation.
pub type Handler = fn(&mut Cpu, &Op) -> Flow;

/// One predecoded instruction.
///
/// The meaning of `a` to `d` and `imm` is the handler's; `lower` fills them.
#[derive(Clone, Copy)]
pub struct Op {
    /// The handler the run loop calls.
    pub f: Handler,
    /// The handler inside, for those that wrap another.
    pub inner: Handler,
    /// Immediate operand.
    pub imm: u32,
    /// Address of the instruction.
    pub pc: u32,
    /// First register, by convention the destination.
    pub a: u8,
    /// Second register, by convention the base or first operand.
    pub b: u8,
    /// Third register.
    pub c: u8,
    /// Fourth register, or a small number.
    pub d: u8,
    /// Position in its block.
    pub idx: u8,
    /// Length in bytes: 2 or 4.
    pub len: u8,
    /// The IT state in which the instruction executes (`firstcond:mask` as it stands before it).
    pub it: u8,
    /// The condition code under which it executes; 14 for always.
    pub cond: u8,
    /// The instruction is T32.
    pub thumb: bool,
    /// The instruction as decoded, for handlers that need more than the fields above.
    pub insn: Insn,
}

impl Op {
    /// Returns the value an instruction reads as PC.
    #[inline]
    pub const fn pc_read(&self) -> u32 {
        self.pc.wrapping_add(if self.thumb { 4 } else { 8 })
    }

    /// Returns the address of the instruction after this one.
    #[inline]
    pub const fn next(&self) -> u32 {
        self.pc.wrapping_add(self.len as u32)
    }

    /// Returns the IT state for the instruction after this one.
    pub const fn next_it(&self) -> u8 {
        advance_it(self.it)
    }
}

/// Stops before the instruction: a breakpoint lies at it.
pub fn breakpoint(cpu: &mut Cpu, op: &Op) -> Flow {
    cpu.exit = Some(CoreExit::Breakpoint { pc: op.pc });
    Flow::Exception
}

/// Raises the Prefetch Abort in front of an instruction at which the guest set a breakpoint or
/// catches a vector, if it matches.
pub fn guest_breakpoint(cpu: &mut Cpu, op: &Op) -> Flow {
    match events::at_instruction(&cpu.s, op.pc) {
        Some(event) => {
            let fault = Fault::debug(event, op.pc, Access::Execute);
            cpu.raise(Exception::PrefetchAbort(fault))
        }
        None => Flow::Pass,
    }
}

impl Cpu {
    /// Returns register `n`.
    #[inline(always)]
    pub fn reg(&self, n: u8) -> u32 {
        // Masked, so that the compiler sees no index out of bounds and makes no check.
        self.s.r[(n & 15) as usize]
    }

    /// Writes register `n`.
    #[inline(always)]
    pub fn set_reg(&mut self, n: u8, value: u32) {
        self.s.r[(n & 15) as usize] = value;
    }
}
