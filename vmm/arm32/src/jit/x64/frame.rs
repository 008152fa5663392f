//! What generated code and the rest agree on: which registers hold what, and where the core's state
//! is.

use std::mem::offset_of;

use super::asm::{Gpr, Mem, Rm};
use crate::cp15::Cp15;
use crate::cpu::Cpu;
use crate::host_code::Context;
use crate::ir::ThreadRegister;
use crate::state::{CpuState, Flags, Psr};

/// The core.
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

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a core has a few kilobytes"
)]
const fn at(offset: usize) -> Mem {
    Mem::Base(CPU, offset as i32)
}

const STATE: usize = offset_of!(Cpu, s);
const FLAGS: usize = STATE + offset_of!(CpuState, flags);
const PSR: usize = STATE + offset_of!(CpuState, psr);
const CONTEXT: usize = offset_of!(Cpu, jit);

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
pub const PC: Mem = guest(15);
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
pub const fn thread(register: ThreadRegister) -> Mem {
    let of = match register {
        ThreadRegister::User => offset_of!(Cp15, tpidrurw),
        ThreadRegister::UserReadOnly => offset_of!(Cp15, tpidruro),
        ThreadRegister::Kernel => offset_of!(Cp15, tpidrprw),
    };
    at(STATE + offset_of!(CpuState, cp15) + of)
}

/// Returns where guest register `n` is kept.
pub const fn guest(n: u8) -> Mem {
    at(STATE + offset_of!(CpuState, r) + 4 * n as usize)
}

/// Returns guest register `n` as an operand.
pub fn operand(n: u8) -> Rm {
    pinned(n).map_or(Rm::Mem(guest(n)), Rm::Reg)
}
