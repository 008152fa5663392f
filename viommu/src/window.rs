//! What windows of registers have in common, whichever model's they are: registers are words.

/// Accesses to what is not modelled that are all told of; of those that follow, each that makes the count a power of
/// two is.
const UNIMPLEMENTED_TOLD: u64 = 16;

/// Reads `data` at `offset`: any part of a word, and several. `word` reads the one at an offset, once for all of it
/// that is wanted, as a read may have effects.
#[expect(clippy::cast_possible_truncation, reason = "it is below 4")]
pub(crate) fn read(offset: u64, data: &mut [u8], word: impl Fn(u64) -> u32) {
    let mut last = None;
    for (n, byte) in data.iter_mut().enumerate() {
        let at = offset.wrapping_add(n as u64);
        let (base, value) = match last {
            Some((base, value)) if base == at & !3 => (base, value),
            _ => (at & !3, word(at & !3)),
        };
        last = Some((base, value));
        *byte = value.to_le_bytes()[(at - base) as usize];
    }
}

/// Returns the words that a write of `data` at `offset` is of, with their offsets; `None` if it is not of whole words.
pub(crate) fn words(offset: u64, data: &[u8]) -> Option<impl Iterator<Item = (u64, u32)>> {
    let (words, rest) = data.as_chunks::<4>();
    let offsets = (0..).map(move |n: u64| offset.wrapping_add(4 * n));
    let values = words.iter().map(|word| u32::from_le_bytes(*word));
    (offset.is_multiple_of(4) && rest.is_empty()).then(|| offsets.zip(values))
}

/// Returns whether observers are told of the access to what is not modelled that made their number `count`: a guest
/// that polls such an address must not flood them.
pub(crate) const fn is_told(count: u64) -> bool {
    count <= UNIMPLEMENTED_TOLD || count.is_power_of_two()
}
