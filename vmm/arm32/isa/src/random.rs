//! Random instructions, drawn from the tables.

use crate::class::Class;
use crate::encoding::{ENCODINGS, Encoding};
use crate::encoding_id::Set;
use rand_core::RngCore;

/// Tries to find a word of an encoding before giving up: conditions and more specific encodings
/// leave at least one word in a few hundred to every encoding.
const MAX_TRIES: u32 = 20_000;

/// A T32 instruction of either length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum T32Word {
    /// A 16-bit instruction.
    Narrow(u16),
    /// A 32-bit instruction: first and second halfword.
    Wide(u16, u16),
}

impl Encoding {
    /// Returns a random word of this encoding: free bits at random, should-be bits as they should
    /// be.
    ///
    /// `None` only if more specific encodings leave it no word, which the tests exclude.
    pub fn random(&self, rng: &mut impl RngCore) -> Option<u32> {
        let width = if self.set == Set::T16 {
            0xffff
        } else {
            u32::MAX
        };
        // A should-be bit that is wrong makes a word UNPREDICTABLE: decoders need not agree on it.
        let fixed = self.mask | self.should_mask;
        let value = self.value | self.should_value;
        (0..MAX_TRIES)
            .map(|_| (rng.next_u32() & !fixed | value) & width)
            // The cheap test goes first: `decodes` searches a bucket.
            .find(|word| self.matches(*word) && self.decodes(*word))
    }
}

/// Returns a random encoding of one of `sets` that is in any of the classes `among` and none of
/// `without`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "it is below a count of encodings"
)]
fn choose(
    rng: &mut impl RngCore,
    sets: &[Set],
    among: Class,
    without: Class,
) -> Option<&'static Encoding> {
    let fits = |e: &&Encoding| {
        sets.contains(&e.set) && e.class.intersects(among) && !e.class.intersects(without)
    };
    // Counted and then taken, so that a draw allocates nothing.
    let count = ENCODINGS.iter().filter(fits).count();
    // None if nothing fits. The bias of a remainder of 64 bits does not matter.
    let index = rng.next_u64().checked_rem(count as u64)?;
    ENCODINGS.iter().filter(fits).nth(index as usize)
}

/// Returns a random A32 instruction in any of the classes `among` and none of `without`; each
/// encoding is equally likely. `None` if no encoding fits.
pub fn random_a32(rng: &mut impl RngCore, among: Class, without: Class) -> Option<u32> {
    choose(rng, &[Set::A32], among, without)?.random(rng)
}

/// Returns a random T32 instruction in any of the classes `among` and none of `without`; each
/// encoding is equally likely. `None` if no encoding fits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "an instruction is one or two halfwords"
)]
pub fn random_t32(rng: &mut impl RngCore, among: Class, without: Class) -> Option<T32Word> {
    let encoding = choose(rng, &[Set::T32, Set::T16], among, without)?;
    let word = encoding.random(rng)?;
    Some(match encoding.set {
        Set::T16 => T32Word::Narrow(word as u16),
        Set::T32 | Set::A32 => T32Word::Wide((word >> 16) as u16, word as u16),
    })
}
