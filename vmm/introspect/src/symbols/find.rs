//! Finding the tables in an image by their contents alone: nothing points to them that could be
//! known beforehand.
//!
//! The token index is unmistakable. From it the search goes backwards over the token table, the
//! sequence of names (where there is one) and the markers to the names and their number, checking
//! each against the others. The addresses come last (`addresses`): after the index in newer
//! kernels, before the number of symbols in older ones.

use super::budget::{Budget, GaveUp, word};
use super::spec::{Lengths, MARKER_STEP, MAX_NAME, MAX_PAD, MAX_SYMBOLS, MIN_SYMBOLS};
use super::tokens::{Tokens, is_padding};

/// Markers: every 256th name's offset in the names.
pub(super) struct Markers {
    at: usize,
    count: usize,
    /// Fewest and most symbols that there can be.
    symbols: (usize, usize),
}

/// The names: `count` length-prefixed runs of tokens from `start` on.
pub(super) struct Names {
    pub(super) start: usize,
    pub(super) count: usize,
    pub(super) lengths: Lengths,
    /// The offset in the image of the number of symbols.
    pub(super) number_at: usize,
}

/// Calls `each` with every consistent set of names for these tokens, nearest first, until it
/// returns something.
pub(super) fn names<T>(
    image: &[u8],
    tokens: &Tokens<'_>,
    budget: &mut Budget,
    mut each: impl FnMut(&Names, &mut Budget) -> Result<Option<T>, GaveUp>,
) -> Result<Option<T>, GaveUp> {
    let end = tokens.start;
    // Without a sequence the markers end right before the tokens.
    for pad in (0..=MAX_PAD).step_by(4) {
        let Some(markers) = adjacent_markers(image, end, pad, budget)? else {
            continue;
        };
        if let Some(found) = names_before(image, &markers, budget, &mut each)? {
            return Ok(Some(found));
        }
    }
    // With one they end before it, and only its length gives away where: one length after the
    // other.
    for gap in (3 * MIN_SYMBOLS..=end.min(MAX_SYMBOLS * 4)).step_by(4) {
        budget.spend(1)?;
        for (symbols, pad) in sequences(gap) {
            // `gap` ranges up to `end` at most, so the first difference cannot overflow.
            let Some(end) = (end - gap).checked_sub(pad) else {
                continue;
            };
            let Some(markers) = markers_ending(image, end, (symbols, symbols), budget)? else {
                continue;
            };
            if let Some(found) = names_before(image, &markers, budget, &mut each)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// Returns how many symbols there can be if their sequence takes `gap` bytes, and how many bytes
/// are between the markers and it.
fn sequences(gap: usize) -> impl Iterator<Item = (usize, usize)> {
    // Up to seven bytes of padding follow the sequence: room for two more entries of three bytes.
    let of_width =
        move |width: usize| (0..3).map(move |less| ((gap / width).saturating_sub(less), width));
    let all = of_width(3).chain(of_width(4));
    let all = all.filter(|(symbols, _)| *symbols >= MIN_SYMBOLS);
    // Tables begin at multiples of 4 bytes or, in 64-bit kernels, of 8.
    all.flat_map(move |(symbols, width)| {
        let ends_at = |align| (symbols * width).next_multiple_of(align) == gap;
        let (narrow, wide) = (ends_at(4), ends_at(8));
        let pads = [(0, narrow || wide), (4, wide)];
        pads.into_iter()
            .filter_map(move |(pad, possible)| possible.then_some((symbols, pad)))
    })
}

/// Finds markers that end `pad` bytes before `end`: as many as ascend from a 0.
fn adjacent_markers(
    image: &[u8],
    end: usize,
    pad: usize,
    budget: &mut Budget,
) -> Result<Option<Markers>, GaveUp> {
    let Some(end) = end.checked_sub(pad) else {
        return Ok(None);
    };
    if image.get(end..end + pad).is_none_or(|b| !is_padding(b)) {
        return Ok(None);
    }
    let mut above = None;
    // Backwards: the first marker is the offset of the first name, 0, so that is where they begin.
    for count in 1..=MAX_SYMBOLS / MARKER_STEP {
        budget.spend(1)?;
        let Some(at) = end.checked_sub(4 * count) else {
            break;
        };
        let Some(value) = word(image, at) else { break };
        if above.is_some_and(|a| !is_step(value, a)) {
            break;
        }
        if value == 0 {
            // A single 0 is no evidence: words of 0 are all over an image.
            if count * MARKER_STEP < MIN_SYMBOLS {
                break;
            }
            // The last marker stands for 1 to 256 names: their number comes before the names.
            let symbols = ((count - 1) * MARKER_STEP + 1, count * MARKER_STEP);
            return Ok(Some(Markers { at, count, symbols }));
        }
        above = Some(value);
    }
    Ok(None)
}

/// Finds markers for a known number of symbols that end at `end`.
fn markers_ending(
    image: &[u8],
    end: usize,
    symbols: (usize, usize),
    budget: &mut Budget,
) -> Result<Option<Markers>, GaveUp> {
    // The last marker may stand for fewer than 256 names.
    let count = symbols.1.div_ceil(MARKER_STEP);
    let Some(at) = end.checked_sub(4 * count) else {
        return Ok(None);
    };
    if word(image, at) != Some(0) {
        return Ok(None);
    }
    let mut below = 0;
    for i in 1..count {
        budget.spend(1)?;
        match word(image, at + 4 * i) {
            Some(value) if is_step(below, value) => below = value,
            _ => return Ok(None),
        }
    }
    Ok(Some(Markers { at, count, symbols }))
}

/// Returns whether 256 names can be between two markers: each takes at least a length and one
/// token.
fn is_step(below: u32, above: u32) -> bool {
    // The longest name has a length of two bytes in front.
    let step = above.wrapping_sub(below) as usize;
    above > below && (2 * MARKER_STEP..=MARKER_STEP * (MAX_NAME + 2)).contains(&step)
}

/// Finds names that end where `markers` begin.
fn names_before<T>(
    image: &[u8],
    markers: &Markers,
    budget: &mut Budget,
    each: &mut impl FnMut(&Names, &mut Budget) -> Result<Option<T>, GaveUp>,
) -> Result<Option<T>, GaveUp> {
    let Some(last) = word(image, markers.at + 4 * (markers.count - 1)) else {
        return Ok(None);
    };
    // The last marker's run of up to 256 names may have any length; the length of all before is
    // known.
    let Some(nearest) = markers.at.checked_sub(last as usize + 2) else {
        return Ok(None);
    };
    let farthest = nearest.saturating_sub(MARKER_STEP * (MAX_NAME + 2) + MAX_PAD);
    let nearest = nearest & !3;
    for start in (0..=nearest.saturating_sub(farthest))
        .step_by(4)
        .map(|back| nearest - back)
    {
        budget.spend(1)?;
        let Some((count, number_at)) = number_before(image, start, markers.symbols) else {
            continue;
        };
        // Which form lengths have shows only by the names fitting the markers, so both are tried.
        for lengths in [Lengths::Uleb, Lengths::Byte] {
            let names = Names {
                start,
                count,
                lengths,
                number_at,
            };
            if is_consistent(image, &names, markers, budget)?
                && let Some(found) = each(&names, budget)?
            {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// Returns the number of symbols right before `start`, and where it is.
fn number_before(image: &[u8], start: usize, range: (usize, usize)) -> Option<(usize, usize)> {
    for pad in (0..=MAX_PAD).step_by(4) {
        let at = start.checked_sub(4 + pad)?;
        let number = word(image, at)? as usize;
        if (range.0.max(MIN_SYMBOLS)..=range.1).contains(&number) {
            return Some((number, at));
        }
        // Only padding may be between the number and the names.
        if number != 0 {
            return None;
        }
    }
    None
}

/// Returns whether walking over all names meets every marker and ends where the markers begin.
fn is_consistent(
    image: &[u8],
    names: &Names,
    markers: &Markers,
    budget: &mut Budget,
) -> Result<bool, GaveUp> {
    let mut at = names.start;
    for i in 0..names.count {
        if i % MARKER_STEP == 0 {
            let marker = word(image, markers.at + 4 * (i / MARKER_STEP));
            if marker != u32::try_from(at - names.start).ok() {
                return Ok(false);
            }
        }
        budget.spend(1)?;
        match compressed(image, at, names.lengths) {
            Some(name) if name.end <= markers.at => at = name.end,
            _ => return Ok(false),
        }
    }
    Ok(image.get(at..markers.at).is_some_and(is_padding))
}

/// Returns where the tokens of the name at `at` are.
pub(super) fn compressed(
    image: &[u8],
    at: usize,
    lengths: Lengths,
) -> Option<std::ops::Range<usize>> {
    let first = usize::from(*image.get(at)?);
    // The kernel's own decoder reads no third byte of a length (`kallsyms_expand_symbol`).
    let (length, start) = if lengths == Lengths::Uleb && first & 0x80 != 0 {
        let second = usize::from(*image.get(at + 1)?);
        (first & 0x7f | (second & 0x7f) << 7, at + 2)
    } else {
        (first, at + 1)
    };
    // The type letter alone takes a token, so that no name has a length of 0.
    (length != 0 && length <= MAX_NAME).then_some(start..start + length)
}
