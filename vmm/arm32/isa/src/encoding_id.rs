//! Which encoding of which instruction set: types only.

/// Names the encoding that matched a word; 0 is none (the word is undefined).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EncodingId(pub u16);

/// An instruction set, as far as encodings are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Set {
    /// 32-bit ARM encodings.
    A32,
    /// 32-bit Thumb encodings; words have the first halfword in the upper half.
    T32,
    /// 16-bit Thumb encodings; words have it in the lower half.
    T16,
}
