//! Seeing into an unmodified ARM32 Linux guest from outside, without its help.
//!
//! - [`memory`]: what stands at a virtual address, by the guest's own page tables
//! - [`symbols`]: the names of functions and variables, from the kallsyms tables in the kernel's image
//! - [`modules`]: the modules that the kernel has loaded, and their symbols
//! - [`types`]: the layout of structures and the arguments of functions, from the BTF blob in the image or from a table
//!   for known builds; paths such as `driver->name`, and the values found there
//! - [`timeline`]: what was observed in one run, in virtual time, and the report on it
//! - [`export`]: that report as text, as a page, and as a trace for Perfetto
//!
//! Everything here only reads, takes any bytes without panicking, and bounds its time and memory.

pub mod export;
pub mod memory;
pub mod modules;
pub mod probe;
pub mod recording;
pub mod symbols;
pub mod timeline;
pub mod types;
