//! What a block was made from, by pages.

use super::Block;

impl Block {
    /// Returns the parts of pages that it was made from: their numbers, the byte that each begins
    /// with, and the instructions in them.
    pub fn sources(&self) -> impl Iterator<Item = (u32, usize, &[u8])> {
        let mut rest = &*self.bytes;
        self.parts().map(move |(number, bytes)| {
            // The parts are as long as all of the bytes.
            let (part, behind) = rest.split_at(bytes.len());
            rest = behind;
            (number, bytes.start, part)
        })
    }
}
