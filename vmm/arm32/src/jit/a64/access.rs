//! Loads and stores: the look-up in the software TLB, and the access. Thread registers.

use super::asm::{Access, Asm, Cond, Field, Fixup, Gpr, Logic, Mem, Pair, Sum, Width, mask};
use super::frame::{self, LEFT, SCRATCH, TLB, WORK};
use super::values::Emitter;
use super::values::place;
use crate::ir::{Mop, ThreadRegister, Value};
use crate::state::Mode;
use crate::timer::TICK_SHIFT;
use crate::tlb;

/// Writes an access; branches to `slow` where the fast path does not answer. The address stays in
/// temporary 0's register.
pub fn emit(e: &mut Emitter<'_>, mop: Mop, slow: &mut Vec<Fixup>) {
    let [page, value, _] = SCRATCH;
    match mop {
        Mop::Load { d, at, size, sign } => {
            e.load(WORK, at);
            look_up_free(e, false, size, slow);
            let to = place(d).unwrap_or(value);
            e.asm.access(load_of(size, sign), to, Mem::Sum(page, WORK));
        }
        Mop::ReadThread { d, register } => {
            if register == ThreadRegister::Kernel {
                slow.push(if_user(e));
            }
            let to = place(d).unwrap_or(value);
            e.asm.access(Access::LOAD, to, frame::thread(register));
        }
        Mop::ReadCounter { low, high, idx } => counter(e, low, high, idx, slow),
        Mop::Store { x, at, size } => {
            e.load(WORK, at);
            look_up_free(e, true, size, slow);
            let from = e.in_register(x, value);
            e.asm.access(store_of(size), from, Mem::Sum(page, WORK));
        }
        Mop::LoadList { list, at } => words(e, list, at, false, slow),
        Mop::StoreList { list, at } => words(e, list, at, true, slow),
        Mop::StorePair { first, second, at } => {
            let registers = [first, second].map(frame::pinned);
            several(e, &registers, at, true, slow);
        }
        _ => {}
    }
}

/// Returns the access that loads so many bytes, extended to a word.
pub const fn load_of(size: u8, signed: bool) -> Access {
    match (size, signed) {
        (1, false) => Access::LOAD8,
        (1, true) => Access::LOAD_SIGNED8,
        (2, false) => Access::LOAD16,
        (2, true) => Access::LOAD_SIGNED16,
        _ => Access::LOAD,
    }
}

/// Returns the access that stores so many bytes.
pub const fn store_of(size: u8) -> Access {
    match size {
        1 => Access::STORE8,
        2 => Access::STORE16,
        _ => Access::STORE,
    }
}

/// Branches in user mode; to where is still to be said.
fn if_user(e: &mut Emitter<'_>) -> Fixup {
    let [mode, ..] = SCRATCH;
    e.asm.access(Access::LOAD8, mode, frame::MODE);
    e.asm.compare_imm(Width::Word, mode, Mode::Usr as u32);
    e.asm.jump_if(Cond::EQ)
}

/// Reads the count of the generic timer at instruction `idx` of the block.
fn counter(e: &mut Emitter<'_>, low: u8, high: u8, idx: u8, slow: &mut Vec<Fixup>) {
    let [time, upper, _] = SCRATCH;
    // The kernel decides whether programs may.
    slow.push(if_user(e));
    e.asm.access(Access::LOAD64, time, frame::CONTEXT_TIME);
    e.asm.compare_imm(Width::Double, time, 0);
    slow.push(e.asm.jump_if(Cond::EQ));
    // What is left is what is left after the block.
    e.asm.sum(Width::Double, Sum::Sub, time, time, LEFT);
    let ahead = e.count() - u32::from(idx);
    e.asm.sum_imm(Width::Double, Sum::Sub, time, time, ahead);
    e.asm.high_word(upper, time);
    e.asm
        .extract_pair(frame::pinned(low), upper, time, TICK_SHIFT.into());
    let (shift, high) = (u32::from(TICK_SHIFT), frame::pinned(high));
    e.asm
        .extract(Field::Unsigned, high, upper, shift, 32 - shift);
}

/// As [`look_up`], for an access that may be misaligned in most pages.
fn look_up_free(e: &mut Emitter<'_>, write: bool, size: u8, slow: &mut Vec<Fixup>) {
    find(e, write, size.into(), slow);
    e.may_be_misaligned(write, size, slow);
    to_host(e);
}

/// Looks up the address in temporary 0 for an access of `size` bytes: the host address of guest
/// address 0 of its page comes to the first scratch register.
pub fn look_up(e: &mut Emitter<'_>, write: bool, size: u32, slow: &mut Vec<Fixup>) {
    find(e, write, size, slow);
    to_host(e);
}

/// Finds the entry of the address in temporary 0, whose address comes to the third scratch register
/// and whose tag to the second.
#[expect(clippy::cast_sign_loss, reason = "places in an entry are not negative")]
fn find(e: &mut Emitter<'_>, write: bool, size: u32, slow: &mut Vec<Fixup>) {
    let [page, tag, entry] = SCRATCH;
    // Shifted right and masked, the address is the entry's place, of which the lowest bits are 0.
    let (shift, index) = tlb::BYTES;
    let (zeros, bits) = (index.trailing_zeros(), index.count_ones());
    let lowest = u32::from(shift) + zeros;
    e.asm.extract(Field::Unsigned, entry, WORK, lowest, bits);
    e.asm
        .sum_shifted(Width::Double, Sum::Add, entry, TLB, entry, zeros);
    let at = if write { tlb::WRITE_AT } else { tlb::READ_AT };
    e.asm.access(Access::LOAD, tag, Mem::Base(entry, at as u32));
    // One comparison: a misaligned address differs in its low bits, a tagged or empty entry by its
    // tag.
    let page_and_low = mask(0xffff_f000 | (size - 1)).unwrap_or_default();
    e.asm.logic_imm(Logic::And, page, WORK, page_and_low);
    e.asm.compare(Width::Word, page, tag);
    slow.push(e.asm.jump_if(Cond::NE));
}

/// Has the first scratch register be the host address of guest address 0 of the page whose entry
/// was found.
fn to_host(e: &mut Emitter<'_>) {
    let [page, _, entry] = SCRATCH;
    let host = Mem::Base(entry, tlb::HOST_AT as u32);
    e.asm.access(Access::LOAD64, page, host);
}

/// Writes a routine of [`Routines::misaligned`](crate::jit::emit::Routines::misaligned): the
/// address is in temporary 0, the address of its entry in the third scratch register, which stay,
/// and the tag in the second.
pub fn misaligned(a: &mut Asm, size: u32) -> usize {
    let [page, tag, entry] = SCRATCH;
    let at = a.here();
    // The page of its last byte: if it is another one, it is not that of the entry.
    a.sum_imm(Width::Word, Sum::Add, page, WORK, size - 1);
    let whole = mask(0xffff_f000).unwrap_or_default();
    a.logic_imm(Logic::And, page, page, whole);
    a.compare(Width::Word, page, tag);
    let other = a.jump_if(Cond::NE);
    // The entry's index in its set, and among all.
    a.sum(Width::Double, Sum::Sub, page, entry, TLB);
    a.extract(Field::Unsigned, page, page, 4, 28);
    a.access(Access::LOAD64, tag, frame::TLB_BASE);
    a.sum(Width::Double, Sum::Add, page, page, tag);
    a.access(Access::LOAD64, tag, frame::CONTEXT_NUMBERS);
    a.sum_shifted(Width::Double, Sum::Add, page, tag, page, 2);
    a.access(Access::LOAD, page, Mem::Base(page, 0));
    a.extract(Field::Unsigned, page, page, tlb::FREE_BIT.into(), 1);
    a.compare_imm(Width::Word, page, 1);
    a.bind_here(other);
    a.ret();
    at
}

/// Loads or stores the words of `list` at `at`, if they are in one page.
fn words(e: &mut Emitter<'_>, list: u16, at: Value, write: bool, slow: &mut Vec<Fixup>) {
    let registers: Vec<Gpr> = (0..16)
        .filter(|n| list & 1 << n != 0)
        // What is loaded for R15 goes to temporary 0.
        .map(|n| if n == 15 { WORK } else { frame::pinned(n) })
        .collect();
    several(e, &registers, at, write, slow);
}

/// Loads or stores so many words at `at`, if they are in one page.
fn several(e: &mut Emitter<'_>, registers: &[Gpr], at: Value, write: bool, slow: &mut Vec<Fixup>) {
    let [page, ..] = SCRATCH;
    e.load(WORK, at);
    if let Some(last) = (0u32..).step_by(4).zip(registers).last().map(|(at, _)| at)
        && last > 0
    {
        in_page(e, last, slow);
    }
    look_up(e, write, 4, slow);
    // The upper half of the address's register is 0.
    e.asm.sum(Width::Double, Sum::Add, page, page, WORK);
    for (pair, distance) in registers.chunks(2).zip((0..).step_by(8)) {
        match *pair {
            [first, second] => {
                let at = Pair::At(page, distance);
                e.asm.pair(Width::Word, !write, (first, second), at);
            }
            [one] => {
                let access = if write { Access::STORE } else { Access::LOAD };
                let at = Mem::Base(page, distance.cast_unsigned());
                e.asm.access(access, one, at);
            }
            _ => {}
        }
    }
}

/// Branches unless the address in temporary 0 and the one `last` bytes behind it differ in low bits
/// only.
pub fn in_page(e: &mut Emitter<'_>, last: u32, slow: &mut Vec<Fixup>) {
    let [page, ..] = SCRATCH;
    e.asm.sum_imm(Width::Word, Sum::Add, page, WORK, last);
    e.asm.logic(Logic::Xor, page, page, WORK, false);
    e.asm.extract(Field::Unsigned, page, page, 12, 20);
    slow.push(e.asm.jump_if_zero(page, false));
}
