//! Probes: places in an unmodified guest kernel where the hypervisor looks at values and, where told to, changes them.

pub mod ast;
mod lexer;
pub mod parser;
#[cfg(test)]
mod parser_tests;
