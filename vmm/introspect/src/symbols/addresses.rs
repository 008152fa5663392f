//! The table of addresses, in whichever place and form it fits the names, and where the kernel
//! begins among them.

use vmm_base::Width;

use super::budget::{Budget, GaveUp, word};
use super::find::Names;
use super::spec::{LOWEST_KERNEL, LOWEST_KERNEL_64, MAX_IMAGE, MAX_PAD, PAGE, VECTORS_END, header};
use super::tokens::{Tokens, is_padding};

/// The base of symbols that are not placed yet: some way from 0, as the kernel begins before its
/// first symbol.
const UNPLACED: u64 = 1 << 32;

/// The addresses of every symbol, in the order of the names.
pub(super) struct Addresses {
    pub(super) list: Vec<u64>,
    pub(super) width: Width,
    /// Whether these are virtual addresses; else only their differences mean something.
    pub(super) placed: bool,
}

/// Finds the address of every symbol of `names`, wherever and in whichever form they fit. Kernels
/// of 64 bits come first: the base of their offsets can be taken for one of 32 bits, never the
/// other way round.
pub(super) fn addresses(
    image: &[u8],
    tokens: &Tokens<'_>,
    names: &Names,
    budget: &mut Budget,
) -> Result<Option<Addresses>, GaveUp> {
    if let Some((list, placed)) = aarch64(image, tokens, names, budget)? {
        return Ok(Some(Addresses {
            list,
            width: Width::Bits64,
            placed,
        }));
    }
    let list = aarch32(image, tokens, names, budget)?;
    Ok(list.map(|list| Addresses {
        list: list.into_iter().map(u64::from).collect(),
        width: Width::Bits32,
        placed: true,
    }))
}

/// Finds those of a 64-bit kernel, and whether they are virtual addresses.
fn aarch64(
    image: &[u8],
    tokens: &Tokens<'_>,
    names: &Names,
    budget: &mut Budget,
) -> Result<Option<(Vec<u64>, bool)>, GaveUp> {
    let size = 4 * names.count;
    // After the index, each table at a multiple of 8 bytes.
    let after = tokens.end.next_multiple_of(8);
    let base_at = after.saturating_add(size).next_multiple_of(8);
    if let Some(found) = relative_wide(image, after, names.count, base_at, budget)? {
        return Ok(Some(found));
    }
    if let Some(found) = own_relative(image, after, names.count, budget)? {
        return Ok(Some((found, false)));
    }
    // Before the number of symbols.
    let Some(base_at) = names.number_at.checked_sub(8) else {
        return Ok(None);
    };
    match (base_at & !7).checked_sub(size.next_multiple_of(8)) {
        Some(at) => relative_wide(image, at, names.count, base_at, budget),
        None => Ok(None),
    }
}

/// Finds those of a 32-bit kernel.
fn aarch32(
    image: &[u8],
    tokens: &Tokens<'_>,
    names: &Names,
    budget: &mut Budget,
) -> Result<Option<Vec<u32>>, GaveUp> {
    let size = 4 * names.count;
    let after = tokens.end;
    // From 6.4 on: after the index, as offsets from a base, or (from 7.0 on) as addresses.
    if let Some(base) = word(image, after.saturating_add(size))
        && let Some(found) = relative(image, after, names.count, base, budget)?
    {
        return Ok(Some(found));
    }
    if let Some(found) = absolute(image, after, names.count, budget)? {
        return Ok(Some(found));
    }
    // Up to 6.3: before the number of symbols, with padding in between that has to be tried.
    for pad in pads(image, names.number_at) {
        let end = names.number_at - pad;
        if let Some(base_at) = end.checked_sub(4)
            && let Some(base) = word(image, base_at)
        {
            for inner in pads(image, base_at) {
                let Some(at) = (base_at - inner).checked_sub(size) else {
                    continue;
                };
                if let Some(found) = relative(image, at, names.count, base, budget)? {
                    return Ok(Some(found));
                }
            }
        }
        if let Some(at) = end.checked_sub(size)
            && let Some(found) = absolute(image, at, names.count, budget)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Returns the amounts of padding that there can be before `at`.
fn pads(image: &[u8], at: usize) -> impl Iterator<Item = usize> {
    (0..=MAX_PAD.min(at))
        .step_by(4)
        .filter(move |&pad| image.get(at - pad..at).is_some_and(is_padding))
}

/// Reads a table of offsets from `base`, which begins with 0, ascends, and leads into the kernel.
fn relative(
    image: &[u8],
    at: usize,
    count: usize,
    base: u32,
    budget: &mut Budget,
) -> Result<Option<Vec<u32>>, GaveUp> {
    if word(image, at) != Some(0) {
        return Ok(None);
    }
    let Some(offsets) = ascending(image, at, count, budget)? else {
        return Ok(None);
    };
    // The median, as a few symbols may be outside of the kernel: those of the vectors were linked
    // at address 0.
    let (median, last) = (offsets[count / 2], offsets[count - 1]);
    // From a base at the vectors offsets are nearly addresses; from one in the kernel they are
    // small.
    let low_base = base < VECTORS_END && median >= LOWEST_KERNEL;
    let kernel_base = base >= LOWEST_KERNEL && median < LOWEST_KERNEL;
    // All zeros ascend, too.
    if median == 0 || !(low_base || kernel_base) || base.checked_add(last).is_none() {
        return Ok(None);
    }
    // No sum overflows: that of the last offset, which is the largest, was checked.
    Ok(Some(offsets.iter().map(|o| base + o).collect()))
}

/// Reads a table of a 64-bit kernel's offsets from the base at `base_at`, which is a kernel's
/// address, or 0 in an image that has not relocated itself (the linker leaves the addend in the
/// relocation: `--no-apply-dynamic-relocs` of arch/arm64/Makefile; with CONFIG_RELR it is the
/// address that the image was linked for).
fn relative_wide(
    image: &[u8],
    at: usize,
    count: usize,
    base_at: usize,
    budget: &mut Budget,
) -> Result<Option<(Vec<u64>, bool)>, GaveUp> {
    let halves = (word(image, base_at), word(image, base_at.saturating_add(4)));
    let (Some(low), Some(high)) = halves else {
        return Ok(None);
    };
    let base = u64::from(high) << 32 | u64::from(low);
    if (base != 0 && base < LOWEST_KERNEL_64) || word(image, at) != Some(0) {
        return Ok(None);
    }
    let Some(offsets) = ascending(image, at, count, budget)? else {
        return Ok(None);
    };
    let (median, last) = (offsets[count / 2], u64::from(offsets[count - 1]));
    if median == 0 || last > MAX_IMAGE || base.checked_add(last).is_none() {
        return Ok(None);
    }
    let placed = base != 0;
    // `base` plus `last` fits either way: `UNPLACED` and `MAX_IMAGE` are far below 2^64.
    let base = if placed { base } else { UNPLACED };
    let list = offsets.iter().map(|o| base + u64::from(*o)).collect();
    Ok(Some((list, placed)))
}

/// Reads a table of addresses, which ascends, and most of which is in the kernel.
fn absolute(
    image: &[u8],
    at: usize,
    count: usize,
    budget: &mut Budget,
) -> Result<Option<Vec<u32>>, GaveUp> {
    let found = ascending(image, at, count, budget)?;
    Ok(found.filter(|a| a[count / 2] >= LOWEST_KERNEL))
}

/// Reads a table in which each entry is the distance from its own place to what it names: places in
/// `image`, which holds it, are then as good as addresses. The first symbol is before the table.
/// (The addresses of a 32-bit kernel, taken for distances, lead out of any image, and its offsets
/// are not negative.)
#[expect(clippy::cast_possible_wrap, reason = "images are far below 2^63 bytes")]
fn own_relative(
    image: &[u8],
    at: usize,
    count: usize,
    budget: &mut Budget,
) -> Result<Option<Vec<u64>>, GaveUp> {
    let Some(distances) = words(image, at, count) else {
        return Ok(None);
    };
    let mut places = distances
        .zip((at as i64..).step_by(4))
        // In 64 bits, where neither a place nor a distance of 32 bits can overflow.
        .map(|(distance, place)| place + i64::from(distance.cast_signed()));
    if !ascend(places.clone(), count, budget)? {
        return Ok(None);
    }
    let first = places.next().unwrap_or(-1);
    if !(0..at as i64).contains(&first) {
        return Ok(None);
    }
    // None is negative if the first is not.
    let rest = places.map(i64::cast_unsigned);
    let list: Vec<u64> = std::iter::once(first.cast_unsigned()).chain(rest).collect();
    let (median, last) = (list[count / 2], list[count - 1]);
    Ok((list[0] < median && last <= MAX_IMAGE).then_some(list))
}

fn ascending(
    image: &[u8],
    at: usize,
    count: usize,
    budget: &mut Budget,
) -> Result<Option<Vec<u32>>, GaveUp> {
    let Some(values) = words(image, at, count) else {
        return Ok(None);
    };
    Ok(ascend(values.clone(), count, budget)?.then(|| values.collect()))
}

/// Returns the `count` words from `at` on.
fn words(image: &[u8], at: usize, count: usize) -> Option<impl Iterator<Item = u32> + Clone> {
    let bytes = image.get(at..at.checked_add(4 * count)?)?;
    let words = bytes.chunks_exact(4);
    Some(words.map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])))
}

/// Returns whether these `count` values ascend. Most tries end within a few; only a table that
/// ascends throughout is worth memory.
fn ascend<T: PartialOrd>(
    values: impl Iterator<Item = T> + Clone,
    count: usize,
    budget: &mut Budget,
) -> Result<bool, GaveUp> {
    // Equal values are in order: symbols may be aliases of one address.
    let steps = values.clone().zip(values.skip(1));
    let ascend = steps.take_while(|(a, b)| a <= b).count();
    budget.spend(ascend + 1)?;
    Ok(ascend + 1 == count)
}

/// Returns the distance from an arm64 kernel's first byte to its entry, by the branch in its
/// header: in bytes. The header is the nearest one before the place `tables` of `image`.
pub(super) fn entry_offset(image: &[u8], tables: usize) -> Option<u64> {
    let pages = (0..=tables / PAGE).rev().map(|page| page * PAGE);
    let starts = pages.filter(|at| word(image, at + header::MAGIC_AT) == Some(header::MAGIC));
    // Of a kernel that is a program of EFI the first instruction does nothing but spell "MZ".
    let mut branches = starts.flat_map(|start| [(start, 0), (start, 4)]);
    branches.find_map(|(start, offset)| {
        let code = word(image, start + offset)?;
        let words = u64::from(code & header::FORWARD);
        (code & !header::FORWARD == header::BRANCH).then_some(offset as u64 + 4 * words)
    })
}
