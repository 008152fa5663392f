//! Exclusive accesses of one core: the monitor is part of its state, and nobody else runs then.

use super::access::{load_of, look_up, store_of};
use super::asm::{Access, Cond, Fixup, Gpr, Mem, Sum, Width};
use super::frame::{self, SCRATCH, WORK};
use super::values::{Emitter, place};
use crate::ir::{Mop, Value};

/// Writes an exclusive access; branches to `slow` where the fast path does not answer, or the
/// monitor does not allow a store.
pub fn emit(e: &mut Emitter<'_>, mop: Mop, slow: &mut Vec<Fixup>) {
    let [host, one, other] = SCRATCH;
    match mop {
        Mop::LoadExclusive { d, at, size } => {
            find(e, at, size, false, slow);
            e.asm.access(Access::STORE64, one, frame::MONITOR_PA);
            load(e, other, size);
            e.asm.access(Access::STORE64, other, frame::MONITOR_VALUE);
            e.asm.set(one, 1);
            e.asm.access(Access::STORE8, one, frame::MONITOR_OPEN);
            e.asm.set(one, size.into());
            e.asm.access(Access::STORE8, one, frame::MONITOR_SIZE);
            if let Some(d) = place(d) {
                e.asm.copy(Width::Word, d, other);
            }
        }
        Mop::StoreExclusive { d, x, at, size } => {
            find(e, at, size, true, slow);
            e.asm.access(Access::LOAD64, other, frame::MONITOR_PA);
            e.asm.compare(Width::Double, one, other);
            slow.push(e.asm.jump_if(Cond::NE));
            for (place, wanted) in [(frame::MONITOR_OPEN, 1), (frame::MONITOR_SIZE, size)] {
                e.asm.access(Access::LOAD8, other, place);
                e.asm.compare_imm(Width::Word, other, wanted.into());
                slow.push(e.asm.jump_if(Cond::NE));
            }
            load(e, one, size);
            e.asm.access(Access::LOAD64, other, frame::MONITOR_VALUE);
            e.asm.compare(Width::Double, one, other);
            slow.push(e.asm.jump_if(Cond::NE));
            let value = e.in_register(x, one);
            e.asm.access(store_of(size), value, Mem::Base(host, 0));
            // As it is when nothing is marked.
            e.asm.access(Access::STORE64, Gpr::ZERO, frame::MONITOR_PA);
            e.asm
                .access(Access::STORE64, Gpr::ZERO, frame::MONITOR_VALUE);
            e.asm.access(Access::STORE8, Gpr::ZERO, frame::MONITOR_OPEN);
            e.asm.access(Access::STORE8, Gpr::ZERO, frame::MONITOR_SIZE);
            if let Some(d) = place(d) {
                e.asm.set(d, 0);
            }
        }
        _ => {}
    }
}

/// Has the first scratch register be the host address of `at`, and the second its physical address.
fn find(e: &mut Emitter<'_>, at: Value, size: u8, write: bool, slow: &mut Vec<Fixup>) {
    let [host, physical, _] = SCRATCH;
    e.load(WORK, at);
    look_up(e, write, size.into(), slow);
    // The upper half of the address's register is 0.
    e.asm.sum(Width::Double, Sum::Add, host, host, WORK);
    e.asm.access(Access::LOAD64, physical, frame::CONTEXT_RAM);
    e.asm.compare_imm(Width::Double, physical, 0);
    slow.push(e.asm.jump_if(Cond::EQ));
    e.asm.sum(Width::Double, Sum::Add, physical, physical, host);
}

/// Loads what is there, the upper bytes of which are 0 then.
fn load(e: &mut Emitter<'_>, to: Gpr, size: u8) {
    let [host, ..] = SCRATCH;
    e.asm.access(load_of(size, false), to, Mem::Base(host, 0));
}
