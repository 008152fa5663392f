//! The token table and its index: the landmark by which the other tables are found.

use super::budget::{Budget, GaveUp, word};
use super::spec::{MAX_NAME, MAX_PAD, TOKENS};

/// The tokens of names, found in an image.
pub(super) struct Tokens<'a> {
    /// The offset of the token table in the image.
    pub(super) start: usize,
    /// The offset of the first byte after the index, where the next tables begin.
    pub(super) end: usize,
    /// The texts by token. On the heap, as a search makes and moves many that come to nothing.
    texts: Vec<&'a [u8]>,
}

impl<'a> Tokens<'a> {
    /// Returns the tokens whose index is at `at`, if there is one: 256 offsets that ascend from 0
    /// and match the NUL-terminated tokens right before.
    pub(super) fn at(
        image: &'a [u8],
        at: usize,
        budget: &mut Budget,
    ) -> Result<Option<Self>, GaveUp> {
        // Nearly every place in an image is turned away by its first word.
        if !word(image, at).is_some_and(|w| w & 0xffff == 0 && w >> 16 != 0) {
            return Ok(None);
        }
        let Some(index) = index(image, at) else {
            return Ok(None);
        };
        budget.spend(TOKENS)?;
        let last = index[TOKENS - 1];
        // The last token is 0 to MAX_NAME bytes long and is followed by its NUL and by padding.
        let nearest = at.saturating_sub(last + 1) & !3;
        let farthest = at.saturating_sub(last + MAX_NAME + 1 + MAX_PAD);
        let mut start = nearest;
        while start >= farthest {
            budget.spend(1)?;
            if let Some(texts) = texts(image, start, at, &index) {
                let end = at + 2 * TOKENS;
                return Ok(Some(Self { start, end, texts }));
            }
            let Some(next) = start.checked_sub(4) else {
                break;
            };
            start = next;
        }
        Ok(None)
    }

    /// Returns what `token` stands for.
    pub(super) fn text(&self, token: u8) -> &'a [u8] {
        self.texts[usize::from(token)]
    }
}

/// Reads the 256 strictly ascending offsets at `at`.
fn index(image: &[u8], at: usize) -> Option<Vec<usize>> {
    let bytes = image.get(at..at.checked_add(2 * TOKENS)?)?;
    // Twice through the bytes, so that a candidate that is none allocates nothing.
    let offsets = || {
        bytes
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    };
    // Most candidates end here after a few entries.
    let ascends = offsets().zip(offsets().skip(1)).all(|(a, b)| a < b);
    ascends.then(|| offsets().map(usize::from).collect())
}

/// Reads the tokens from `start` on, if their ends are where `index` says and nothing but padding
/// follows up to `end`.
fn texts<'a>(image: &'a [u8], start: usize, end: usize, index: &[usize]) -> Option<Vec<&'a [u8]>> {
    let table = image.get(start..end)?;
    // The cheapest check first: the NUL of the first token is right before the second one.
    if table.get(index[1] - 1) != Some(&0) {
        return None;
    }
    let mut texts = Vec::with_capacity(index.len());
    for (token, &at) in index.iter().enumerate() {
        let rest = table.get(at..)?;
        let length = rest.iter().take(MAX_NAME + 1).position(|&b| b == 0)?;
        let text = &rest[..length];
        let next = at + length + 1;
        let fits = match index.get(token + 1) {
            Some(&expected) => next == expected,
            None => is_padding(table.get(next..)?),
        };
        if !fits || !text.iter().all(|&b| is_name_byte(b)) {
            return None;
        }
        texts.push(text);
    }
    Some(texts)
}

/// Returns whether these bytes can be between two tables.
pub(super) fn is_padding(bytes: &[u8]) -> bool {
    // Tables of bytes end anywhere within a word, and the largest gap comes on top of that.
    bytes.len() <= MAX_PAD + 3 && bytes.iter().all(|&b| b == 0)
}

/// Returns whether a byte can be part of a symbol's name.
pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte >= 0x80
}
