//! An ARMv7-A processor core of the Cortex-A15 class, as a library.
//!
//! The crate knows two things of the world outside: a [`Bus`], which answers physical addresses,
//! and a [`Clock`], which tells the time. It depends on no VMM crate but [`vmm_base`], starts no
//! thread, reads no host clock and draws no random number: what a core does is a pure function of
//! its state, its memory and its inputs.
//!
//! Reading order: [`state`] (what a core *is*), `mmu` and `cp15` (the system side), `lower`
//! (instructions become micro-operations), `exec` (what each micro-operation does), `core` (the
//! loop that runs them), `cluster` (several cores taking turns), `watch` and `cluster::observe`
//! (looking on).

mod block;
pub mod bus;
pub mod cluster;
pub mod core;
pub mod cp15;
pub mod cpu;
pub mod debug;
mod disassemble;
pub mod exception;
pub mod exec;
mod hash;
mod host_code;
mod ir;
mod jit;
mod lower;
pub mod mem;
pub mod mmu;
pub mod pmu;
mod sparse;
pub mod state;
pub mod timer;
mod tlb;
pub mod watch;
pub mod wires;

pub use bus::{Bus, BusFault, RamPage, Size};
pub use cluster::{Cluster, ClusterState, CoreRegisters, CoreView, NoMemory, Power, Stop};
pub use disassemble::{Disassembly, disassemble};
pub use jit::pool as code_memory;
pub use vmm_base::{Clock, CodePages};
pub use watch::{RamHit, RamWatch, WatchHit, WatchKind, Watchpoint};
