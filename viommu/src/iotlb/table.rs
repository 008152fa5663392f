//! The table: sets of one cache line, each with the translations of four neighbouring blocks, all
//! atomics.
//!
//! Neighbours share a line because guests map buffers page after page: a line then holds four
//! translations, where it would hold two with a key for each. A cluster lives in the set that its
//! number leads to, or in that set's neighbour.
//!
//! A set is guarded by a sequence lock in its first word: odd while a writer is in it, two up after
//! each change. Readers take nothing; what they read counts only if the word was even and the same
//! before and after, so that an entry is never seen half old and half new, whatever values a guest
//! manages to have put into it.

use serde::{Deserialize, Serialize};

use crate::host::{LINE, ZeroedLines};
use crate::sync::{AtomicU64, Ordering, fence, fence_after_rmw, relax};

/// Blocks of one cluster, as a power of two.
pub(crate) const CLUSTER_BITS: u32 = 2;

/// Blocks of one cluster, which share a set.
pub(crate) const CLUSTER: usize = 1 << CLUSTER_BITS;

/// Where the words of a set are.
const SEQUENCE: usize = 0;
/// The cluster's key, and in its low bits the permissions of its blocks; none for a block that is
/// not there.
const KEY: usize = 1;
const STAMP: usize = 2;
const DELTAS: usize = 3;
/// The regions of the blocks, 16 bits each.
const REGIONS: usize = 7;

/// Low bits of a key that are not part of it: two of permissions for each block.
#[expect(clippy::cast_possible_truncation, reason = "a cluster is a few blocks")]
pub(crate) const KEY_SHIFT: u32 = 2 * CLUSTER as u32;
const PERMISSIONS: u64 = (1 << KEY_SHIFT) - 1;

/// How often a reader that meets a writer tries again before it goes without the cache.
pub(crate) const READ_ATTEMPTS: u32 = 4;

/// One set.
pub(crate) type Set = [AtomicU64; LINE];

/// Whose translations a set may have: those of one cluster of blocks, under one stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// What tells the cluster from others; the low [`KEY_SHIFT`] bits are 0.
    pub key: u64,
    /// The domain's stamp; not 0.
    pub stamp: u64,
}

/// Where a block leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Which region of guest memory.
    pub region: u16,
    /// What to add to the IOVA, wrapping, for the offset in that region.
    pub delta: u64,
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
    pub fn sets(&self) -> &[Set] {
        self.0.get()
    }

    /// Returns the set that `hash` leads to, unless the table is empty.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is above the mask does not count"
    )]
    pub fn set(&self, hash: u64) -> Option<&Set> {
        let sets = self.0.get();
        // The number of sets is a power of two; with no sets at all the mask is all ones, and no
        // index is in range.
        sets.get(hash as usize & sets.len().wrapping_sub(1))
    }
}

/// What a set holds, from the key on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetWords([u64; LINE - KEY]);

impl SetWords {
    /// Returns the stamp of the entries.
    pub(super) fn stamp(&self) -> u64 {
        self.0[STAMP - KEY]
    }

    /// Returns the key of the cluster, without permissions.
    pub(super) fn key(&self) -> u64 {
        self.0[0] & !PERMISSIONS
    }

    /// Returns the blocks that are there, each by its place in the cluster, and where they lead.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fields are cut out of words"
    )]
    pub(super) fn blocks(&self) -> impl Iterator<Item = (usize, Target)> + '_ {
        let there = |block: &usize| self.0[0] >> (2 * block) & 0b11 != 0;
        (0..CLUSTER).filter(there).map(|block| {
            let target = Target {
                region: (self.0[REGIONS - KEY] >> (16 * block)) as u16,
                delta: self.0[DELTAS - KEY + block],
            };
            (block, target)
        })
    }

    /// Returns the same with other numbers of regions.
    pub(super) fn renumbered(&self, number: impl Fn(u16) -> u16) -> Self {
        let mut words = *self;
        for (block, target) in self.blocks() {
            let bits = |region: u16| u64::from(region) << (16 * block);
            let regions = &mut words.0[REGIONS - KEY];
            *regions = *regions & !bits(u16::MAX) | bits(number(target.region));
        }
        words
    }
}

/// Returns the words of `set`, if it holds an entry. Nobody may write to it meanwhile.
pub(super) fn words(set: &Set) -> Option<SetWords> {
    let words = std::array::from_fn(|word| set[KEY + word].load(Ordering::Acquire));
    (words[0] & PERMISSIONS != 0).then_some(SetWords(words))
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

/// Returns whether `set` belongs to `owner` now.
#[inline(always)]
fn is(set: &Set, owner: Owner) -> bool {
    // `&` and not `&&`: no branch that a processor could mispredict.
    let same = (set[KEY].load(Ordering::Relaxed) ^ owner.key) & !PERMISSIONS == 0;
    same & (set[STAMP].load(Ordering::Relaxed) == owner.stamp)
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
    for round in 0..attempts {
        if round > 0 {
            relax(round);
        }
        // Acquire: none of the loads below moves before this one.
        let before = set[SEQUENCE].load(Ordering::Acquire);
        let found = is(set, owner);
        let granted = (set[KEY].load(Ordering::Relaxed) >> (2 * block)) as u8 & 0b11;
        let delta = set[DELTAS + block].load(Ordering::Relaxed);
        let region = (set[REGIONS].load(Ordering::Relaxed) >> (16 * block)) as u16;
        // Orders the loads before the second look at the sequence.
        fence(Ordering::Acquire);
        let after = set[SEQUENCE].load(Ordering::Relaxed);
        if before & 1 == 0 && after == before {
            // `wanted` may be nothing at all, which an absent block would satisfy.
            let good = found & (granted & wanted == wanted) & (granted != 0);
            return good.then_some(Target { region, delta });
        }
    }
    None
}

/// Returns whether `set` seems to hold nothing that matters to others than `owner`. It may change
/// at once.
pub(crate) fn is_free_for(set: &Set, owner: Owner, live: impl Fn(u64) -> bool) -> bool {
    is(set, owner)
        || !live(set[STAMP].load(Ordering::Relaxed))
        || set[KEY].load(Ordering::Relaxed) & PERMISSIONS == 0
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
            let present = set[KEY].load(Ordering::Relaxed) & PERMISSIONS;
            // Permissions are two bits for each block; a block is there if either is set.
            displaced = ((present | present >> 1) & (PERMISSIONS / 0b11)).count_ones();
        }
        // The new key has no permission bits yet: all blocks of the old owner are gone with this
        // store.
        set[KEY].store(owner.key, Ordering::Relaxed);
        set[STAMP].store(owner.stamp, Ordering::Relaxed);
    }
    let bits = |value: u64, width: usize| value << (width * block);
    replace(&set[KEY], bits(0b11, 2), bits(permissions.into(), 2));
    let region = bits(target.region.into(), 16);
    replace(&set[REGIONS], bits(u16::MAX.into(), 16), region);
    set[DELTAS + block].store(target.delta, Ordering::Relaxed);
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
        let gone = (0..CLUSTER)
            .filter(|block| blocks & (1 << block) != 0)
            .fold(0, |mask, block| mask | 0b11 << (2 * block));
        // Without permissions a block is absent, whatever its other words hold.
        replace(&set[KEY], gone, 0);
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

    fn to(region: u16, delta: u64) -> Target {
        Target { region, delta }
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
        for entries in [1, 4, 5, 64, 100] {
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
        assert_eq!(put(set, A, 0, 1, to(u16::MAX, 5)), Some(0));
        assert_eq!(put(set, A, 3, 3, to(1, u64::MAX)), Some(0));
        assert_eq!(find(set, A, 0, 1, 1), Some(to(u16::MAX, 5)));
        assert_eq!(find(set, A, 0, 2, 1), None);
        assert_eq!(find(set, A, 0, 3, 1), None);
        assert_eq!(find(set, A, 3, 3, 1), Some(to(1, u64::MAX)));
        for block in [1, 2] {
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
            put(set, A, block, 3, to(0, block as u64));
        }
        remove(set, B, 0b1111);
        remove(set, Owner { stamp: 32, ..A }, 0b1111);
        remove(set, A, 0b0110);
        let left: Vec<_> = (0..CLUSTER)
            .map(|block| find(set, A, block, 1, 1).is_some())
            .collect();
        assert_eq!(left, [true, false, false, true]);
    }
}
