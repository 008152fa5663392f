//! The back end for 64-bit ARM hosts (AAPCS64, little-endian).
//!
//! All of R0 to R14 have host registers, and the host's flags are those of the guest, with the same
//! sense of the carry.

mod access;
mod alu;
mod asm;
mod bank;
mod bits;
mod conditions;
mod emit;
mod exclusive;
mod float;
mod frame;
mod structures;
mod system;
mod values;
mod vector;

pub use asm::Asm;
use asm::{Access, Cond, Field, Gpr, Logic, Mem, Pair, Sum, Width, mask};
use frame::{CPU, LEFT, SCRATCH, SECOND, THIRD, TLB, WORK, pinned};

use super::JUMPS;
use super::emit::Routines;
use crate::host_code::CodeExit;
use crate::tlb::TAG_BYTES;

/// The registers that a function must leave as they were, and the link register, in pairs.
const SAVED: [(Gpr, Gpr); 6] = [
    (frame::FRAME, Gpr::LR),
    (Gpr::x(19), Gpr::x(20)),
    (Gpr::x(21), Gpr::x(22)),
    (Gpr::x(23), Gpr::x(24)),
    (Gpr::x(25), Gpr::x(26)),
    (Gpr::x(27), Gpr::x(28)),
];
/// Bytes of these on the stack, a multiple of 16.
const SAVED_SIZE: i32 = 96;
const _: () = assert!(SAVED_SIZE as usize == 16 * SAVED.len());

/// Returns the bytes of the branch at position `at` that leads to `to`.
#[expect(
    clippy::cast_possible_wrap,
    reason = "positions are within a code area of megabytes"
)]
pub fn branch(at: usize, to: usize) -> [u8; 4] {
    asm::branch(to as i64 - at as i64).to_le_bytes()
}

/// Writes what all code shares, at the start of the code area.
pub fn routines(a: &mut Asm) -> Routines {
    let mut routines = Routines {
        enter: enter(a),
        ..Routines::default()
    };
    routines.exit = a.here();
    spill(a);
    let saved = a.here();
    a.access(Access::STORE64, LEFT, frame::CONTEXT_LEFT);
    for (pair, distance) in SAVED.into_iter().zip((0..).step_by(16)).skip(1) {
        a.pair(Width::Double, true, pair, Pair::At(Gpr::SP, distance));
    }
    let all = Pair::After(Gpr::SP, SAVED_SIZE);
    a.pair(Width::Double, true, SAVED[0], all);
    a.ret();
    routines.call = call(a, saved);
    jumps(a, &mut routines);
    // Which tag was compared makes no difference.
    routines.misaligned = [2, 4].map(|size| [access::misaligned(a, size); 2]);
    system::routines(a, &mut routines);
    routines
}

/// Writes the routines that branch to temporary 0: by the table of jumps, or out.
fn jumps(a: &mut Asm, routines: &mut Routines) {
    let [first, second, entry] = SCRATCH;
    let bit_0 = mask(1).unwrap_or_default();
    // In T32 a simple branch goes on in T32, in which bit 0 stands for it.
    routines.branch = a.here();
    a.logic_imm(Logic::Or, WORK, WORK, bit_0);
    routines.exchange = a.here();
    a.access(Access::STORE8, Gpr::ZERO, frame::IT);
    // The instruction set.
    a.logic_imm(Logic::And, first, WORK, bit_0);
    a.access(Access::STORE8, first, frame::THUMB);
    let t32 = a.jump_if_zero(first, false);
    a.logic_imm(Logic::And, WORK, WORK, mask(!3).unwrap_or_default());
    a.bind_here(t32);
    // The entry: bits 15:2 of the target, times 16.
    a.extract(Field::Unsigned, first, WORK, 2, JUMPS.ilog2());
    a.access(Access::LOAD64, entry, frame::CONTEXT_JUMPS);
    a.sum_shifted(Width::Double, Sum::Add, entry, entry, first, 4);
    a.access(Access::LOAD, first, Mem::Base(entry, 0));
    a.compare(Width::Word, first, WORK);
    let other = a.jump_if(Cond::NE);
    // The tag of its page: whether it still is where it was.
    let (shift, mask_of_tags) = TAG_BYTES;
    let index_bits = mask_of_tags.count_ones();
    a.extract(
        Field::Unsigned,
        first,
        WORK,
        u32::from(shift) + 3,
        index_bits,
    );
    a.access(Access::LOAD64, second, frame::CONTEXT_TAGS);
    a.sum_shifted(Width::Double, Sum::Add, second, second, first, 3);
    a.access(Access::LOAD64, first, Mem::Base(second, 0));
    a.access(Access::LOAD64, second, Mem::Base(entry, 8));
    a.compare(Width::Double, first, second);
    let stale = a.jump_if(Cond::NE);
    a.access(Access::LOAD, first, Mem::Base(entry, 4));
    a.access(Access::LOAD64, second, frame::CONTEXT_CODE);
    a.sum(Width::Double, Sum::Add, first, first, second);
    a.jump_to(first);
    a.bind_here(other);
    a.bind_here(stale);
    a.logic_imm(Logic::And, WORK, WORK, mask(!1).unwrap_or_default());
    a.access(Access::STORE, WORK, frame::PC);
    a.set(WORK, CodeExit::LookUp as u32);
    let out = a.jump();
    a.bind(out, routines.exit);
}

/// `extern "C" fn(cpu, code, left) -> CodeExit`.
fn enter(a: &mut Asm) -> usize {
    let at = a.here();
    let all = Pair::Before(Gpr::SP, -SAVED_SIZE);
    a.pair(Width::Double, false, SAVED[0], all);
    for (pair, distance) in SAVED.into_iter().zip((0..).step_by(16)).skip(1) {
        a.pair(Width::Double, false, pair, Pair::At(Gpr::SP, distance));
    }
    // MOV of the stack pointer.
    a.sum_imm(Width::Double, Sum::Add, frame::FRAME, Gpr::SP, 0);
    a.copy(Width::Double, CPU, Gpr::x(0));
    a.copy(Width::Double, LEFT, Gpr::x(2));
    a.access(Access::LOAD64, TLB, frame::CONTEXT_TLB);
    fill(a);
    a.jump_to(Gpr::x(1));
    at
}

/// Runs the handler of the operation in SECOND, of a block of THIRD instructions.
fn call(a: &mut Asm, saved: usize) -> usize {
    let at = a.here();
    let kept = (Gpr::LR, SECOND);
    let [retired, function, _] = SCRATCH;
    spill(a);
    // What was retired before the block: the handler adds what comes before it within.
    a.access(Access::LOAD64, retired, frame::CONTEXT_END);
    a.sum(Width::Double, Sum::Sub, retired, retired, LEFT);
    a.sum(Width::Double, Sum::Sub, retired, retired, THIRD);
    a.access(Access::STORE64, retired, frame::RETIRED);
    a.pair(Width::Double, false, kept, Pair::Before(Gpr::SP, -16));
    // The operation is in the second argument's register.
    a.copy(Width::Double, Gpr::x(0), CPU);
    a.access(Access::LOAD64, function, frame::CONTEXT_CALL);
    a.call(function);
    a.pair(Width::Double, true, kept, Pair::After(Gpr::SP, 16));
    let leave = a.jump_if_zero(WORK, false);
    fill(a);
    // It may have written DACR.
    a.access(Access::LOAD64, TLB, frame::CONTEXT_TLB);
    a.ret();
    a.bind_here(leave);
    // Nobody returns to the block.
    a.access(Access::STORE64, SECOND, frame::CONTEXT_OP);
    a.access(Access::STORE, WORK, frame::CONTEXT_FLOW);
    a.set(WORK, CodeExit::Flow as u32);
    let out = a.jump();
    a.bind(out, saved);
    at
}

fn spill(a: &mut Asm) {
    move_all(a, false);
}

fn fill(a: &mut Asm) {
    move_all(a, true);
}

/// Loads or stores R0 to R14.
fn move_all(a: &mut Asm, load: bool) {
    let [registers, ..] = SCRATCH;
    // Too far from the core's start for pairs.
    a.sum_imm(Width::Double, Sum::Add, registers, CPU, frame::REGISTERS);
    for n in (0..14u8).step_by(2) {
        let at = Pair::At(registers, 4 * i32::from(n));
        a.pair(Width::Word, load, (pinned(n), pinned(n + 1)), at);
    }
    let access = if load { Access::LOAD } else { Access::STORE };
    a.access(access, pinned(14), Mem::Base(registers, 4 * 14));
}
