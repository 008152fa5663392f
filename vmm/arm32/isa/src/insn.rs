//! The instruction enum, generated from the tables.

use crate::fields::*;
use crate::simd::*;
use crate::types::*;

include!(concat!(env!("OUT_DIR"), "/insn.rs"));

// Predecoded blocks hold many of these: keep four to a cache line.
const _: () = assert!(size_of::<Insn>() <= 16);
