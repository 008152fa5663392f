//! Decoding: words to instructions.

#![expect(
    clippy::too_many_lines,
    reason = "what the tables are made into is long"
)]

use crate::encoding_id::{EncodingId, Set};
use crate::fields::{bits, cat, popcount};
use crate::insn::{Insn, build};
use crate::types::Cond;

/// Stands for "no condition field" in [`Pattern::cond_shift`].
const NO_COND: u8 = 0xff;

/// What the decoder checks of one row.
pub(crate) struct Pattern {
    mask: u32,
    value: u32,
    /// Whether `accepts` has to be asked.
    conditional: bool,
    /// Lowest bit of the condition field, or [`NO_COND`].
    cond_shift: u8,
}

include!(concat!(env!("OUT_DIR"), "/decode.rs"));

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decoded {
    /// What to do.
    pub insn: Insn,
    /// When to do it. For T32 this is AL except for the conditional branches; the caller puts the
    /// condition of an IT block here.
    pub cond: Cond,
    /// Length in bytes: 2 or 4.
    pub len: u8,
    /// Whether it came from T32 (T16 included).
    pub t32: bool,
    /// Which encoding matched.
    pub encoding: EncodingId,
}

/// Returns the number of the row that decodes `word` of `set`; 0 if none does.
pub(crate) fn find(set: Set, word: u32) -> EncodingId {
    let (starts, rows, key): (&[u32], &[u16], u32) = match set {
        Set::A32 => {
            // The same bits in the same order as in `key_runs` of the build script.
            let unconditional = u32::from(word >> 28 == 15);
            let key = unconditional << 12 | bits(word, 20, 8) << 4 | bits(word, 4, 4);
            (&A32_STARTS, &A32_ROWS, key)
        }
        // Bits 31:29 are 111 in every 32-bit instruction, so that the key begins at bit 28.
        Set::T32 => (
            &T32_STARTS,
            &T32_ROWS,
            bits(word, 20, 9) << 4 | bits(word, 4, 4),
        ),
        Set::T16 => (&T16_STARTS, &T16_ROWS, bits(word, 6, 10)),
    };
    let key = key as usize;
    // There is one start more than there are keys: it ends the last bucket.
    let bucket = &rows[starts[key] as usize..starts[key + 1] as usize];
    // The build has put the most specific row first.
    for &row in bucket {
        let pattern = &PATTERNS[usize::from(row)];
        if word & pattern.mask == pattern.value && (!pattern.conditional || accepts(row, word)) {
            return EncodingId(row);
        }
    }
    EncodingId(0)
}

/// Returns whether the row's `where` condition holds for a word that matches its bits.
pub(crate) fn condition_holds(id: EncodingId, word: u32) -> bool {
    let Some(pattern) = PATTERNS.get(usize::from(id.0)) else {
        return false;
    };
    // A32 tables leave "the condition field is not 1111" to the buckets.
    let cond_ok = pattern.cond_shift != 28 || word >> 28 != 15;
    cond_ok && accepts(id.0, word)
}

fn decode(set: Set, word: u32, in_it: bool) -> Decoded {
    let encoding = find(set, word);
    // Row 0, for no match, has no condition field: such a word is undefined under any condition.
    let shift = PATTERNS[usize::from(encoding.0)].cond_shift;
    Decoded {
        insn: build(encoding.0, word, in_it),
        cond: if shift == NO_COND {
            Cond::Al
        } else {
            Cond::from_bits(word >> shift)
        },
        len: if set == Set::T16 { 2 } else { 4 },
        t32: set != Set::A32,
        encoding,
    }
}

/// Decodes an A32 word. Words that are no instruction give [`Insn::Undefined`].
pub fn decode_a32(word: u32) -> Decoded {
    // IT blocks exist in T32 only.
    decode(Set::A32, word, false)
}

/// Returns whether a T32 instruction that starts with this halfword is 32 bits long (DDI 0406C
/// A6.1).
pub fn t32_is_32bit(first: u16) -> bool {
    // The three largest values; 0b11100 is the 16-bit branch.
    first >> 11 >= 0b11101
}

/// Decodes a T32 instruction; `second` is only looked at if [`t32_is_32bit`] says so.
///
/// `in_it` tells whether it is inside an IT block, where most 16-bit data-processing encodings
/// leave the flags alone.
pub fn decode_t32(first: u16, second: u16, in_it: bool) -> Decoded {
    if t32_is_32bit(first) {
        decode(Set::T32, u32::from(first) << 16 | u32::from(second), in_it)
    } else {
        decode(Set::T16, u32::from(first), in_it)
    }
}

#[cfg(test)]
mod tests;
