//! The registers of VFP and Advanced SIMD: their loads and stores, and moves from and to the core's
//! registers.

use arm32_isa::Insn;

use super::access::{in_page, load_of, look_up, store_of};
use super::asm::{Access, Asm, Cond, Field, Fixup, Gpr, Logic, Mem, Sum, Vector, Width, mask};
use super::frame::{self, CPU, SCRATCH, WORK};
use super::values::{Emitter, place};
use super::{float, structures, vector};
use crate::ir::bank::Transfer;
use crate::ir::{BankMop, Value};
use crate::state::fp_enables::{ASEDIS, EN, FULL};

/// Returns whether there is code for `mop`.
pub fn is_emitted(mop: &BankMop) -> bool {
    match mop {
        BankMop::Execute(insn) => execute(&mut Asm::default(), insn, &mut Vec::new()).is_some(),
        _ => true,
    }
}

/// Writes one of the operations of this module; branches to `slow` where the handler must do it.
pub fn emit(e: &mut Emitter<'_>, mop: BankMop, slow: &mut Vec<Fixup>) {
    let [own, ..] = SCRATCH;
    match mop {
        BankMop::Need { .. } => need(e.asm, slow),
        BankMop::Load(moved) => transfer(e, moved, false, slow),
        BankMop::Store(moved) => transfer(e, moved, true, slow),
        BankMop::Structures(moved) => {
            let write = moved.store;
            let host = at_host(e, moved.at, moved.bytes, moved.align, write, slow);
            structures::emit(e.asm, &moved, host);
        }
        BankMop::Read {
            d,
            place: from,
            size,
            sign,
        } => {
            let to = place(d).unwrap_or(own);
            e.asm.access(load_of(size, sign), to, frame::bank(from));
        }
        BankMop::Write { place, x, size } => {
            let value = e.in_register(x, own);
            e.asm.access(store_of(size), value, frame::bank(place));
        }
        BankMop::Duplicate { place, q, size, x } => {
            let value = e.in_register(x, own);
            e.asm.duplicate(size, Vector::V0, value);
            store(e.asm, if q { 16 } else { 8 }, Vector::V0, place);
        }
        BankMop::ReadStatus { d } => {
            let to = place(d).unwrap_or(own);
            e.asm.access(Access::LOAD, to, frame::FPSCR);
        }
        BankMop::Flags => flags(e.asm),
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

/// Loads 4, 8 or 16 bytes of the bank.
pub fn load(a: &mut Asm, bytes: u8, v: Vector, place: u8) {
    let at = reach(a, bytes, place);
    a.vector_access(true, bytes, v, at);
}

/// Stores them.
pub fn store(a: &mut Asm, bytes: u8, v: Vector, place: u8) {
    let at = reach(a, bytes, place);
    a.vector_access(false, bytes, v, at);
}

/// Returns where they are, as an operand: what is no multiple of its size from the core's start
/// takes an address of its own.
fn reach(a: &mut Asm, bytes: u8, place: u8) -> Mem {
    let [.., address] = SCRATCH;
    match frame::bank(place) {
        Mem::Base(_, distance) if distance % u32::from(bytes) != 0 => {
            a.sum_imm(Width::Double, Sum::Add, address, CPU, distance);
            Mem::Base(address, 0)
        }
        near => near,
    }
}

/// Checks what is so wherever software uses VFP and Advanced SIMD at all; the rest is the
/// handler's.
fn need(a: &mut Asm, slow: &mut Vec<Fixup>) {
    let [value, bits, _] = SCRATCH;
    a.access(Access::LOAD, value, frame::CPACR);
    a.set(bits, ASEDIS | FULL);
    a.logic(Logic::And, value, value, bits, false);
    a.set(bits, FULL);
    a.compare(Width::Word, value, bits);
    slow.push(a.jump_if(Cond::NE));
    a.access(Access::LOAD, value, frame::FPEXC);
    a.logic_imm(
        Logic::AndSet,
        Gpr::ZERO,
        value,
        mask(EN).unwrap_or_default(),
    );
    slow.push(a.jump_if(Cond::EQ));
}

fn flags(a: &mut Asm) {
    let [status, flag, _] = SCRATCH;
    a.access(Access::LOAD, status, frame::FPSCR);
    // In the form in which they are kept: N in its bit, Z as a result that is 0 if it is set.
    let sign = mask(1 << 31).unwrap_or_default();
    a.logic_imm(Logic::And, flag, status, sign);
    a.access(Access::STORE, flag, frame::N);
    a.not(flag, status);
    a.extract(Field::Unsigned, flag, flag, 30, 1);
    a.access(Access::STORE, flag, frame::Z);
    for (bit, place) in [(29, frame::C), (28, frame::V)] {
        a.extract(Field::Unsigned, flag, status, bit, 1);
        a.access(Access::STORE, flag, place);
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
    let host = at_host(e, at, bytes, align, write, slow);
    let mut done = 0;
    while done < bytes {
        let size = match bytes - done {
            16.. => 16,
            8.. => 8,
            _ => 4,
        };
        let there = Mem::Base(host, done.into());
        if write {
            load(e.asm, size, Vector::V0, place + done);
            e.asm.vector_access(false, size, Vector::V0, there);
        } else {
            e.asm.vector_access(true, size, Vector::V0, there);
            store(e.asm, size, Vector::V0, place + done);
        }
        done += size;
    }
}

/// Returns the register with the host address of `bytes` bytes at `at`, which are in one page.
fn at_host(
    e: &mut Emitter<'_>,
    at: Value,
    bytes: u8,
    align: u8,
    write: bool,
    slow: &mut Vec<Fixup>,
) -> Gpr {
    let [page, ..] = SCRATCH;
    e.load(WORK, at);
    if bytes > align {
        in_page(e, u32::from(bytes) - 1, slow);
    }
    look_up(e, write, align.into(), slow);
    // The upper half of the address's register is 0.
    e.asm.sum(Width::Double, Sum::Add, page, page, WORK);
    page
}
