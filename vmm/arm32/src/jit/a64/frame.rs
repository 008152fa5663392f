//! What generated code and the rest agree on: which registers hold what, and where the core's state
//! is.

use std::mem::offset_of;

use super::asm::{Gpr, Mem};
use crate::cp15::Cp15;
use crate::cpu::Cpu;
use crate::host_code::Context;
use crate::ir::ThreadRegister;
use crate::state::{CpuState, Flags, Psr};

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

const STATE: usize = offset_of!(Cpu, s);
const FLAGS: usize = STATE + offset_of!(CpuState, flags);
const PSR: usize = STATE + offset_of!(CpuState, psr);
const CONTEXT: usize = offset_of!(Cpu, jit);

/// Where R0 is, from the start of the core; the others follow it.
#[expect(clippy::cast_possible_truncation, reason = "a core has some kilobytes")]
pub const REGISTERS: u32 = {
    let offset = STATE + offset_of!(CpuState, r);
    assert!(offset < 0x1000);
    offset as u32
};

/// N, in bit 31.
pub const N: Mem = at(FLAGS + offset_of!(Flags, n));
/// 0 if Z is set.
pub const Z: Mem = at(FLAGS + offset_of!(Flags, z));
/// C: 0 or 1.
pub const C: Mem = at(FLAGS + offset_of!(Flags, c));
/// V: 0 or 1.
pub const V: Mem = at(FLAGS + offset_of!(Flags, v));
/// The IT state, a byte.
pub const IT: Mem = at(PSR + offset_of!(Psr, it));
/// Whether the core executes T32, a byte.
pub const THUMB: Mem = at(PSR + offset_of!(Psr, thumb));
/// The processor's mode, a byte.
pub const MODE: Mem = at(PSR + offset_of!(Psr, mode));
/// Instructions retired.
pub const RETIRED: Mem = at(STATE + offset_of!(CpuState, retired));
/// R15.
pub const PC: Mem = at(STATE + offset_of!(CpuState, r) + 4 * 15);
/// [`Context::tlb`].
pub const CONTEXT_TLB: Mem = at(CONTEXT + offset_of!(Context, tlb));
/// [`Context::tags`].
pub const CONTEXT_TAGS: Mem = at(CONTEXT + offset_of!(Context, tags));
/// [`Context::jumps`].
pub const CONTEXT_JUMPS: Mem = at(CONTEXT + offset_of!(Context, jumps));
/// [`Context::end`].
pub const CONTEXT_END: Mem = at(CONTEXT + offset_of!(Context, end));
/// [`Context::left`].
pub const CONTEXT_LEFT: Mem = at(CONTEXT + offset_of!(Context, left));
/// [`Context::call`].
pub const CONTEXT_CALL: Mem = at(CONTEXT + offset_of!(Context, call));
/// [`Context::exit_op`].
pub const CONTEXT_OP: Mem = at(CONTEXT + offset_of!(Context, exit_op));
/// [`Context::exit_flow`].
pub const CONTEXT_FLOW: Mem = at(CONTEXT + offset_of!(Context, exit_flow));
/// [`Context::exit_block`].
pub const CONTEXT_BLOCK: Mem = at(CONTEXT + offset_of!(Context, exit_block));
/// [`Context::exit_slot`].
pub const CONTEXT_SLOT: Mem = at(CONTEXT + offset_of!(Context, exit_slot));

/// Returns where a thread register is kept.
#[expect(clippy::cast_possible_truncation, reason = "a core has some kilobytes")]
pub const fn thread(register: ThreadRegister) -> Mem {
    let of = match register {
        ThreadRegister::User => offset_of!(Cp15, tpidrurw),
        ThreadRegister::UserReadOnly => offset_of!(Cp15, tpidruro),
        ThreadRegister::Kernel => offset_of!(Cp15, tpidrprw),
    };
    let offset = STATE + offset_of!(CpuState, cp15) + of;
    // Of words, instructions have the distance in words.
    assert!(offset < 0x4000 && offset.is_multiple_of(4));
    Mem::Base(CPU, offset as u32)
}
