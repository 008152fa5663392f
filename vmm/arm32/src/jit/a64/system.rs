//! Status registers, domains and events. What takes many instructions is a routine that all blocks
//! share.

use super::asm::{Access, Asm, Cond, Field, Fixup, Mem, Sum, Width};
use super::frame::{self, CPU, SCRATCH, SECOND, TLB, WORK};
use super::values::{Emitter, place};
use crate::ir::SystemMop;
use crate::jit::emit::Routines;
use crate::state::Mode;
use crate::tlb::TAG_BYTES;

/// Writes one of these operations; branches to `slow` where the handler must do it.
pub fn emit(e: &mut Emitter<'_>, mop: SystemMop, slow: &mut Vec<Fixup>) {
    let [one, other, ..] = SCRATCH;
    match mop {
        SystemMop::ReadStatus { d } => {
            let fixup = e.asm.call_near();
            e.bind_to(fixup, e.routines.status);
            if let Some(d) = place(d) {
                e.asm.copy(Width::Word, d, WORK);
            }
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
                    e.asm.set(one, to.into());
                    e.asm.access(Access::STORE8, one, place);
                }
            }
        }
        SystemMop::WriteMasks { x } => {
            slow.push(if_user(e.asm));
            slow.push(if_input(e.asm));
            e.load(WORK, x);
            e.asm.extract(Field::Unsigned, one, WORK, 0, 5);
            e.asm.access(Access::LOAD8, other, frame::MODE);
            e.asm.compare(Width::Word, one, other);
            slow.push(e.asm.jump_if(Cond::NE));
            for (bit, place) in [(6, frame::FIQ_MASKED), (7, frame::IRQ_MASKED)] {
                e.asm.extract(Field::Unsigned, one, WORK, bit, 1);
                e.asm.access(Access::STORE8, one, place);
            }
        }
        SystemMop::ReadDomains { d } => {
            slow.push(if_user(e.asm));
            if let Some(d) = place(d) {
                e.asm.access(Access::LOAD, d, frame::DACR);
            }
        }
        SystemMop::WriteDomains { x } => {
            e.load(WORK, x);
            e.asm.set64(SECOND, e.block.tag());
            let fixup = e.asm.call_near();
            e.bind_to(fixup, e.routines.domains);
            slow.push(e.asm.jump_if(Cond::NE));
        }
        SystemMop::SignalEvent => {
            e.asm.access(Access::LOAD, one, frame::CONTEXT_ALONE);
            slow.push(e.asm.jump_if_zero(one, true));
            slow.push(if_input(e.asm));
            e.asm.set(one, 1);
            e.asm.access(Access::STORE8, one, frame::EVENT);
        }
    }
}

/// Branches in user mode; to where is still to be said.
fn if_user(a: &mut Asm) -> Fixup {
    let [mode, ..] = SCRATCH;
    a.access(Access::LOAD8, mode, frame::MODE);
    a.compare_imm(Width::Word, mode, Mode::Usr as u32);
    a.jump_if(Cond::EQ)
}

/// Branches if an input is active, which the core looks at between two blocks.
fn if_input(a: &mut Asm) -> Fixup {
    let [word, ..] = SCRATCH;
    a.access(Access::LOAD64, word, frame::CONTEXT_PINS);
    a.access(Access::LOAD, word, Mem::Base(word, 0));
    a.jump_if_zero(word, false)
}

/// Writes the routines.
pub fn routines(a: &mut Asm, routines: &mut Routines) {
    routines.status = a.here();
    status(a);
    routines.domains = a.here();
    domains(a);
}

/// Has temporary 0 be CPSR, without T, E and IT: where they are not 0, MRS does not show them, or
/// nothing is translated.
fn status(a: &mut Asm) {
    let [one, ..] = SCRATCH;
    a.access(Access::LOAD8, WORK, frame::MODE);
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
        a.access(Access::LOAD8, one, place);
        a.sum_shifted(Width::Word, Sum::Add, WORK, WORK, one, bit);
    }
    a.access(Access::LOAD, one, frame::N);
    a.extract(Field::Unsigned, one, one, 31, 1);
    a.sum_shifted(Width::Word, Sum::Add, WORK, WORK, one, 31);
    a.access(Access::LOAD, one, frame::Z);
    a.compare_imm(Width::Word, one, 0);
    a.set_if(one, Cond::EQ);
    a.sum_shifted(Width::Word, Sum::Add, WORK, WORK, one, 30);
    a.ret();
}

/// Has temporary 0 be DACR, and its set of the TLB the current one, if that is the partner of the
/// current one and instructions are fetched from the page of the tag in temporary 1 there, too.
/// Returns whether that was so in Z.
fn domains(a: &mut Asm) {
    let [old, tags, tag] = SCRATCH;
    let user = if_user(a);
    a.access(Access::LOAD, old, frame::DACR);
    a.compare(Width::Word, old, WORK);
    let same = a.jump_if(Cond::EQ);
    a.access(Access::LOAD64, tags, frame::PARTNER_DACR);
    a.compare(Width::Double, tags, WORK);
    let other = a.jump_if(Cond::NE);
    // The tag has the address of the page.
    let (shift, mask) = TAG_BYTES;
    let (lowest, bits) = (u32::from(shift) + 3, mask.count_ones());
    a.extract(Field::Unsigned, tag, SECOND, lowest, bits);
    a.access(Access::LOAD64, tags, frame::PARTNER_TAGS);
    a.sum_shifted(Width::Double, Sum::Add, tag, tags, tag, 3);
    a.access(Access::LOAD64, tag, Mem::Base(tag, 0));
    a.compare(Width::Double, tag, SECOND);
    let elsewhere = a.jump_if(Cond::NE);
    a.access(Access::STORE64, old, frame::PARTNER_DACR);
    a.access(Access::STORE, WORK, frame::DACR);
    exchange(a, frame::CONTEXT_TAGS, frame::PARTNER_TAGS);
    exchange(a, frame::TLB_BASE, frame::PARTNER_BASE);
    exchange(a, frame::CONTEXT_TLB, frame::PARTNER_ENTRIES);
    a.access(Access::LOAD64, TLB, frame::CONTEXT_TLB);
    a.compare(Width::Word, WORK, WORK);
    a.bind_here(same);
    a.ret();
    for fixup in [user, other, elsewhere] {
        a.bind_here(fixup);
    }
    // Not 0.
    a.compare_imm(Width::Double, CPU, 0);
    a.ret();
}

/// Exchanges eight bytes of the core with others.
fn exchange(a: &mut Asm, one: Mem, other: Mem) {
    let [first, second, _] = SCRATCH;
    a.access(Access::LOAD64, first, one);
    a.access(Access::LOAD64, second, other);
    a.access(Access::STORE64, first, other);
    a.access(Access::STORE64, second, one);
}
