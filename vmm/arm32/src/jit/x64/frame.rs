//! What generated code and the rest agree on: which registers hold what, and where the core's state
//! is.

use std::mem::offset_of;

use super::asm::{Gpr, Mem, Rm};
use crate::cpu::Cpu;
use crate::jit::places::places;

/// The core, [`CPU_AT`] bytes behind its start.
pub const CPU: Gpr = Gpr::Rbx;
/// The entries of the current set of the software TLB.
pub const TLB: Gpr = Gpr::R12;
/// Instructions that are left of the budget.
pub const LEFT: Gpr = Gpr::R13;
/// Temporary 0, and whatever is worked out.
pub const WORK: Gpr = Gpr::Rax;
/// Temporary 1, and the first scratch register of accesses.
pub const SECOND: Gpr = Gpr::Rcx;
/// Temporary 2, and the second scratch register of accesses.
pub const THIRD: Gpr = Gpr::Rdx;

/// The guest registers that have host registers: R0 to R7 and SP, the most frequent ones. The
/// others are operands in memory.
pub const PINNED: [(u8, Gpr); 9] = [
    (0, Gpr::R8),
    (1, Gpr::R9),
    (2, Gpr::R10),
    (3, Gpr::R11),
    (4, Gpr::R14),
    (5, Gpr::R15),
    (6, Gpr::Rsi),
    (7, Gpr::Rdi),
    (13, Gpr::Rbp),
];

/// Returns the host register of guest register `n`, if it has one.
pub fn pinned(n: u8) -> Option<Gpr> {
    let found = PINNED.iter().find(|(guest, _)| *guest == n);
    found.map(|(_, host)| *host)
}

/// Where in the core [`CPU`] is: amid its registers and flags, so that one byte says how far these
/// are from it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a core has a few kilobytes"
)]
pub const CPU_AT: i32 = offset_of!(Cpu, s.r) as i32 + 64;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a core has a few kilobytes"
)]
const fn at(offset: usize) -> Mem {
    Mem::Base(CPU, offset as i32 - CPU_AT)
}

places!(at);

/// Returns where guest register `n` is kept.
pub const fn guest(n: u8) -> Mem {
    at(offset_of!(Cpu, s.r) + 4 * n as usize)
}

/// Returns guest register `n` as an operand.
pub fn operand(n: u8) -> Rm {
    pinned(n).map_or(Rm::Mem(guest(n)), Rm::Reg)
}
