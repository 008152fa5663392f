//! Differential tests of the ARM core: random sequences of instructions, executed by `arm32` and by
//! Debian's `qemu-arm`, with the whole state a user program can see compared afterwards.
//!
//! A batch of cases becomes one small static program ([`image`], [`runtime`]): for each case it
//! loads every register from an input block, runs the case's code and stores every register to an
//! output block. QEMU runs the program and writes out the results and the memory that the cases may
//! touch. Here the same image is laid out at the same addresses, with the MMU on, and the core runs
//! each case from the same inputs ([`ours`]). Signals there are exceptions here, and are compared
//! too.

pub mod asm;
#[expect(
    clippy::cast_possible_truncation,
    reason = "cases are small, and registers and instructions are cut into halves"
)]
pub mod case;
pub mod compare;
pub mod error;
pub mod generate;
pub mod image;
pub mod layout;
pub mod memory;
pub mod ours;
pub mod qemu;
pub mod runner;
pub mod runtime;
pub mod values;
