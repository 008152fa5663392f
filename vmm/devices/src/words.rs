//! Windows of registers that are words of 32 bits.

/// Reads `data` at `offset` of registers that `word` reads at multiples of 4: what is narrower than
/// a word, or begins inside one, sees its part of it; what goes beyond reads as zero.
pub(crate) fn read(offset: u64, data: &mut [u8], word: impl FnOnce(u64) -> u32) {
    let bytes = word(offset & !3).to_le_bytes();
    let skip = (offset & 3) as usize;
    data.fill(0);
    for (to, from) in data.iter_mut().zip(bytes.iter().skip(skip)) {
        *to = *from;
    }
}

/// Returns the word that `data` is at `offset`, if it is a whole one.
pub(crate) fn written(offset: u64, data: &[u8]) -> Option<u32> {
    let bytes = <[u8; 4]>::try_from(data).ok()?;
    (offset & 3 == 0).then_some(u32::from_le_bytes(bytes))
}
