//! Probes: places in an unmodified guest kernel where the hypervisor looks at values and, where
//! told to, changes them.
//!
//! [`parse`] reads the notation (`docs/probes.md`), an [`Engine`] waits for the kernel to be in
//! memory, finds its symbols and types there, sets breakpoints, and serves hits. The guest needs no
//! support, and where there is no probe it runs as if there were none. A probe in a module is set
//! when the module is loaded.

mod abi;
mod action;
pub mod ast;
mod attach;
mod breakpoint;
mod engine;
mod eval;
mod kernel;
mod lexer;
mod outcome;
pub mod parser;
mod scope;
mod start;
mod syntax_error;
#[cfg(test)]
mod tests;
mod watch;

pub use ast::Probe;
pub use attach::{attach, attach_in, attach_watcher, attach_with};
pub use engine::{Engine, Sink};
pub use eval::{Change, EvalError, Written};
pub use kernel::Kernel;
pub use outcome::{Hit, ProbeError, ProbeResults};
pub use parser::parse;
pub use scope::ScopeError;
pub use syntax_error::SyntaxError;
pub use watch::{Moment, Watcher};
