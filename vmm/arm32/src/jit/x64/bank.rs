//! The registers of VFP and Advanced SIMD: their loads and stores, and moves from and to the core's
//! registers.

use arm32_isa::Insn;

use super::access::{load_to, look_up, store};
use super::asm::{Alu, Asm, Cc, Fixup, Gpr, Mem, Packed, Rm, Shuffle, Width, Xmm};
use super::frame::{self, SECOND, THIRD, WORK};
use super::values::{Emitter, place};
use super::{float, structures, vector};
use crate::ir::bank::Transfer;
use crate::ir::{BankMop, Dest, Value};
use crate::state::fp_enables::{ASEDIS, EN_BIT, FULL};

/// Returns whether there is code for `mop`.
pub fn is_emitted(mop: &BankMop) -> bool {
    match mop {
        BankMop::Execute(insn) => execute(&mut Asm::default(), insn, &mut Vec::new()).is_some(),
        _ => true,
    }
}

/// Writes one of the operations of this module; branches to `slow` where the handler must do it.
pub fn emit(e: &mut Emitter<'_>, mop: BankMop, slow: &mut Vec<Fixup>) {
    match mop {
        BankMop::Need { .. } => need(e, slow),
        BankMop::Load(moved) => transfer(e, moved, false, slow),
        BankMop::Store(moved) => transfer(e, moved, true, slow),
        BankMop::Structures(moved) => {
            let write = moved.store;
            at_host(e, moved.at, moved.bytes, moved.align, write, slow);
            structures::emit(e.asm, &moved);
        }
        BankMop::Read {
            d,
            place,
            size,
            sign,
        } => read(e, d, frame::bank(place), size, sign),
        BankMop::Write { place, x, size } => {
            let value = e.in_register(x, WORK);
            store(e.asm, frame::bank(place), value, size);
        }
        BankMop::Duplicate { place, q, size, x } => {
            let value = e.in_register(x, WORK);
            e.asm.set_vector(Width::Long, Xmm::X0, value);
            duplicate(e.asm, size);
            e.asm
                .store_vector(if q { 16 } else { 8 }, frame::bank(place), Xmm::X0);
        }
        BankMop::ReadStatus { d } => read(e, d, frame::FPSCR, 4, false),
        BankMop::Flags => flags(e),
        BankMop::Execute(insn) => {
            // There is some, or `is_emitted` would have said so.
            let _ = execute(e.asm, &insn, slow);
        }
    }
}

/// Writes an instruction that stays within the bank; `None` if there is no code for it.
fn execute(a: &mut Asm, insn: &Insn, slow: &mut Vec<Fixup>) -> Option<()> {
    // Neither writes anything of what is the other's.
    float::emit(a, insn, slow).or_else(|| vector::emit(a, insn, slow))
}

/// Checks what is so wherever software uses VFP and Advanced SIMD at all; the rest is the
/// handler's.
fn need(e: &mut Emitter<'_>, slow: &mut Vec<Fixup>) {
    e.asm.load(Width::Long, WORK, Rm::Mem(frame::CPACR));
    let bits = (ASEDIS | FULL).cast_signed();
    e.asm.alu_imm(Width::Long, Alu::And, Rm::Reg(WORK), bits);
    e.asm
        .alu_imm(Width::Long, Alu::Cmp, Rm::Reg(WORK), FULL.cast_signed());
    slow.push(e.asm.jump_if(Cc::Ne));
    e.asm.bit_test(Rm::Mem(frame::FPEXC), EN_BIT);
    slow.push(e.asm.jump_if(Cc::Ae));
}

fn read(e: &mut Emitter<'_>, d: Dest, at: Mem, size: u8, sign: bool) {
    let to = match place(d) {
        Some(Rm::Reg(r)) => r,
        _ => WORK,
    };
    load_to(e.asm, to, at, size, sign);
    e.put(d, to);
}

/// Has all lanes of 2^`size` bytes of XMM0 be its lowest one.
pub fn duplicate(a: &mut Asm, size: u8) {
    if size == 0 {
        a.packed(Packed::UnpackLow8, Xmm::X0, Xmm::X0);
    }
    if size < 2 {
        a.packed(Packed::UnpackLow16, Xmm::X0, Xmm::X0);
    }
    a.shuffle(Shuffle::Words, Xmm::X0, Xmm::X0, 0);
}

fn flags(e: &mut Emitter<'_>) {
    e.asm.load(Width::Long, WORK, Rm::Mem(frame::FPSCR));
    let low = |e: &mut Emitter<'_>, to: Gpr, bits: u32| {
        e.asm
            .alu_imm(Width::Long, Alu::And, Rm::Reg(to), bits.cast_signed());
    };
    // In the form in which they are kept: N in its bit, Z as a result that is 0 if it is set.
    e.asm.load(Width::Long, SECOND, Rm::Reg(WORK));
    low(e, SECOND, 1 << 31);
    e.asm.store(Width::Long, frame::N, SECOND);
    e.asm.load(Width::Long, SECOND, Rm::Reg(WORK));
    e.asm.not(SECOND);
    e.asm
        .shift(Width::Long, super::asm::ShiftOp::Shr, SECOND, 30);
    low(e, SECOND, 1);
    e.asm.store(Width::Long, frame::Z, SECOND);
    for (bit, flag) in [(29, frame::C), (28, frame::V)] {
        e.asm.bit_test(Rm::Reg(WORK), bit);
        e.asm.set_if(Cc::B, flag);
    }
}

/// Loads or stores registers of the bank, which are in one page of memory.
fn transfer(e: &mut Emitter<'_>, moved: Transfer, write: bool, slow: &mut Vec<Fixup>) {
    let Transfer {
        place,
        bytes,
        at,
        align,
    } = moved;
    at_host(e, at, bytes, align, write, slow);
    let mut done = 0;
    while done < bytes {
        let (here, there) = (frame::bank(place + done), Mem::Base(THIRD, done.into()));
        let (from, to) = if write { (here, there) } else { (there, here) };
        let size = match bytes - done {
            16.. => 16,
            8.. => 8,
            _ => 4,
        };
        e.asm.load_vector(size, Xmm::X0, from);
        e.asm.store_vector(size, to, Xmm::X0);
        done += size;
    }
}

/// Has RDX be the host address of `bytes` bytes at `at`, which are in one page.
fn at_host(
    e: &mut Emitter<'_>,
    at: Value,
    bytes: u8,
    align: u8,
    write: bool,
    slow: &mut Vec<Fixup>,
) {
    e.load(WORK, at);
    if bytes > align {
        let last = Mem::Base(WORK, i32::from(bytes) - 1);
        e.asm.lea(Width::Long, SECOND, last);
        e.asm.alu(Width::Long, Alu::Xor, SECOND, Rm::Reg(WORK));
        e.asm.test_imm(SECOND, 0xffff_f000);
        slow.push(e.asm.jump_if(Cc::Ne));
    }
    look_up(e, write, align.into(), slow);
    e.asm.alu(Width::Quad, Alu::Add, THIRD, Rm::Reg(WORK));
}
