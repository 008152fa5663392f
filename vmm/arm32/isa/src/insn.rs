//! The instruction enum, generated from the tables.

#![expect(
    clippy::too_many_lines,
    reason = "what the tables are made into is long"
)]

use crate::fields::*;
use crate::simd::*;
use crate::types::*;

include!(concat!(env!("OUT_DIR"), "/insn.rs"));

// Predecoded blocks hold many of these: keep four to a cache line.
const _: () = assert!(size_of::<Insn>() <= 16);
