//! Fuzz targets, and what their corpora reach.
//!
//! Each target is a function of bytes in [`targets`]. Its entry in `targets.toml` says how long its
//! inputs are, which modules are its subject, and how much of them its seeds reach. `fuzz_targets/`
//! has a program for each, for cargo-fuzz; `all.rs` is one program with all of them, for `cargo
//! xtask fuzz`.

pub mod coverage;
pub mod list;
pub mod seeds;
pub mod targets;
