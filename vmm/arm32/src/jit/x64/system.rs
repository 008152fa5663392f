//! Status registers, domains and events.
//!
//! What takes many instructions is a routine that all blocks share: there are more such blocks than
//! the host's cache of instructions has room for.

use super::asm::{Alu, Asm, Cc, Extend, Fixup, Gpr, Mem, Rm, ShiftOp, Width};
use super::frame::{self, SECOND, THIRD, TLB, WORK};
use super::values::Emitter;
use crate::ir::SystemMop;
use crate::jit::emit::Routines;
use crate::state::Mode;
use crate::tlb::TAG_BYTES;

/// Writes one of these operations; branches to `slow` where the handler must do it.
pub fn emit(e: &mut Emitter<'_>, mop: SystemMop, slow: &mut Vec<Fixup>) {
    match mop {
        SystemMop::ReadStatus { d } => {
            let fixup = e.asm.call_near();
            e.bind_to(fixup, e.routines.status);
            e.put(d, WORK);
        }
        SystemMop::SetMasks { abort, irq, fiq } => {
            slow.push(if_user(e.asm));
            slow.push(if_input(e.asm));
            let masks = [
                (frame::ABORT_MASKED, abort),
                (frame::IRQ_MASKED, irq),
                (frame::FIQ_MASKED, fiq),
            ];
            for (place, to) in masks {
                if let Some(to) = to {
                    e.asm.store_imm8(place, to.into());
                }
            }
        }
        SystemMop::WriteMasks { x } => {
            slow.push(if_user(e.asm));
            slow.push(if_input(e.asm));
            e.load(WORK, x);
            e.asm.load(Width::Long, SECOND, Rm::Reg(WORK));
            e.asm.alu_imm(Width::Long, Alu::And, Rm::Reg(SECOND), 0x1f);
            e.asm.extend(Extend::Zero8, THIRD, Rm::Mem(frame::MODE));
            e.asm.alu(Width::Long, Alu::Cmp, SECOND, Rm::Reg(THIRD));
            slow.push(e.asm.jump_if(Cc::Ne));
            for (shift, place) in [(6, frame::FIQ_MASKED), (1, frame::IRQ_MASKED)] {
                e.asm.shift(Width::Long, ShiftOp::Shr, WORK, shift);
                e.asm.load(Width::Long, SECOND, Rm::Reg(WORK));
                e.asm.alu_imm(Width::Long, Alu::And, Rm::Reg(SECOND), 1);
                e.asm.store8(place, SECOND);
            }
        }
        SystemMop::ReadDomains { d } => {
            slow.push(if_user(e.asm));
            e.asm.load(Width::Long, WORK, Rm::Mem(frame::DACR));
            e.put(d, WORK);
        }
        SystemMop::WriteDomains { x } => {
            e.load(WORK, x);
            e.asm.set64(SECOND, e.block.tag());
            let fixup = e.asm.call_near();
            e.bind_to(fixup, e.routines.domains);
            slow.push(e.asm.jump_if(Cc::Ne));
        }
        SystemMop::SignalEvent => {
            e.asm.compare8(frame::CONTEXT_ALONE, 1);
            slow.push(e.asm.jump_if(Cc::Ne));
            slow.push(if_input(e.asm));
            e.asm.store_imm8(frame::EVENT, 1);
        }
    }
}

/// Branches in user mode; to where is still to be said.
fn if_user(a: &mut Asm) -> Fixup {
    a.compare8(frame::MODE, Mode::Usr as u8);
    a.jump_if(Cc::E)
}

/// Branches if an input is active, which the core looks at between two blocks.
fn if_input(a: &mut Asm) -> Fixup {
    a.load(Width::Quad, WORK, Rm::Mem(frame::CONTEXT_PINS));
    let word = Rm::Mem(Mem::Base(WORK, 0));
    a.alu_imm(Width::Long, Alu::Cmp, word, 0);
    a.jump_if(Cc::Ne)
}

/// Writes the routines.
pub fn routines(a: &mut Asm, routines: &mut Routines) {
    routines.status = a.here();
    status(a);
    routines.domains = a.here();
    domains(a);
}

/// Has EAX be CPSR, without T, E and IT: where they are not 0, MRS does not show them, or nothing
/// is translated.
fn status(a: &mut Asm) {
    a.extend(Extend::Zero8, WORK, Rm::Mem(frame::MODE));
    let bytes = [
        (frame::FIQ_MASKED, 6),
        (frame::IRQ_MASKED, 7),
        (frame::ABORT_MASKED, 8),
        (frame::GE, 16),
        (frame::Q, 27),
        // The lowest bytes of words that are 0 or 1.
        (frame::V, 28),
        (frame::C, 29),
    ];
    for (place, bit) in bytes {
        a.extend(Extend::Zero8, SECOND, Rm::Mem(place));
        a.shift(Width::Long, ShiftOp::Shl, SECOND, bit);
        a.alu(Width::Long, Alu::Or, WORK, Rm::Reg(SECOND));
    }
    a.load(Width::Long, SECOND, Rm::Mem(frame::N));
    a.alu_imm(Width::Long, Alu::And, Rm::Reg(SECOND), i32::MIN);
    a.alu(Width::Long, Alu::Or, WORK, Rm::Reg(SECOND));
    a.alu_imm(Width::Long, Alu::Cmp, Rm::Mem(frame::Z), 0);
    let not_zero = a.jump_if(Cc::Ne);
    a.alu_imm(Width::Long, Alu::Or, Rm::Reg(WORK), 1 << 30);
    a.bind_here(not_zero);
    a.ret();
}

/// Has EAX be DACR, and its set of the TLB the current one, if that is the partner of the current
/// one and instructions are fetched from the page of the tag in RCX there, too. ZF says whether it
/// was so.
fn domains(a: &mut Asm) {
    let user = if_user(a);
    a.alu(Width::Long, Alu::Cmp, WORK, Rm::Mem(frame::DACR));
    let same = a.jump_if(Cc::E);
    a.alu(Width::Quad, Alu::Cmp, WORK, Rm::Mem(frame::PARTNER_DACR));
    let other = a.jump_if(Cc::Ne);
    // The tag has the address of the page, whose lowest bits the mask leaves out.
    let (shift, mask) = TAG_BYTES;
    a.load(Width::Long, THIRD, Rm::Reg(SECOND));
    a.shift(Width::Long, ShiftOp::Shr, THIRD, shift);
    a.alu_imm(Width::Long, Alu::And, Rm::Reg(THIRD), mask.cast_signed());
    a.alu(Width::Quad, Alu::Add, THIRD, Rm::Mem(frame::PARTNER_TAGS));
    a.alu(Width::Quad, Alu::Cmp, SECOND, Rm::Mem(Mem::Base(THIRD, 0)));
    let elsewhere = a.jump_if(Cc::Ne);
    a.load(Width::Long, SECOND, Rm::Mem(frame::DACR));
    a.store(Width::Quad, frame::PARTNER_DACR, SECOND);
    a.store(Width::Long, frame::DACR, WORK);
    exchange(a, frame::CONTEXT_TAGS, frame::PARTNER_TAGS);
    exchange(a, frame::TLB_BASE, frame::PARTNER_BASE);
    exchange(a, frame::CONTEXT_TLB, frame::PARTNER_ENTRIES);
    a.load(Width::Quad, TLB, Rm::Mem(frame::CONTEXT_TLB));
    a.alu(Width::Long, Alu::Cmp, WORK, Rm::Reg(WORK));
    a.bind_here(same);
    a.ret();
    for fixup in [user, other, elsewhere] {
        a.bind_here(fixup);
    }
    // Not 0.
    a.test(Gpr::Rsp, Gpr::Rsp);
    a.ret();
}

/// Exchanges eight bytes of the core with others.
fn exchange(a: &mut Asm, one: Mem, other: Mem) {
    a.load(Width::Quad, SECOND, Rm::Mem(one));
    a.load(Width::Quad, THIRD, Rm::Mem(other));
    a.store(Width::Quad, one, THIRD);
    a.store(Width::Quad, other, SECOND);
}
