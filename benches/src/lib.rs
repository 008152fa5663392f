//! Benchmarks, and comparisons with peers: what `cargo bench` and the program of this crate both
//! measure.

pub mod core_time;
pub mod statistics;
pub mod translation;
pub mod valgrind;
