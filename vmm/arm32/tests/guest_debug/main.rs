//! The guest's own breakpoints, watchpoints and vector catches: Monitor debug-mode.

#[path = "../common/mod.rs"]
mod common;

mod breakpoints;
mod rig;
mod runs;
mod watchpoints;
