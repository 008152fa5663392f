//! What a guest's kernel is and does, read from outside: its symbols, types and modules, found in
//! guest memory, the call stacks of its cores, and probes at its functions.
//!
//! Nothing here writes to a guest that no probe's action asks to; everything that is read is
//! hostile.

#![deny(missing_docs)]

pub mod memory;
mod module;
pub mod modules;
pub mod probe;
pub mod stack;
pub mod symbols;
pub mod types;
