//! The table: sets of one cache line, each with the translations of eight neighbouring blocks, all
//! atomics.
//!
//! Neighbours share a line because guests map buffers page after page: a line then holds eight
//! translations, where it would hold two or three with a key for each. A cluster lives in the set
//! that its number leads to, or in that set's neighbour.
//!
//! A set is guarded by a sequence lock in its first word: odd while a writer is in it, two up after
//! each change. Readers take nothing; what they read counts only if the word was even and the same
//! before and after, so that an entry is never seen half old and half new, whatever values a guest
//! manages to have put into it.

use serde::{Deserialize, Serialize};

use crate::host::{LINE, ZeroedLines};
use crate::sync::{AtomicU64, Ordering, fence, fence_after_rmw, relax};

/// Blocks of one cluster, as a power of two.
pub(crate) const CLUSTER_BITS: u32 = 3;

/// Blocks of one cluster, which share a set.
pub(crate) const CLUSTER: usize = 1 << CLUSTER_BITS;

/// Where the words of a set are.
const SEQUENCE: usize = 0;
/// The cluster's key.
const KEY: usize = 1;
const STAMP: usize = 2;
/// The regions of the blocks, a byte each.
const REGIONS: usize = 3;
/// The pages of the blocks and their permissions, half a word each.
const PAGES: usize = 4;

/// Bits of permissions in half a word, below the page; none for a block that is not there.
const PERMISSION_BITS: u32 = 2;
const PERMISSIONS: u64 = (1 << PERMISSION_BITS) - 1;
/// The permissions of both halves of a word.
const PERMISSIONS_OF_BOTH: u64 = PERMISSIONS | PERMISSIONS << 32;

/// Number of pages of 4 KiB at the start of a region that blocks can lead to: 4 TiB.
pub(crate) const MAX_PAGES: u64 = 1 << (32 - PERMISSION_BITS);

/// How often a reader that meets a writer tries again before it goes without the cache.
pub(crate) const READ_ATTEMPTS: u32 = 4;

/// One set.
pub(crate) type Set = [AtomicU64; LINE];

/// Whose translations a set may have: those of one cluster of blocks, under one stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// What tells the cluster from others.
    pub key: u64,
    /// The domain's stamp; not 0.
    pub stamp: u64,
}

/// Where a block leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Which region of guest memory.
    pub region: u8,
    /// The number of the page in that region at which the block begins; below [`MAX_PAGES`].
    pub page: u32,
}

/// The table: a power of two of sets, or none.
pub(crate) struct Table(ZeroedLines);

impl Table {
    /// Creates a table for at least `entries` entries; one without sets if that is 0.
    pub fn new(entries: usize) -> Self {
        Self(ZeroedLines::new(match entries {
            0 => 0,
            _ => entries.div_ceil(CLUSTER).next_power_of_two(),
        }))
    }

    /// Returns whether there is no room for any entry at all.
    pub fn is_empty(&self) -> bool {
        self.0.get().is_empty()
    }

    /// Returns all sets.
    #[inline(always)]
    pub fn sets(&self) -> &[Set] {
        self.0.get()
    }

    /// Returns the set that `hash` leads to, unless the table is empty.
    #[inline(always)]
    pub fn set(&self, hash: u64) -> Option<&Set> {
        set(self.sets(), hash)
    }
}

/// Returns the one of a table's `sets` that `hash` leads to, unless the table is empty.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is above the mask does not count"
)]
pub(crate) fn set(sets: &[Set], hash: u64) -> Option<&Set> {
    // The number of sets is a power of two; with no sets at all the mask is all ones, and no
    // index is in range.
    sets.get(hash as usize & sets.len().wrapping_sub(1))
}

/// What a set holds, from the key on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetWords([u64; LINE - KEY]);

impl SetWords {
    /// Returns the stamp of the entries.
    pub(super) fn stamp(&self) -> u64 {
        self.0[STAMP - KEY]
    }

    /// Returns the key of the cluster.
    pub(super) fn key(&self) -> u64 {
        self.0[0]
    }

    /// Returns the blocks that are there, each by its place in the cluster, and where they lead.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fields are cut out of words"
    )]
    pub(super) fn blocks(&self) -> impl Iterator<Item = (usize, Target)> + '_ {
        (0..CLUSTER).filter_map(|block| {
            let (word, shift) = half(block);
            let bits = (self.0[word - KEY] >> shift) as u32;
            let target = Target {
                region: (self.0[REGIONS - KEY] >> (8 * block)) as u8,
                page: bits >> PERMISSION_BITS,
            };
            (bits & PERMISSIONS as u32 != 0).then_some((block, target))
        })
    }

    /// Returns the same with other numbers of regions, without the blocks in those that have none.
    pub(super) fn renumbered(&self, number: impl Fn(u8) -> Option<u8>) -> Self {
        let mut words = *self;
        for (block, target) in self.blocks() {
            let bits = |region: u8| u64::from(region) << (8 * block);
            if let Some(number) = number(target.region) {
                let regions = &mut words.0[REGIONS - KEY];
                *regions = *regions & !bits(u8::MAX) | bits(number);
            } else {
                let (word, shift) = half(block);
                words.0[word - KEY] &= !(PERMISSIONS << shift);
            }
        }
        words
    }
}

/// Returns the words of `set`, if it holds an entry. Nobody may write to it meanwhile.
pub(super) fn words(set: &Set) -> Option<SetWords> {
    let words = std::array::from_fn(|word| set[KEY + word].load(Ordering::Acquire));
    (present(set) > 0).then_some(SetWords(words))
}

/// Makes `set` hold `words`. Nobody may use it meanwhile.
pub(super) fn set_words(set: &Set, words: &SetWords) {
    for (to, from) in set[KEY..].iter().zip(words.0) {
        to.store(from, Ordering::Release);
    }
}

/// Empties `set`. Nobody may use it meanwhile.
pub(super) fn clear(set: &Set) {
    set_words(set, &SetWords([0; LINE - KEY]));
}

/// Returns how many blocks are in `set`.
fn present(set: &Set) -> u32 {
    let of = |word: &AtomicU64| {
        let bits = word.load(Ordering::Relaxed);
        // A block is there if either of its two bits is set.
        ((bits | bits >> 1) & PERMISSIONS_OF_BOTH & !(PERMISSIONS_OF_BOTH << 1)).count_ones()
    };
    set[PAGES..].iter().map(of).sum()
}

/// Returns 0 if `set` belongs to `owner` now.
#[inline(always)]
fn differs(set: &Set, owner: Owner) -> u64 {
    // A number and not a `bool`: no branch that a processor could mispredict.
    (set[KEY].load(Ordering::Relaxed) ^ owner.key)
        | (set[STAMP].load(Ordering::Relaxed) ^ owner.stamp)
}

/// Returns whether `set` belongs to `owner` now.
fn is(set: &Set, owner: Owner) -> bool {
    differs(set, owner) == 0
}

/// Returns in which word of a set the half of a block is, and where in the word it begins.
#[inline(always)]
fn half(block: usize) -> (usize, u32) {
    (
        PAGES + block % CLUSTER / 2,
        if block % 2 == 0 { 0 } else { 32 },
    )
}

/// Returns where `owner`'s block number `block` leads, if `set` has it with all of the permissions
/// `wanted`, and no writer is met at each of `attempts`.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are cut out of words"
)]
pub(crate) fn find(
    set: &Set,
    owner: Owner,
    block: usize,
    wanted: u8,
    attempts: u32,
) -> Option<Target> {
    // The place within the cluster; the rest of the number is in the key.
    let block = block % CLUSTER;
    let (word, shift) = half(block);
    for round in 0..attempts {
        if round > 0 {
            relax(round);
        }
        // Acquire: none of the loads below moves before this one.
        let before = set[SEQUENCE].load(Ordering::Acquire);
        let differs = differs(set, owner);
        let bits = (set[word].load(Ordering::Relaxed) >> shift) as u32;
        let region = (set[REGIONS].load(Ordering::Relaxed) >> (8 * block)) as u8;
        // Orders the loads before the second look at the sequence.
        fence(Ordering::Acquire);
        let after = set[SEQUENCE].load(Ordering::Relaxed);
        if before & 1 | before ^ after == 0 {
            let granted = bits as u8 & PERMISSIONS as u8;
            // `wanted` may be nothing at all, which an absent block would satisfy.
            let good = (differs == 0) & (granted & wanted == wanted) & (granted != 0);
            let page = bits >> PERMISSION_BITS;
            return good.then_some(Target { region, page });
        }
    }
    None
}

/// Returns whether `set` seems to hold nothing that matters to others than `owner`. It may change
/// at once.
pub(crate) fn is_free_for(set: &Set, owner: Owner, live: impl Fn(u64) -> bool) -> bool {
    is(set, owner) || !live(set[STAMP].load(Ordering::Relaxed)) || present(set) == 0
}

/// Enters a set as its only writer, if nobody else is in it; returns the sequence to leave with.
fn try_enter(set: &Set) -> Option<u64> {
    let before = set[SEQUENCE].load(Ordering::Relaxed);
    if before & 1 == 1 {
        return None;
    }
    set[SEQUENCE]
        .compare_exchange(before, before + 1, Ordering::SeqCst, Ordering::Relaxed)
        .ok()?;
    // Orders the odd sequence before all changes (for readers), and before the look at the domain
    // that decides whether a fill is still good (for invalidations, which have the same fence the
    // other way around).
    fence_after_rmw();
    Some(before + 2)
}

/// Leaves a set. Release: whoever sees the even sequence sees all changes.
fn leave(set: &Set, sequence: u64) {
    set[SEQUENCE].store(sequence, Ordering::Release);
}

/// Replaces the bits of `mask` in a word.
fn replace(word: &AtomicU64, mask: u64, value: u64) {
    // No read-modify-write: within a set there is one writer.
    let others = word.load(Ordering::Relaxed) & !mask;
    word.store(others | value, Ordering::Relaxed);
}

/// Puts `owner`'s block number `block` into `set`, if nobody else writes to the set just now and
/// `good`, asked inside, says that the entry is still true. Returns how many entries were displaced
/// that `live` says can still be found.
///
/// Not entering is always fine: the next access asks the model again.
pub(crate) fn fill(
    set: &Set,
    owner: Owner,
    block: usize,
    permissions: u8,
    target: Target,
    good: impl FnOnce() -> bool,
    live: impl Fn(u64) -> bool,
) -> Option<u32> {
    let block = block % CLUSTER;
    let sequence = try_enter(set)?;
    // Nothing was changed yet, so the entries of others stay.
    if !good() {
        leave(set, sequence);
        return None;
    }
    let mut displaced = 0;
    if !is(set, owner) {
        if live(set[STAMP].load(Ordering::Relaxed)) {
            displaced = present(set);
        }
        // All blocks of the old owner are gone.
        for word in &set[PAGES..] {
            word.store(0, Ordering::Relaxed);
        }
        set[KEY].store(owner.key, Ordering::Relaxed);
        set[STAMP].store(owner.stamp, Ordering::Relaxed);
    }
    let Target { region, page } = target;
    let shift = 8 * block;
    replace(
        &set[REGIONS],
        u64::from(u8::MAX) << shift,
        u64::from(region) << shift,
    );
    let (word, shift) = half(block);
    let bits = u64::from(page << PERMISSION_BITS) | u64::from(permissions) & PERMISSIONS;
    replace(&set[word], u64::from(u32::MAX) << shift, bits << shift);
    leave(set, sequence);
    Some(displaced)
}

/// Removes from `set` those of `owner`'s blocks whose bit is set in `blocks`, if they are there.
///
/// The caller has a sequentially consistent fence between what makes fills bad and this.
pub(crate) fn remove(set: &Set, owner: Owner, blocks: u8) {
    // Most sets that a range leads to have nothing of it: then a look is enough, and no reader is
    // disturbed.
    let before = set[SEQUENCE].load(Ordering::Acquire);
    let there = is(set, owner);
    fence(Ordering::Acquire);
    let undisturbed = before & 1 == 0 && set[SEQUENCE].load(Ordering::Relaxed) == before;
    if undisturbed && !there {
        return;
    }
    // A writer is inside for a few instructions and waits for nobody.
    let mut round = 0u32;
    let sequence = loop {
        match try_enter(set) {
            Some(sequence) => break sequence,
            None => relax(round),
        }
        round = round.saturating_add(1);
    };
    // Asked anew: the set may have changed hands before it was entered.
    if is(set, owner) {
        let mut left = blocks;
        while left != 0 {
            // Without permissions a block is absent, whatever its other bits hold.
            let (word, shift) = half(left.trailing_zeros() as usize);
            replace(&set[word], PERMISSIONS << shift, 0);
            left &= left - 1;
        }
    }
    leave(set, sequence);
}

#[cfg(all(test, not(loom)))]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]
mod tests {
    use super::*;

    const A: Owner = Owner {
        key: 0x1200,
        stamp: 16,
    };
    const B: Owner = Owner {
        key: 0x1300,
        stamp: 16,
    };

    const LAST: u32 = MAX_PAGES as u32 - 1;

    fn to(region: u8, page: u32) -> Target {
        Target { region, page }
    }

    fn put(set: &Set, owner: Owner, block: usize, permissions: u8, target: Target) -> Option<u32> {
        fill(
            set,
            owner,
            block,
            permissions,
            target,
            || true,
            |stamp| stamp != 0,
        )
    }

    #[test]
    fn sets_are_cache_lines() {
        for entries in [1, 8, 9, 64, 100] {
            let table = Table::new(entries);
            let sets = entries.div_ceil(CLUSTER).next_power_of_two() as u64;
            for hash in 0..sets {
                let set = table.set(hash).unwrap();
                assert_eq!(set.as_ptr().addr() % 64, 0);
                assert!(std::ptr::eq(set, table.set(hash + sets).unwrap()));
            }
        }
        assert!(Table::new(0).is_empty());
        assert!(Table::new(0).set(0).is_none());
        assert!(!Table::new(1).is_empty());
    }

    #[test]
    fn finds_what_was_put_and_only_for_its_owner_and_permissions() {
        let table = Table::new(1);
        let set = table.set(0).unwrap();
        assert_eq!(find(set, A, 0, 1, 1), None);
        assert_eq!(put(set, A, 0, 1, to(u8::MAX, 5)), Some(0));
        assert_eq!(put(set, A, 7, 3, to(1, LAST)), Some(0));
        assert_eq!(find(set, A, 0, 1, 1), Some(to(u8::MAX, 5)));
        assert_eq!(find(set, A, 0, 2, 1), None);
        assert_eq!(find(set, A, 0, 3, 1), None);
        assert_eq!(find(set, A, 7, 3, 1), Some(to(1, LAST)));
        for block in 1..7 {
            assert_eq!(
                find(set, A, block, 0, 1),
                None,
                "what is not there has no permissions"
            );
        }
        assert_eq!(find(set, B, 0, 1, 1), None);
        assert_eq!(find(set, Owner { stamp: 32, ..A }, 0, 1, 1), None);
        assert_eq!(put(set, A, 0, 2, to(7, 6)), Some(0));
        assert_eq!(find(set, A, 0, 1, 1), None);
        assert_eq!(find(set, A, 0, 2, 1), Some(to(7, 6)));
    }

    #[test]
    fn another_owner_displaces_all_that_is_live() {
        let table = Table::new(1);
        let set = table.set(0).unwrap();
        for block in 0..3 {
            put(set, A, block, 1 + block as u8, to(0, 1));
        }
        assert!(is_free_for(set, A, |_| true));
        assert!(!is_free_for(set, B, |_| true));
        assert!(is_free_for(set, B, |_| false));
        assert_eq!(put(set, B, 1, 3, to(2, 2)), Some(3));
        assert_eq!(find(set, A, 0, 1, 1), None);
        assert_eq!(find(set, B, 0, 1, 1), None);
        assert_eq!(find(set, B, 1, 3, 1), Some(to(2, 2)));
        let other = Owner { stamp: 32, ..A };
        let only_new = |stamp| stamp == 32;
        assert_eq!(fill(set, other, 0, 1, to(0, 1), || true, only_new), Some(0));
    }

    #[test]
    fn a_fill_found_bad_changes_nothing() {
        let table = Table::new(1);
        let set = table.set(0).unwrap();
        put(set, B, 0, 1, to(3, 3));
        assert_eq!(fill(set, A, 0, 1, to(0, 1), || false, |_| true), None);
        assert_eq!(find(set, A, 0, 1, 1), None);
        assert_eq!(find(set, B, 0, 1, 1), Some(to(3, 3)));
    }

    #[test]
    fn removes_what_it_is_told_to() {
        let table = Table::new(1);
        let set = table.set(0).unwrap();
        for block in 0..CLUSTER {
            put(set, A, block, 3, to(0, block as u32));
        }
        remove(set, B, 0xff);
        remove(set, Owner { stamp: 32, ..A }, 0xff);
        remove(set, A, 0b0110_0110);
        let left: Vec<_> = (0..CLUSTER)
            .map(|block| find(set, A, block, 1, 1).is_some())
            .collect();
        assert_eq!(left, [true, false, false, true, true, false, false, true]);
    }
}
