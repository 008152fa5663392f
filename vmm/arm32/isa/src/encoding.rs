//! The list of encodings, for tools that choose among them.

use crate::class::Class;
use crate::decode;
use crate::encoding_id::{EncodingId, Set};

/// A named field of an encoding: one letter of its bit pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The letter; `n`, `d`, `t`, `m`, ... as in the row.
    pub letter: char,
    /// Runs of bits (lowest bit, length), most significant first.
    pub parts: &'static [(u8, u8)],
}

impl Field {
    /// Returns the field's value in `word`.
    pub fn get(&self, word: u32) -> u32 {
        self.parts.iter().fold(0, |acc, (lo, len)| {
            let ones = u32::MAX >> (32 - u32::from(*len));
            // A field of 32 bits does not exist, so the shift stays below 32.
            (acc << len) | ((word >> lo) & ones)
        })
    }

    /// Returns `word` with the field set to `value`; excess bits of `value` are dropped.
    pub fn set(&self, word: u32, value: u32) -> u32 {
        let mut left = value;
        // From the last run on, which has the least significant bits.
        self.parts.iter().rev().fold(word, |acc, (lo, len)| {
            let ones = u32::MAX >> (32 - u32::from(*len));
            let new = (acc & !(ones << lo)) | ((left & ones) << lo);
            left >>= len;
            new
        })
    }
}

/// One row of the tables.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    /// Its number.
    pub id: EncodingId,
    /// Its name, unique in its set.
    pub name: &'static str,
    /// The instruction set.
    pub set: Set,
    /// The [`Insn`](crate::Insn) variant that it makes.
    pub variant: &'static str,
    /// Bits that must have the values in `value`.
    pub mask: u32,
    /// See `mask`.
    pub value: u32,
    /// Bits that should have the values in `should_value`; the decoder does not look at them.
    pub should_mask: u32,
    /// See `should_mask`.
    pub should_value: u32,
    /// What it is about.
    pub class: Class,
    /// Whether the meaning depends on being inside an IT block (16-bit flag setting).
    pub flags_by_it: bool,
    /// Fields, by letter. `c` is always the condition.
    pub fields: &'static [Field],
}

impl Encoding {
    /// Returns the field with that letter.
    pub fn field(&self, letter: char) -> Option<&Field> {
        self.fields.iter().find(|f| f.letter == letter)
    }

    /// Returns whether `word` is of this encoding by its bits and condition.
    ///
    /// A more specific encoding may still take the word: see [`Self::decodes`].
    pub fn matches(&self, word: u32) -> bool {
        word & self.mask == self.value && decode::condition_holds(self.id, word)
    }

    /// Returns whether the decoder gives `word` to this encoding.
    pub fn decodes(&self, word: u32) -> bool {
        decode::find(self.set, word) == self.id
    }
}

include!(concat!(env!("OUT_DIR"), "/meta.rs"));
