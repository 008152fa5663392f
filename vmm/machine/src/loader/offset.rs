//! Where a raw 32-bit Image must lie, found out from its bytes: it has no header that says so.
//!
//! An Image is the kernel as it lies in memory from its first byte on, and it must lie
//! `TEXT_OFFSET` bytes behind the start of RAM, as it is linked that far behind the start of its
//! linear mapping (Linux, arch/arm/Makefile: 0x8000 for most kernels, and more for those that
//! support certain SoCs as well: 0x208000 for Debian's). Empty lists that are initialised at
//! compile time, `LIST_HEAD_INIT`, are two pointers in a row to the first of them: each tells the
//! address of one byte of the file, and so of all. A kernel has hundreds of them, towards the end,
//! where `.data` lies.

use std::collections::BTreeMap;

/// Offset of the running kernel from the start of RAM, unless it is linked for another (TEXT_OFFSET
/// in arch/arm/Makefile). The first 16 KiB below it hold the kernel's first page table.
pub const TEXT_OFFSET: u64 = 0x8000;

/// The linear mapping begins at one of these addresses (arch/arm/Kconfig, PAGE_OFFSET), given as
/// their upper 4 bits.
const PAGE_OFFSETS: [u32; 4] = [0x4, 0x8, 0xb, 0xc];
/// Offsets are below this; the largest in arch/arm/Makefile is 0x308000.
const MAX_OFFSET: u32 = 16 << 20;
/// No kernel has this much code before its data.
const MAX_CODE: u32 = 64 << 20;
/// So many lists that agree settle it.
const ENOUGH: u32 = 64;
/// Fewer than this are chance.
const FEW: u32 = 8;
/// Most places that lists may point to, so that a file made for it costs no memory.
const MAX_CANDIDATES: usize = 4096;

/// Returns how far behind the start of RAM `image` must lie, in bytes; [`TEXT_OFFSET`] if it does
/// not tell.
pub fn of(image: &[u8]) -> u64 {
    let (offset, count) = count(image, start);
    if count >= FEW { offset } else { TEXT_OFFSET }
}

/// Returns the same for an image that is linked at `address`, in virtual or in physical memory;
/// nothing if that is no place for a kernel.
pub fn of_address(address: u64) -> Option<u64> {
    // All of the starts of a linear mapping, and those of RAM, are multiples of 256 MiB.
    let offset = address & 0x0fff_ffff;
    let sound = offset.is_multiple_of(4096) && (TEXT_OFFSET..MAX_OFFSET.into()).contains(&offset);
    sound.then_some(offset)
}

/// Returns whether `image` is a kernel that is to run where it is stored (Linux,
/// CONFIG_XIP_KERNEL): its lists say that its data lies less far behind the start of the linear
/// mapping than it does behind the start of the file, as its code lies elsewhere.
pub fn runs_in_place(image: &[u8]) -> bool {
    // An ordinary kernel must not be refused by chance: its own lists agree on a start.
    count(image, start).1 < FEW && count(image, before).1 >= ENOUGH
}

/// Returns what most lists agree on, each in what `told` makes of it, and how many they are.
fn count(image: &[u8], told: fn(u32, usize) -> Option<u32>) -> (u64, u32) {
    // Sorted, so that of two places with as many lists the same one wins in every run.
    let mut votes: BTreeMap<u32, u32> = BTreeMap::new();
    let words = image.len() / 4;
    let word = |index: usize| {
        let at = 4 * index;
        image
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    };
    // From the end, where `.data` lies, so that the answer is found early.
    let mut next = 0;
    for index in (0..words).rev() {
        let pointer = word(index);
        // An empty list: two equal pointers in a row.
        // Zeroed data is full of equal words, and tells nothing.
        let twice = pointer != 0 && pointer == next;
        // Before any `continue`: the loop goes down, and each word is the next of the one below.
        next = pointer;
        let Some(place) = twice.then(|| told(pointer, index)).flatten() else {
            continue;
        };
        // Only new places are turned away: those that are known go on being counted.
        if votes.len() == MAX_CANDIDATES && !votes.contains_key(&place) {
            continue;
        }
        let count = votes.entry(place).or_default();
        *count += 1;
        if *count == ENOUGH {
            break;
        }
    }
    let most = votes.into_iter().max_by_key(|(_, count)| *count);
    most.map_or((0, 0), |(place, count)| (place.into(), count))
}

/// Returns where an image begins that has `pointer`, its own address, at word `index`.
fn base(pointer: u32, index: usize) -> Option<u32> {
    // A pointer that is less than its own offset in the file cannot be an address of the image.
    pointer.checked_sub(u32::try_from(index).ok()?.checked_mul(4)?)
}

/// Returns how far before the linear mapping's start an image would begin that has `pointer`, its
/// own address, at word `index`.
fn before(pointer: u32, index: usize) -> Option<u32> {
    let base = base(pointer, index)?;
    PAGE_OFFSETS
        .iter()
        .filter_map(|page| (page << 28).checked_sub(base))
        .find(|before| (1..MAX_CODE).contains(before))
}

/// Returns how far behind the linear mapping's start an image begins that has `pointer`, its own
/// address, at word `index`.
#[expect(clippy::cast_possible_truncation, reason = "TEXT_OFFSET is 32 KiB")]
fn start(pointer: u32, index: usize) -> Option<u32> {
    let base = base(pointer, index)?;
    // Each mapping begins at a multiple of 256 MiB: the upper 4 bits say which one it is.
    let offset = base & 0x0fff_ffff;
    let sound = PAGE_OFFSETS.contains(&(base >> 28))
        && offset.is_multiple_of(4096)
        && (TEXT_OFFSET as u32..MAX_OFFSET).contains(&offset);
    sound.then_some(offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns an image linked at `base` with empty lists at these words.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the tests' images are small"
    )]
    fn image(base: u32, lists: impl Iterator<Item = usize>) -> Vec<u8> {
        let mut bytes = vec![0x5a; 16 << 10];
        for index in lists {
            let pointer = (base + 4 * index as u32).to_le_bytes();
            bytes[4 * index..][..4].copy_from_slice(&pointer);
            bytes[4 * index + 4..][..4].copy_from_slice(&pointer);
        }
        bytes
    }

    #[test]
    fn empty_lists_tell_where_a_kernel_is_linked() {
        for (base, offset) in [
            (0xc000_8000, 0x8000),
            (0xc020_8000, 0x20_8000),
            (0x8010_8000, 0x10_8000),
            (0xb030_8000, 0x30_8000),
        ] {
            let many = image(base, (100..2000).step_by(10));
            assert_eq!(of(&many), offset, "{base:#x}");
            let few = image(base, (100..180).step_by(10));
            assert_eq!(of(&few), offset, "{base:#x}");
        }
    }

    #[test]
    fn what_does_not_tell_lies_where_most_kernels_do() {
        for bytes in [
            vec![],
            vec![0; 8192],
            vec![0xff; 8191],
            image(0xc020_8000, [9].into_iter()),
            image(0x1020_8000, (100..2000).step_by(10)),
            image(0xc000_4000, (100..2000).step_by(10)),
        ] {
            assert_eq!(of(&bytes), TEXT_OFFSET);
        }
    }

    #[test]
    fn data_that_is_linked_less_far_behind_than_it_is_stored_is_that_of_a_kernel_in_flash() {
        // Code of 8 MiB that lies elsewhere, then data from the start of the mapping on.
        let mut file = vec![0; 8 << 20];
        file.extend(image(0xc000_8000, (100..2000).step_by(10)));
        assert!(runs_in_place(&file));
        assert!(!runs_in_place(&image(0xc000_8000, (100..2000).step_by(10))));
        assert!(!runs_in_place(&image(0xc020_8000, (100..2000).step_by(10))));
        assert!(!runs_in_place(&[0; 8192]));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_place_that_a_kernel_can_have(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let offset = of(&bytes);
            prop_assert!((TEXT_OFFSET..u64::from(MAX_OFFSET)).contains(&offset));
        }
    }
}
