//! Translation of blocks to host code.
//!
//! A block that has run often enough is lowered to micro-operations ([`crate::ir`]), and these
//! become code of the host: `emit` writes it by means of a back end, `x64` or `a64`; `translator`
//! keeps what was made and links it; `buffer` and `pool` own the memory.
//!
//! Generated code works on the same state as the interpreter, and leaves whatever is rare to the
//! same handlers, so that nobody can tell which of the two ran. On hosts without a back end there
//! is no translator, and the interpreter does all.

#[cfg(any(target_arch = "aarch64", test))]
mod a64;
mod buffer;
mod cache;
mod emit;
mod encodings;
mod lengths;
mod places;
pub mod pool;
mod singles;
mod translator;
#[cfg(any(not(target_arch = "aarch64"), test))]
mod x64;

#[cfg(target_arch = "aarch64")]
use a64 as host;
#[cfg(not(target_arch = "aarch64"))]
use x64 as host;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use translator::{JUMPS, Translator};

use crate::cpu::{Cpu, Flow};
use crate::exec::Op;

/// How often a block is looked for before it is translated. Boots and campaigns took as long with 4
/// and with 40.
pub const THRESHOLD: u32 = 20;

/// What [`call_handler`] returns when the handler panicked; no [`Flow`].
const PANIC: u32 = 0xff;

/// Runs the handler of an operation, for generated code.
#[expect(unsafe_code, reason = "generated code has addresses only")]
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
#[expect(unsafe_code, reason = "generated code has only its address")]
pub fn take_op(cpu: &mut Cpu) -> Op {
    let address = std::mem::take(&mut cpu.jit.exit_op);
    let op = std::ptr::with_exposed_provenance::<Op>(address);
    // SAFETY: it is null, or generated code put there an operation of one of the core's blocks,
    // whose address was exposed and which lives as long as the code; nothing was dropped since.
    *unsafe { op.as_ref() }.expect("generated code said which")
}

/// Returns the flow that a handler returned to generated code.
pub fn flow(number: u32) -> Flow {
    const ALL: [Flow; 8] = [
        Flow::Next,
        Flow::Taken,
        Flow::Jump,
        Flow::Return,
        Flow::End,
        Flow::Leave,
        Flow::Pass,
        Flow::Exception,
    ];
    ALL[number as usize & 7]
}
