//! The back end for x86-64 hosts (System V ABI).

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
use asm::{Alu, Cc, Gpr, Mem, Rm, ShiftOp, Width};
use frame::{CPU, LEFT, SECOND, THIRD, TLB, WORK};

use super::JUMPS;
use super::emit::Routines;
use crate::host_code::CodeExit;
use crate::tlb::TAG_BYTES;

/// Of a target shifted left by 2, the bits that choose an entry of the table of jumps.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the table is small"
)]
const JUMP_MASK: i32 = (JUMPS as i32 - 1) << 4;

/// The registers that a function must leave as they were.
const SAVED: [Gpr; 6] = [Gpr::Rbx, Gpr::Rbp, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// Returns the four bytes at position `at` that have their branch lead to `to`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "positions are within a code area of megabytes"
)]
pub fn branch(at: usize, to: usize) -> [u8; 4] {
    // Counted from the end of the branch, which is that of its four bytes.
    ((to as i64 - (at as i64 + 4)) as i32).to_le_bytes()
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
    a.store(Width::Quad, frame::CONTEXT_LEFT, LEFT);
    a.alu_imm(Width::Quad, Alu::Add, Rm::Reg(Gpr::Rsp), 8);
    SAVED.iter().rev().for_each(|r| a.pop(*r));
    a.ret();
    routines.call = call(a, saved);
    jumps(a, &mut routines);
    routines.misaligned =
        [2, 4].map(|size| [false, true].map(|write| access::misaligned(a, size, write)));
    system::routines(a, &mut routines);
    routines
}

/// Writes the routines that branch to EAX: by the table of jumps, or out.
fn jumps(a: &mut Asm, routines: &mut Routines) {
    // In T32 a simple branch goes on in T32, in which bit 0 stands for it.
    routines.branch = a.here();
    a.alu_imm(Width::Long, Alu::Or, Rm::Reg(WORK), 1);
    routines.exchange = a.here();
    a.store_imm8(frame::IT, 0);
    a.test_imm(WORK, 1);
    let t32 = a.jump_if(Cc::Ne);
    a.alu_imm(Width::Long, Alu::And, Rm::Reg(WORK), !3);
    a.bind_here(t32);
    // The instruction set.
    a.load(Width::Long, THIRD, Rm::Reg(WORK));
    a.alu_imm(Width::Long, Alu::And, Rm::Reg(THIRD), 1);
    a.store8(frame::THUMB, THIRD);
    // The entry: bits 15:2 of the target, times 16.
    a.load(Width::Long, SECOND, Rm::Reg(WORK));
    a.shift(Width::Long, ShiftOp::Shl, SECOND, 2);
    a.alu_imm(Width::Long, Alu::And, Rm::Reg(SECOND), JUMP_MASK);
    a.alu(Width::Quad, Alu::Add, SECOND, Rm::Mem(frame::CONTEXT_JUMPS));
    a.alu(Width::Long, Alu::Cmp, WORK, Rm::Mem(Mem::Base(SECOND, 0)));
    let other = a.jump_if(Cc::Ne);
    // The tag of its page: whether it still is where it was.
    let (shift, mask) = TAG_BYTES;
    a.load(Width::Long, THIRD, Rm::Reg(WORK));
    a.shift(Width::Long, ShiftOp::Shr, THIRD, shift);
    a.alu_imm(Width::Long, Alu::And, Rm::Reg(THIRD), mask.cast_signed());
    a.alu(Width::Quad, Alu::Add, THIRD, Rm::Mem(frame::CONTEXT_TAGS));
    a.load(Width::Quad, THIRD, Rm::Mem(Mem::Base(THIRD, 0)));
    a.alu(Width::Quad, Alu::Cmp, THIRD, Rm::Mem(Mem::Base(SECOND, 8)));
    let stale = a.jump_if(Cc::Ne);
    a.load(Width::Long, THIRD, Rm::Mem(Mem::Base(SECOND, 4)));
    a.alu(Width::Quad, Alu::Add, THIRD, Rm::Mem(frame::CONTEXT_CODE));
    a.jump_to(Rm::Reg(THIRD));
    a.bind_here(other);
    a.bind_here(stale);
    a.alu_imm(Width::Long, Alu::And, Rm::Reg(WORK), !1);
    a.store(Width::Long, frame::PC, WORK);
    a.set(WORK, CodeExit::LookUp as u32);
    let out = a.jump();
    a.bind(out, routines.exit);
}

/// `extern "C" fn(cpu, code, left) -> CodeExit`.
fn enter(a: &mut Asm) -> usize {
    let at = a.here();
    SAVED.iter().for_each(|r| a.push(*r));
    // Calls are made with the stack at a multiple of 16.
    a.alu_imm(Width::Quad, Alu::Sub, Rm::Reg(Gpr::Rsp), 8);
    a.lea(Width::Quad, CPU, Mem::Base(Gpr::Rdi, frame::CPU_AT));
    a.load(Width::Quad, LEFT, Rm::Reg(Gpr::Rdx));
    a.load(Width::Quad, TLB, Rm::Mem(frame::CONTEXT_TLB));
    a.load(Width::Quad, WORK, Rm::Reg(Gpr::Rsi));
    fill(a);
    a.jump_to(Rm::Reg(WORK));
    at
}

/// Runs the handler of the operation in RAX, of a block of ECX instructions.
fn call(a: &mut Asm, saved: usize) -> usize {
    let at = a.here();
    spill(a);
    // What was retired before the block: the handler adds what comes before it within.
    a.load(Width::Quad, THIRD, Rm::Mem(frame::CONTEXT_END));
    a.alu(Width::Quad, Alu::Sub, THIRD, Rm::Reg(LEFT));
    a.alu(Width::Quad, Alu::Sub, THIRD, Rm::Reg(SECOND));
    a.store(Width::Quad, frame::RETIRED, THIRD);
    a.push(WORK);
    a.lea(Width::Quad, Gpr::Rdi, Mem::Base(CPU, -frame::CPU_AT));
    a.load(Width::Quad, Gpr::Rsi, Rm::Reg(WORK));
    a.call(Rm::Mem(frame::CONTEXT_CALL));
    a.pop(SECOND);
    a.test(WORK, WORK);
    let leave = a.jump_if(Cc::Ne);
    fill(a);
    // It may have written DACR.
    a.load(Width::Quad, TLB, Rm::Mem(frame::CONTEXT_TLB));
    a.ret();
    a.bind_here(leave);
    // Nobody returns to the block.
    a.alu_imm(Width::Quad, Alu::Add, Rm::Reg(Gpr::Rsp), 8);
    a.store(Width::Quad, frame::CONTEXT_OP, SECOND);
    a.store(Width::Long, frame::CONTEXT_FLOW, WORK);
    a.set(WORK, CodeExit::Flow as u32);
    let out = a.jump();
    a.bind(out, saved);
    at
}

fn spill(a: &mut Asm) {
    for (n, r) in frame::PINNED {
        a.store(Width::Long, frame::guest(n), r);
    }
}

fn fill(a: &mut Asm) {
    for (n, r) in frame::PINNED {
        a.load(Width::Long, r, Rm::Mem(frame::guest(n)));
    }
}
