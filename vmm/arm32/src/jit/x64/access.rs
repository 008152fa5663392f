//! Loads and stores: the look-up in the software TLB, and the access. Thread registers.

use super::asm::{Alu, Asm, Cc, Extend, Fixup, Gpr, Mem, Rm, ShiftOp, Width};
use super::frame::{self, LEFT, SECOND, THIRD, TLB, WORK};
use super::values::Emitter;
use crate::ir::{Dest, Mop, ThreadRegister, Value};
use crate::state::Mode;
use crate::timer::TICK_SHIFT;
use crate::tlb;

/// Writes an access; branches to `slow` where the fast path does not answer. The address stays in
/// temporary 0's register.
pub fn emit(e: &mut Emitter<'_>, mop: Mop, slow: &mut Vec<Fixup>) {
    match mop {
        Mop::Load { d, at, size, sign } => {
            e.load(WORK, at);
            look_up_free(e, false, size, slow);
            load(e, d, Mem::Sum(THIRD, WORK, 0), size, sign);
        }
        Mop::ReadThread { d, register } => {
            if register == ThreadRegister::Kernel {
                slow.push(if_user(e));
            }
            load(e, d, frame::thread(register), 4, false);
        }
        Mop::ReadCounter { low, high, idx } => counter(e, low, high, idx, slow),
        Mop::Store { x, at, size } => {
            e.load(WORK, at);
            look_up_free(e, true, size, slow);
            let value = e.in_register(x, SECOND);
            store(e.asm, Mem::Sum(THIRD, WORK, 0), value, size);
        }
        Mop::LoadList { list, at } => {
            words(e, list.count_ones(), at, false, slow);
            for (n, at) in places(list) {
                match (n, frame::operand(n)) {
                    (15, _) => e.asm.load(Width::Long, WORK, Rm::Mem(at)),
                    (_, Rm::Reg(r)) => e.asm.load(Width::Long, r, Rm::Mem(at)),
                    (_, Rm::Mem(to)) => {
                        e.asm.load(Width::Long, SECOND, Rm::Mem(at));
                        e.asm.store(Width::Long, to, SECOND);
                    }
                }
            }
        }
        Mop::StoreList { list, at } => {
            words(e, list.count_ones(), at, true, slow);
            for (n, at) in places(list) {
                let value = e.in_register(Value::Reg(n), SECOND);
                e.asm.store(Width::Long, at, value);
            }
        }
        Mop::StorePair { first, second, at } => {
            words(e, 2, at, true, slow);
            for (n, distance) in [(first, 0), (second, 4)] {
                let value = e.in_register(Value::Reg(n), SECOND);
                e.asm.store(Width::Long, Mem::Base(THIRD, distance), value);
            }
        }
        _ => {}
    }
}

/// Branches in user mode; to where is still to be said.
fn if_user(e: &mut Emitter<'_>) -> Fixup {
    e.asm.extend(Extend::Zero8, THIRD, Rm::Mem(frame::MODE));
    e.asm
        .alu_imm(Width::Long, Alu::Cmp, Rm::Reg(THIRD), Mode::Usr as i32);
    e.asm.jump_if(Cc::E)
}

/// Reads the count of the generic timer at instruction `idx` of the block.
fn counter(e: &mut Emitter<'_>, low: u8, high: u8, idx: u8, slow: &mut Vec<Fixup>) {
    // The kernel decides whether programs may.
    slow.push(if_user(e));
    e.asm.load(Width::Quad, WORK, Rm::Mem(frame::CONTEXT_TIME));
    e.asm.alu_imm(Width::Quad, Alu::Cmp, Rm::Reg(WORK), 0);
    slow.push(e.asm.jump_if(Cc::E));
    // What is left is what is left after the block.
    e.asm.alu(Width::Quad, Alu::Sub, WORK, Rm::Reg(LEFT));
    let ahead = e.count() - u32::from(idx);
    e.asm
        .alu_imm(Width::Quad, Alu::Sub, Rm::Reg(WORK), ahead.cast_signed());
    e.asm.shift(Width::Quad, ShiftOp::Shr, WORK, TICK_SHIFT);
    e.put(Dest::Reg(low), WORK);
    e.asm.shift(Width::Quad, ShiftOp::Shr, WORK, 32);
    e.put(Dest::Reg(high), WORK);
}

fn load(e: &mut Emitter<'_>, d: Dest, at: Mem, size: u8, signed: bool) {
    let to = match super::values::place(d) {
        Some(Rm::Reg(r)) => r,
        // The address is still wanted; what was looked up is not.
        _ => THIRD,
    };
    load_to(e.asm, to, at, size, signed);
    e.put(d, to);
}

/// Loads `size` bytes at `at`, extended to a word.
pub fn load_to(a: &mut Asm, to: Gpr, at: Mem, size: u8, signed: bool) {
    let how = match (size, signed) {
        (1, false) => Some(Extend::Zero8),
        (1, true) => Some(Extend::Sign8),
        (2, false) => Some(Extend::Zero16),
        (2, true) => Some(Extend::Sign16),
        _ => None,
    };
    match how {
        Some(how) => a.extend(how, to, Rm::Mem(at)),
        None => a.load(Width::Long, to, Rm::Mem(at)),
    }
}

/// Stores the low `size` bytes of `value`.
pub fn store(a: &mut Asm, at: Mem, value: Gpr, size: u8) {
    match size {
        1 => a.store8(at, value),
        2 => a.store16(at, value),
        _ => a.store(Width::Long, at, value),
    }
}

/// As [`look_up`], for an access that may be misaligned in most pages.
fn look_up_free(e: &mut Emitter<'_>, write: bool, size: u8, slow: &mut Vec<Fixup>) {
    find(e, write, size.into(), slow);
    e.may_be_misaligned(write, size, slow);
    to_host(e);
}

/// Looks up the address in EAX for an access of `size` bytes: the host address of guest address 0
/// of its page comes to RDX.
pub fn look_up(e: &mut Emitter<'_>, write: bool, size: u32, slow: &mut Vec<Fixup>) {
    find(e, write, size, slow);
    to_host(e);
}

/// Finds the entry of the address in EAX: its place comes to ECX.
#[expect(
    clippy::cast_possible_wrap,
    reason = "masks are the same bits with a sign"
)]
fn find(e: &mut Emitter<'_>, write: bool, size: u32, slow: &mut Vec<Fixup>) {
    let (index_shift, index_mask) = tlb::BYTES;
    if has_bmi2() {
        // What comes in at the top is masked.
        e.asm.rotate_to(SECOND, WORK, index_shift);
    } else {
        e.asm.load(Width::Long, SECOND, Rm::Reg(WORK));
        e.asm.shift(Width::Long, ShiftOp::Shr, SECOND, index_shift);
    }
    e.asm
        .alu_imm(Width::Long, Alu::And, Rm::Reg(SECOND), index_mask as i32);
    e.asm.load(Width::Long, THIRD, Rm::Reg(WORK));
    // One comparison: a misaligned address differs in its low bits, a tagged or empty entry by its
    // tag.
    let page_and_low = 0xffff_f000 | (size - 1);
    e.asm
        .alu_imm(Width::Long, Alu::And, Rm::Reg(THIRD), page_and_low as i32);
    let tag = if write { tlb::WRITE_AT } else { tlb::READ_AT };
    e.asm.alu(
        Width::Long,
        Alu::Cmp,
        THIRD,
        Rm::Mem(Mem::Sum(TLB, SECOND, tag)),
    );
    slow.push(e.asm.jump_if(Cc::Ne));
}

/// Returns whether the host has RORX.
fn has_bmi2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("bmi2");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Has RDX be the host address of guest address 0 of the page whose entry was found.
fn to_host(e: &mut Emitter<'_>) {
    let host = Mem::Sum(TLB, SECOND, tlb::HOST_AT);
    e.asm.load(Width::Quad, THIRD, Rm::Mem(host));
}

/// Writes a routine of [`Routines::misaligned`](crate::jit::emit::Routines::misaligned): the
/// address is in EAX and the place of its entry in ECX, which stay.
#[expect(
    clippy::cast_possible_wrap,
    reason = "masks are the same bits with a sign"
)]
pub fn misaligned(a: &mut Asm, size: i32, write: bool) -> usize {
    let at = a.here();
    // The page of its last byte: if it is another one, it is not that of the entry.
    a.lea(Width::Long, THIRD, Mem::Base(WORK, size - 1));
    let page = 0xffff_f000_u32 as i32;
    a.alu_imm(Width::Long, Alu::And, Rm::Reg(THIRD), page);
    let tag = if write { tlb::WRITE_AT } else { tlb::READ_AT };
    let tag = Rm::Mem(Mem::Sum(TLB, SECOND, tag));
    a.alu(Width::Long, Alu::Cmp, THIRD, tag);
    let other = a.jump_if(Cc::Ne);
    // The entry's index in its set, and among all.
    a.load(Width::Long, THIRD, Rm::Reg(SECOND));
    a.shift(Width::Long, ShiftOp::Shr, THIRD, 4);
    a.alu(Width::Quad, Alu::Add, THIRD, Rm::Mem(frame::TLB_BASE));
    a.shift(Width::Quad, ShiftOp::Shl, THIRD, 2);
    a.alu(
        Width::Quad,
        Alu::Add,
        THIRD,
        Rm::Mem(frame::CONTEXT_NUMBERS),
    );
    a.load(Width::Long, THIRD, Rm::Mem(Mem::Base(THIRD, 0)));
    a.shift(Width::Long, ShiftOp::Shr, THIRD, tlb::FREE_BIT);
    a.alu_imm(Width::Long, Alu::Cmp, Rm::Reg(THIRD), 1);
    a.bind_here(other);
    a.ret();
    at
}

/// Has RDX be the host address of `count` words at `at`, which are in one page.
fn words(e: &mut Emitter<'_>, count: u32, at: Value, write: bool, slow: &mut Vec<Fixup>) {
    e.load(WORK, at);
    let others = count.cast_signed() - 1;
    if others > 0 {
        e.asm.lea(Width::Long, SECOND, Mem::Base(WORK, 4 * others));
        e.asm.alu(Width::Long, Alu::Xor, SECOND, Rm::Reg(WORK));
        e.asm.test_imm(SECOND, 0xffff_f000);
        slow.push(e.asm.jump_if(Cc::Ne));
    }
    look_up(e, write, 4, slow);
    e.asm.alu(Width::Quad, Alu::Add, THIRD, Rm::Reg(WORK));
}

/// Returns the registers of `list`, and where their words are.
fn places(list: u16) -> impl Iterator<Item = (u8, Mem)> {
    let registers = (0..16).filter(move |n| list & 1 << n != 0);
    registers
        .zip(0..)
        .map(|(n, i)| (n, Mem::Base(THIRD, 4 * i)))
}
