//! Translation of blocks to host code.
//!
//! A block that has run often enough is lowered to micro-operations ([`crate::ir`]), and these
//! become code of the host: `emit` writes it by means of a back end, `x64` or `a64`; `translator`
//! keeps what was made and links it; `memory` and `pool` own the memory that it is in; `calls` is
//! how it is entered, and what it calls.
//!
//! Generated code works on the same state as the interpreter, and leaves whatever is rare to the
//! same handlers, so that nobody can tell which of the two ran. On hosts without a back end there
//! is no translator, and the interpreter does all.

#[cfg(any(target_arch = "aarch64", test))]
mod a64;
mod calls;
mod emit;
mod encodings;
mod lengths;
mod memory;
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

pub use calls::take_op;
pub use translator::{JUMPS, Translator};

use crate::cpu::Flow;

/// How often a block is looked for before it is translated. Boots and campaigns took as long with 4
/// and with 40.
pub const THRESHOLD: u32 = 20;

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
