//! What generated code and the rest agree on: which registers hold what, and where the core's state
//! is.

use std::mem::offset_of;

use super::asm::{Gpr, Mem};
use crate::cpu::Cpu;
use crate::jit::places::places;

/// The core.
pub const CPU: Gpr = Gpr::x(19);
/// Instructions that are left of the budget.
pub const LEFT: Gpr = Gpr::x(20);
/// The entries of the current set of the software TLB.
pub const TLB: Gpr = Gpr::x(21);
/// Temporary 0, and what the code returns.
pub const WORK: Gpr = Gpr::x(0);
/// Temporary 1, and the operation for its handler.
pub const SECOND: Gpr = Gpr::x(1);
/// Temporary 2, and the number of a block's instructions for the call of a handler.
pub const THIRD: Gpr = Gpr::x(2);
/// Scratch registers, which hold nothing from one micro-operation to the next.
pub const SCRATCH: [Gpr; 3] = [Gpr::x(3), Gpr::x(4), Gpr::x(5)];
/// The frame pointer, which stays what a function has it be.
pub const FRAME: Gpr = Gpr::x(29);

/// The host registers of R0 to R14. Which of them a function must leave as they were does not
/// matter: a handler that is called finds all of them in memory, and may change any there. The
/// upper halves are 0.
const PINNED: [Gpr; 15] = [
    Gpr::x(22),
    Gpr::x(23),
    Gpr::x(24),
    Gpr::x(25),
    Gpr::x(26),
    Gpr::x(27),
    Gpr::x(28),
    Gpr::x(8),
    Gpr::x(9),
    Gpr::x(10),
    Gpr::x(11),
    Gpr::x(12),
    Gpr::x(13),
    Gpr::x(14),
    Gpr::x(15),
];

/// Returns the host register of guest register `n`, 0 to 14.
pub fn pinned(n: u8) -> Gpr {
    PINNED[usize::from(n)]
}

/// Returns where something of the core is; what instructions can reach is checked when this is
/// compiled.
#[expect(clippy::cast_possible_truncation, reason = "a core has some kilobytes")]
const fn at(offset: usize) -> Mem {
    assert!(offset < 0x1000);
    Mem::Base(CPU, offset as u32)
}

places!(at);

/// Where R0 is, from the start of the core; the others follow it.
#[expect(clippy::cast_possible_truncation, reason = "a core has some kilobytes")]
pub const REGISTERS: u32 = {
    let offset = offset_of!(Cpu, s.r);
    assert!(offset < 0x1000);
    offset as u32
};
