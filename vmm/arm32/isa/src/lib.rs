//! The ARMv7-A instruction sets as one table: decoder, disassembler, generator
//!
//! `tables/*.isa` lists every encoding of A32 and T32 (ARM DDI 0406C, virtualization extensions
//! and integer divide included). The build script turns it into [`Insn`], the decoder
//! ([`decode_a32`], [`decode_t32`]), the disassembler ([`Decoded::asm`]) and [`ENCODINGS`], from
//! which [`random_a32`] and [`random_t32`] draw. See `DESIGN.md` for the language of the tables
//! and the choices made where the architecture leaves one.

mod asm;
mod class;
mod decode;
mod encoding;
mod encoding_id;
mod fields;
mod insn;
mod random;
mod registers;
mod simd;
mod types;

pub use asm::Asm;
pub use class::Class;
pub use decode::{Decoded, decode_a32, decode_t32, t32_is_32bit};
pub use encoding::{ENCODINGS, Encoding, Field};
pub use encoding_id::{EncodingId, Set};
pub use fields::{expand_a32_imm, expand_t32_imm};
pub use insn::Insn;
pub use random::{T32Word, random_a32, random_t32};
pub use registers::core_registers;
pub use simd::*;
pub use types::*;
