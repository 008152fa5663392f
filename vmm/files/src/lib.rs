//! Files of the host, as all of the machine and its tools open and write them.

pub mod atomic_file;
pub mod input;
pub mod scratch;
pub mod shell;
pub mod toml_file;
