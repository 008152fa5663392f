//! Exclusive accesses of one core: the monitor is part of its state, and nobody else runs then.

use super::access::{load_to, look_up, store};
use super::asm::{Alu, Cc, Fixup, Gpr, Mem, Rm, Width};
use super::frame::{self, SECOND, THIRD, WORK};
use super::values::Emitter;
use crate::ir::{Mop, Value};

/// Writes an exclusive access; branches to `slow` where the fast path does not answer, or the
/// monitor does not allow a store.
pub fn emit(e: &mut Emitter<'_>, mop: Mop, slow: &mut Vec<Fixup>) {
    match mop {
        Mop::LoadExclusive { d, at, size } => {
            find(e, at, size, false, slow);
            e.asm.store(Width::Quad, frame::MONITOR_PA, WORK);
            load(e, size);
            e.asm.store(Width::Quad, frame::MONITOR_VALUE, SECOND);
            e.asm.store_imm8(frame::MONITOR_OPEN, 1);
            e.asm.store_imm8(frame::MONITOR_SIZE, size);
            e.put(d, SECOND);
        }
        Mop::StoreExclusive { d, x, at, size } => {
            find(e, at, size, true, slow);
            let differs = |e: &mut Emitter<'_>, r: Gpr, from: Mem| {
                e.asm.alu(Width::Quad, Alu::Cmp, r, Rm::Mem(from));
                e.asm.jump_if(Cc::Ne)
            };
            slow.push(differs(e, WORK, frame::MONITOR_PA));
            for (place, wanted) in [(frame::MONITOR_OPEN, 1), (frame::MONITOR_SIZE, size)] {
                e.asm.compare8(place, wanted);
                slow.push(e.asm.jump_if(Cc::Ne));
            }
            load(e, size);
            slow.push(differs(e, SECOND, frame::MONITOR_VALUE));
            let value = e.in_register(x, SECOND);
            store(e.asm, Mem::Base(THIRD, 0), value, size);
            // As it is when nothing is marked.
            e.asm.set(WORK, 0);
            e.asm.store(Width::Quad, frame::MONITOR_PA, WORK);
            e.asm.store(Width::Quad, frame::MONITOR_VALUE, WORK);
            e.asm.store_imm8(frame::MONITOR_OPEN, 0);
            e.asm.store_imm8(frame::MONITOR_SIZE, 0);
            e.put(d, WORK);
        }
        _ => {}
    }
}

/// Has RDX be the host address of `at`, and RAX its physical address.
fn find(e: &mut Emitter<'_>, at: Value, size: u8, write: bool, slow: &mut Vec<Fixup>) {
    e.load(WORK, at);
    look_up(e, write, size.into(), slow);
    e.asm.alu(Width::Quad, Alu::Add, THIRD, Rm::Reg(WORK));
    e.asm.load(Width::Quad, WORK, Rm::Mem(frame::CONTEXT_RAM));
    e.asm.alu_imm(Width::Quad, Alu::Cmp, Rm::Reg(WORK), 0);
    slow.push(e.asm.jump_if(Cc::E));
    e.asm.alu(Width::Quad, Alu::Add, WORK, Rm::Reg(THIRD));
}

/// Loads what is there to RCX, the upper bytes of which are 0 then.
fn load(e: &mut Emitter<'_>, size: u8) {
    load_to(e.asm, SECOND, Mem::Base(THIRD, 0), size, false);
}
