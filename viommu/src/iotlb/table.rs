//! The table of entries: set-associative, one cache line a set, all atomics.
//!
//! A set is guarded by a sequence lock in its first word: odd while a writer is in it, two up after each change.
//! Readers take nothing; what they read counts only if the word was even and the same before and after, so that an
//! entry is never seen half old and half new, whatever values a guest manages to have put into it.

use crate::host::zeroed_words;
use crate::sync::{AtomicU64, Ordering, fence, relax};

/// Entries in one set.
pub(crate) const WAYS: usize = 2;

/// Words of a set: one cache line.
const WORDS: usize = 8;

/// Where the words of a set are. The words of the two entries lie side by side: keys, stamps, offsets.
const SEQUENCE: usize = 0;
const KEYS: usize = 1;
const STAMPS: usize = 3;
const OFFSETS: usize = 5;
/// The regions of both entries, 32 bits each.
const REGIONS: usize = 7;

/// How often a reader that meets a writer tries again before it goes without the cache.
const READ_ATTEMPTS: u32 = 4;

/// The low bits of a key: the permissions of the entry. They take no part in the comparison.
const PERMISSIONS: u64 = 0b11;

/// One set of entries.
pub(crate) type Set = [AtomicU64; WORDS];

/// What an entry says about its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Which region of guest memory.
    pub region: u32,
    /// What to add to the IOVA, wrapping, for the offset in that region.
    pub delta: u64,
}

/// What a fill did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// It took the place of the same block, of a dead entry or of none.
    Free,
    /// It displaced a live entry.
    Evicted,
}

/// The table.
pub(crate) struct Table {
    words: Box<[AtomicU64]>,
    /// Index of the first word that begins a cache line.
    first: usize,
    /// Number of sets less one, or `None` for a table without any.
    mask: Option<u64>,
}

impl Table {
    /// A table for at least `entries` entries; none if 0.
    pub fn new(entries: usize) -> Self {
        let sets = match entries {
            0 => 0,
            _ => entries.div_ceil(WAYS).next_power_of_two(),
        };
        let words = zeroed_words((sets + 1) * WORDS);
        let line = WORDS * size_of::<u64>();
        let past = words.as_ptr().addr() % line;
        let first = (line - past) % line / size_of::<u64>();
        Self {
            words,
            first,
            mask: (sets as u64).checked_sub(1),
        }
    }

    /// Whether there is room for any entry at all.
    pub fn is_empty(&self) -> bool {
        self.mask.is_none()
    }

    /// The set that `hash` leads to. There must be one: see [`Table::is_empty`].
    #[inline]
    pub fn set(&self, hash: u64) -> &Set {
        let (sets, _) = self.words[self.first..].as_chunks();
        &sets[(hash & self.mask.unwrap_or(0)) as usize]
    }
}

#[inline]
fn is(set: &Set, way: usize, key: u64, stamp: u64) -> bool {
    let same_key = (set[KEYS + way].load(Ordering::Relaxed) ^ key) & !PERMISSIONS == 0;
    same_key & (set[STAMPS + way].load(Ordering::Relaxed) == stamp)
}

#[inline]
fn target(set: &Set, way: usize) -> Target {
    Target {
        region: (set[REGIONS].load(Ordering::Relaxed) >> (32 * way)) as u32,
        delta: set[OFFSETS + way].load(Ordering::Relaxed),
    }
}

/// The entry for `key` and `stamp`, if it is there and has all permissions that `key` asks for.
#[inline]
pub(crate) fn find(set: &Set, key: u64, stamp: u64) -> Option<Target> {
    for round in 0..READ_ATTEMPTS {
        let before = set[SEQUENCE].load(Ordering::Acquire);
        if before & 1 == 0 {
            let found = (0..WAYS).find(|way| is(set, *way, key, stamp)).map(|way| {
                let granted = set[KEYS + way].load(Ordering::Relaxed) & PERMISSIONS;
                (granted, target(set, way))
            });
            fence(Ordering::Acquire);
            if set[SEQUENCE].load(Ordering::Relaxed) == before {
                let (granted, target) = found?;
                let wanted = key & PERMISSIONS;
                return (granted & wanted == wanted).then_some(target);
            }
        }
        relax(round);
    }
    None
}

/// Enters a set as its only writer, if nobody else is in it: the sequence to leave with.
fn try_enter(set: &Set) -> Option<u64> {
    let before = set[SEQUENCE].load(Ordering::Relaxed);
    if before & 1 == 1 {
        return None;
    }
    set[SEQUENCE]
        .compare_exchange(before, before + 1, Ordering::Acquire, Ordering::Relaxed)
        .ok()?;
    // Orders the odd sequence before all changes (for readers), and before the look at the domain that decides
    // whether a fill is still good (for invalidations, which have the same fence the other way around).
    fence(Ordering::SeqCst);
    Some(before + 2)
}

fn leave(set: &Set, sequence: u64) {
    set[SEQUENCE].store(sequence, Ordering::Release);
}

/// Puts an entry into `set`, if nobody else writes to the set just now and `good`, asked inside, says that the entry
/// is still true. `live` tells whether the entry of another stamp can still be found by anyone.
///
/// `key` has the permissions of the entry. Not entering is always fine: the next access asks the model again.
pub(crate) fn fill(
    set: &Set,
    key: u64,
    stamp: u64,
    target: Target,
    good: impl FnOnce() -> bool,
    live: impl Fn(u64) -> bool,
) -> Option<Filled> {
    let sequence = try_enter(set)?;
    if !good() {
        leave(set, sequence);
        return None;
    }
    let same = (0..WAYS).find(|way| is(set, *way, key, stamp));
    let dead = || (0..WAYS).find(|way| !live(set[STAMPS + way].load(Ordering::Relaxed)));
    let (way, filled) = match same.or_else(dead) {
        Some(way) => (way, Filled::Free),
        // The sequence takes both ways in turn.
        None => (sequence as usize / 2 % WAYS, Filled::Evicted),
    };
    let shift = 32 * way;
    let others = set[REGIONS].load(Ordering::Relaxed) & !(u64::from(u32::MAX) << shift);
    set[KEYS + way].store(key, Ordering::Relaxed);
    set[STAMPS + way].store(stamp, Ordering::Relaxed);
    set[OFFSETS + way].store(target.delta, Ordering::Relaxed);
    set[REGIONS].store(
        others | u64::from(target.region) << shift,
        Ordering::Relaxed,
    );
    leave(set, sequence);
    Some(filled)
}

/// Removes the entry for `key` and `stamp`, whatever its permissions, if it is there.
///
/// The caller has a sequentially consistent fence between what makes fills bad and this.
pub(crate) fn remove(set: &Set, key: u64, stamp: u64) {
    let before = set[SEQUENCE].load(Ordering::Acquire);
    let there = (0..WAYS).any(|way| is(set, way, key, stamp));
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
    for way in 0..WAYS {
        if is(set, way, key, stamp) {
            set[STAMPS + way].store(0, Ordering::Relaxed);
        }
    }
    leave(set, sequence);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn to(region: u32, delta: u64) -> Target {
        Target { region, delta }
    }

    fn put(set: &Set, key: u64, stamp: u64, target: Target) -> Option<Filled> {
        fill(set, key, stamp, target, || true, |stamp| stamp != 0)
    }

    #[test]
    fn sets_are_cache_lines() {
        for entries in [1, 2, 3, 64, 100] {
            let table = Table::new(entries);
            let sets = entries.div_ceil(WAYS).next_power_of_two() as u64;
            for hash in 0..sets {
                let set = table.set(hash);
                assert_eq!(set.as_ptr().addr() % 64, 0);
                assert!(std::ptr::eq(set, table.set(hash + sets)));
            }
        }
        assert!(Table::new(0).is_empty());
        assert!(!Table::new(1).is_empty());
    }

    #[test]
    fn finds_what_was_put_and_only_for_its_stamp_and_permissions() {
        let table = Table::new(2);
        let set = table.set(0);
        let (key, read, write) = (0x123 << 4, 1, 2);
        assert_eq!(find(set, key, 16), None);
        assert_eq!(
            put(set, key | read, 16, to(u32::MAX, 5)),
            Some(Filled::Free)
        );
        assert_eq!(
            put(set, (key + 16) | read | write, 16, to(1, 6)),
            Some(Filled::Free)
        );
        assert_eq!(find(set, key | read, 16), Some(to(u32::MAX, 5)));
        assert_eq!(find(set, key | write, 16), None);
        assert_eq!(find(set, key | read, 32), None);
        assert_eq!(find(set, (key + 16) | read | write, 16), Some(to(1, 6)));
    }

    #[test]
    fn prefers_the_same_block_then_dead_entries_and_evicts_in_turn() {
        let table = Table::new(2);
        let set = table.set(0);
        put(set, 16, 1, to(0, 1));
        put(set, 32, 1, to(0, 2));
        assert_eq!(put(set, 16 | 3, 1, to(0, 3)), Some(Filled::Free));
        assert_eq!(find(set, 16 | 2, 1), Some(to(0, 3)));
        assert_eq!(find(set, 32, 1), Some(to(0, 2)));
        assert_eq!(put(set, 48, 1, to(0, 4)), Some(Filled::Evicted));
        assert_eq!(put(set, 64, 1, to(0, 5)), Some(Filled::Evicted));
        assert_eq!(find(set, 48, 1), Some(to(0, 4)));
        assert_eq!(find(set, 64, 1), Some(to(0, 5)));
        let only_new = |stamp| stamp == 2;
        assert_eq!(
            fill(set, 80, 2, to(0, 6), || true, only_new),
            Some(Filled::Free)
        );
        assert_eq!(
            fill(set, 96, 2, to(0, 7), || true, only_new),
            Some(Filled::Free)
        );
        assert_eq!(find(set, 80, 2), Some(to(0, 6)));
    }

    #[test]
    fn a_fill_found_bad_changes_nothing() {
        let table = Table::new(1);
        let set = table.set(0);
        assert_eq!(fill(set, 16, 1, to(0, 1), || false, |_| true), None);
        assert_eq!(find(set, 16, 1), None);
        assert_eq!(put(set, 16, 1, to(0, 1)), Some(Filled::Free));
    }

    #[test]
    fn removes_one_entry() {
        let table = Table::new(2);
        let set = table.set(0);
        put(set, 16 | 3, 1, to(0, 1));
        put(set, 32 | 3, 1, to(0, 2));
        remove(set, 16, 2);
        remove(set, 48, 1);
        assert_eq!(find(set, 16, 1), Some(to(0, 1)));
        remove(set, 16, 1);
        assert_eq!(find(set, 16, 1), None);
        assert_eq!(find(set, 32, 1), Some(to(0, 2)));
    }
}
