//! The boundary between generated code, which has addresses only, and the rest: how it is entered,
//! and what it calls and leaves behind.

#![expect(
    unsafe_code,
    reason = "generated code is called, and has addresses only"
)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::emit::Routines;
use super::memory::{CodeMemory, synchronise};
use crate::cpu::Cpu;
use crate::exec::Op;

/// What [`call_handler`] returns when the handler panicked; no [`Flow`].
const PANIC: u32 = 0xff;

/// Runs the handler of an operation, for generated code.
extern "C" fn call_handler(cpu: *mut Cpu, op: *const Op) -> u32 {
    // SAFETY: generated code passes on the core that `Translator::run` gave it, which nobody else
    // uses meanwhile, and an operation of one of its blocks, which live as long as their code.
    let (cpu, op) = unsafe { (&mut *cpu, &*op) };
    // Generated code cannot be unwound: the panic goes on behind it.
    match catch_unwind(AssertUnwindSafe(|| (op.f)(cpu, op))) {
        Ok(flow) => flow as u32,
        Err(payload) => {
            cpu.jit.panic = Some(payload);
            PANIC
        }
    }
}

/// The function that generated code calls for an operation.
type Call = extern "C" fn(*mut Cpu, *const Op) -> u32;

/// Returns the operation whose handler asked generated code to leave.
///
/// # Panics
/// If generated code did not come back for that reason.
pub fn take_op(cpu: &mut Cpu) -> Op {
    let address = std::mem::take(&mut cpu.jit.exit_op);
    let op = std::ptr::with_exposed_provenance::<Op>(address);
    // SAFETY: it is null, or generated code put there an operation of one of the core's blocks,
    // whose address was exposed and which lives as long as the code; nothing was dropped since.
    *unsafe { op.as_ref() }.expect("generated code said which")
}

/// Has `cpu` run the code at `at` of `memory`, whose routines are `routines`, for at most `left`
/// instructions; returns why it left.
pub fn enter(memory: &CodeMemory, routines: &Routines, cpu: &mut Cpu, at: usize, left: u64) -> u32 {
    type Enter = extern "C" fn(*mut Cpu, *const u8, u64) -> u32;
    let call: Call = call_handler;
    cpu.jit.call = call as usize;
    let enter = memory.address(routines.enter);
    // SAFETY: the routine is there from the beginning, and has this signature (`Routines::enter`).
    let enter = unsafe { std::mem::transmute::<*const u8, Enter>(enter) };
    // The code may be another thread's, which had this core before.
    synchronise();
    let why = enter(cpu, memory.address(at), left);
    if let Some(payload) = cpu.jit.panic.take() {
        resume_unwind(payload);
    }
    why
}
