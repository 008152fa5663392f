//! What RAM holds when a program begins.

#![expect(
    clippy::cast_possible_truncation,
    reason = "RAM has a few pages, and the host holds it"
)]

use super::setting::PAGES;

/// Bytes of RAM: all of it is mapped, and compared in the end.
pub const SIZE: usize = PAGES as usize * 4096;

/// The contents of RAM.
#[derive(Clone)]
pub struct Image(Vec<u8>);

impl Image {
    /// Returns one of zeros.
    pub fn new() -> Self {
        Self(vec![0; SIZE])
    }

    /// Makes it what `other` is.
    pub fn copy(&mut self, other: &Self) {
        self.0.copy_from_slice(&other.0);
    }

    /// Returns the contents.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Writes `words` from offset `at` on.
    pub fn words(&mut self, at: u64, words: &[u32]) {
        let places = self.0[at as usize..].as_chunks_mut().0;
        for (place, word) in places.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
    }

    /// Writes `halves` from offset `at` on.
    pub fn halves(&mut self, at: u64, halves: &[u16]) {
        let places = self.0[at as usize..].as_chunks_mut().0;
        for (place, half) in places.iter_mut().zip(halves) {
            *place = half.to_le_bytes();
        }
    }

    /// Turns `bits` of the word or doubleword of `N` bytes at offset `at`.
    pub fn turn<const N: usize>(&mut self, at: u64, bits: u64) {
        let bytes = self.0[at as usize..][..N].iter_mut();
        for (byte, bits) in bytes.zip(bits.to_le_bytes()) {
            *byte ^= bits;
        }
    }
}
