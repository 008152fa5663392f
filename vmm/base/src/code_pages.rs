//! Which words of RAM are instructions that cores have predecoded.
//!
//! Instruction fetches see memory as it is: whoever writes RAM says so ([`CodePages::written`],
//! [`CodePages::written_elsewhere`]), and what was made from the old contents is dropped before
//! another instruction runs. So predecoded code is a function of memory alone, and no guest can
//! tell how much of it there is.
//!
//! Writers who cannot say so are other processes ([`Untold`]). What they write is seen when the
//! guest has its instruction caches invalidated, as the architecture asks of it
//! ([`CodePages::fetch_anew`]).
//!
//! It costs next to nothing: cores tag pages with code in their software TLBs, so that only stores
//! to these come here, and a write to a page without code is one look at one bit.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::{Pins, UnwrittenPages};

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// A bit for each word of a page.
pub type Words = [u64; PAGE / 4 / 64];

/// The pages of one RAM that hold predecoded instructions.
///
/// Numbers of pages count from the start of RAM.
#[derive(Debug, Default)]
pub struct CodePages {
    /// A bit for each page that holds code.
    holds: Box<[AtomicU64]>,
    /// Those that nobody has written since they were restored, who learns it from the same calls.
    unwritten: UnwrittenPages,
    shared: Mutex<Shared>,
    untold: OnceLock<Box<dyn Untold>>,
}

/// Writers of RAM who do not say what they write.
pub trait Untold: Send + Sync {
    /// Returns whether the guest may know of a write that it did not know of at the last call.
    fn may_have_written(&self) -> bool;

    /// Reads page `number` as it is now. What is beyond RAM reads as anything.
    fn read(&self, number: u32, page: &mut [u8; PAGE]);
}

impl std::fmt::Debug for dyn Untold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Untold")
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// Of pages that hold code, what that was made from, if there are writers who do not say so.
    /// What is not code in them may be anything.
    copies: HashMap<u32, Box<[u8; PAGE]>>,
    /// Of pages that hold code, a bit for each word that is part of an instruction.
    words: HashMap<u32, Words>,
    cores: Vec<Weak<CodeNews>>,
}

/// What a core has yet to learn of the pages of its RAM.
#[derive(Debug)]
pub struct CodeNews {
    pins: Arc<Pins>,
    pages: Mutex<News>,
}

/// Pages, by their numbers.
#[derive(Debug, Default)]
pub struct News {
    /// What they held as code was overwritten.
    pub written: HashSet<u32>,
    /// They hold code now.
    pub code: HashSet<u32>,
}

impl CodeNews {
    /// Takes what there is.
    pub fn take(&self) -> News {
        std::mem::take(&mut *lock(&self.pages))
    }

    fn tell(&self, which: fn(&mut News) -> &mut HashSet<u32>, number: u32) {
        // Before the pin is driven: a core that takes its request must find the page.
        which(&mut lock(&self.pages)).insert(number);
        self.pins.set_code(true);
    }
}

/// Nothing panics while it holds one of these locks, so what they guard is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CodePages {
    /// Creates the map of a RAM of `len` bytes.
    pub fn new(len: usize) -> Self {
        let words = len.div_ceil(PAGE).div_ceil(64);
        Self {
            holds: (0..words).map(|_| AtomicU64::new(0)).collect(),
            unwritten: UnwrittenPages::new(len.div_ceil(PAGE)),
            shared: Mutex::default(),
            untold: OnceLock::new(),
        }
    }

    /// Adds a core, which `pins` tells that there is news for it.
    pub fn add_core(&self, pins: Arc<Pins>) -> Arc<CodeNews> {
        let news = Arc::new(CodeNews {
            pins,
            pages: Mutex::default(),
        });
        let mut shared = lock(&self.shared);
        // Memory may outlive the machine that had it: cores that are gone are forgotten here, or
        // the list would grow with each machine that takes the memory over.
        shared.cores.retain(|core| core.strong_count() > 0);
        shared.cores.push(Arc::downgrade(&news));
        news
    }

    /// Sets who writes without saying so, once, before any code is predecoded.
    pub fn set_untold(&self, writers: Box<dyn Untold>) {
        // A second time is ignored: the writers are who they are.
        let _ = self.untold.set(writers);
    }

    /// Has code that was overwritten without a word be dropped, before another block runs: the
    /// guest has its instruction caches invalidated.
    pub fn fetch_anew(&self) {
        // Asked first: what is written while pages are compared is asked about next time.
        let Some(writers) = self.untold.get().filter(|one| one.may_have_written()) else {
            return;
        };
        let mut page = [0; PAGE];
        let mut shared = lock(&self.shared);
        let Shared { copies, words, .. } = &mut *shared;
        let mut changed = Vec::new();
        for (number, copy) in copies {
            writers.read(*number, &mut page);
            if **copy == page {
                continue;
            }
            if words
                .get(number)
                .is_none_or(|words| differ(copy, &page, words))
            {
                changed.push(*number);
            } else {
                // Data beside the code: from now on it compares at once.
                **copy = page;
            }
        }
        drop(shared);
        for number in changed {
            self.overwritten(number, 0..PAGE);
        }
    }

    /// Returns the word with the bit of page `number`; none beyond the map.
    #[inline]
    fn holds_of(&self, number: u32) -> Option<&AtomicU64> {
        self.holds.get(number as usize / 64)
    }

    /// Returns whether page `number` holds code.
    #[inline]
    pub fn hold(&self, number: u32) -> bool {
        // What lies beyond the map is taken for code: slow, and never stale.
        self.holds_of(number)
            .is_none_or(|word| word.load(Ordering::Relaxed) & bit(number) != 0)
    }

    /// Returns whether stores to page `number` must be told: it holds code, or nobody has written
    /// it since it was restored.
    #[inline]
    pub fn want_writes(&self, number: u32) -> bool {
        self.hold(number) || self.unwritten.contains(number)
    }

    /// Returns the pages that nobody has written since they were restored, if they ever were.
    pub const fn unwritten(&self) -> &UnwrittenPages {
        &self.unwritten
    }

    /// Notes that the core that `me` belongs to has predecoded `code`, which it found from byte
    /// `start` of page `number` on. Returns whether the page held no code before; the other cores
    /// are told then.
    pub fn cover(&self, number: u32, start: usize, code: &[u8], me: &Arc<CodeNews>) -> bool {
        let end = start.saturating_add(code.len()).min(PAGE);
        let mut words = Words::default();
        mark(&mut words, start..end);
        if self.untold.get().is_some() {
            let mut shared = lock(&self.shared);
            let fresh = || Box::new([0; PAGE]);
            let copy = shared.copies.entry(number).or_insert_with(fresh);
            if let Some(place) = copy.get_mut(start..end) {
                place.copy_from_slice(&code[..end - start]);
            }
        }
        self.cover_words(number, &words, me)
    }

    /// Does what [`cover`](Self::cover) does for words of page `number`.
    pub fn cover_words(&self, number: u32, code: &Words, me: &Arc<CodeNews>) -> bool {
        let mut shared = lock(&self.shared);
        let words = shared.words.entry(number).or_default();
        for (all, new) in words.iter_mut().zip(code) {
            *all |= new;
        }
        // A page beyond the map is never fresh: `hold` takes it for code anyway.
        let fresh = self
            .holds_of(number)
            .is_some_and(|word| word.fetch_or(bit(number), Ordering::Relaxed) & bit(number) == 0);
        if fresh {
            let others = shared.cores.iter().filter_map(Weak::upgrade);
            others
                // Whoever calls tags the page in its own TLB at once.
                .filter(|core| !Arc::ptr_eq(core, me))
                .for_each(|core| core.tell(|news| &mut news.code, number));
        }
        drop(shared);
        // Pairs with the one in `written_elsewhere`: of a device that writes and a core that
        // predecodes at the same time, the device sees the bit or the core sees what it wrote.
        fence(Ordering::SeqCst);
        fresh
    }

    /// Tells that a core wrote `len` bytes (at most a page) from `offset` of page `number` on.
    /// Returns whether code was overwritten, which all cores learn before their next block.
    #[inline]
    pub fn written(&self, number: u32, offset: u32, len: u32) -> bool {
        self.unwritten.remove(number);
        // Without a fence: one thread runs all cores, and sets the bits as well.
        self.hold(number) && {
            let start = offset as usize;
            self.overwritten(number, start..start + len as usize)
        }
    }

    /// Tells that somebody who is no core wrote `len` bytes from byte `start` of RAM on. Any thread
    /// may.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the map has fewer than 2^32 pages"
    )]
    pub fn written_elsewhere(&self, start: usize, len: usize) {
        if len == 0 {
            return;
        }
        // Pairs with the one in `cover`: the memory is written before the bits are looked at.
        fence(Ordering::SeqCst);
        // Saturates, so that no caller makes it wrap; as `len` is not
        // zero, `end - 1` does not underflow.
        let end = start.saturating_add(len);
        // The map bounds the loop: beyond it there is no RAM.
        let last = ((end - 1) / PAGE).min((self.holds.len() * 64).saturating_sub(1));
        for page in start / PAGE..=last {
            let number = page as u32;
            self.unwritten.remove(number);
            if self.hold(number) {
                let begin = page * PAGE;
                // No underflow: `page` is at most that of the last byte, so it begins before `end`.
                let bytes = start.saturating_sub(begin)..(end - begin).min(PAGE);
                self.overwritten(number, bytes);
            }
        }
    }

    #[cold]
    fn overwritten(&self, number: u32, bytes: Range<usize>) -> bool {
        let mut shared = lock(&self.shared);
        // By words, as pages have data beside code, such as literal
        // pools: a write there drops nothing.
        let hit = shared.words.get(&number).is_some_and(|words| {
            words_of(&bytes).any(|word| words[word / 64] & 1 << (word % 64) != 0)
        });
        if hit {
            // All of the page's code goes: what is left of it is soon made again.
            shared.words.remove(&number);
            shared.copies.remove(&number);
            if let Some(word) = self.holds_of(number) {
                word.fetch_and(!bit(number), Ordering::Relaxed);
            }
            let cores = shared.cores.iter().filter_map(Weak::upgrade);
            cores.for_each(|core| core.tell(|news| &mut news.written, number));
        }
        hit
    }
}

/// Adds the words of a page that these bytes are in.
pub fn mark(words: &mut Words, bytes: Range<usize>) {
    // Rounded outwards: an instruction of T32 may be half a word, and a word too many costs no more
    // than a needless drop.
    for word in words_of(&bytes) {
        words[word / 64] |= 1 << (word % 64);
    }
}

/// Returns whether one of these words is another one in the two pages.
fn differ(one: &[u8; PAGE], other: &[u8; PAGE], words: &Words) -> bool {
    let (one, other) = (one.as_chunks::<4>().0, other.as_chunks::<4>().0);
    let mut both = one.iter().zip(other).enumerate();
    both.any(|(word, (one, other))| one != other && words[word / 64] & 1 << (word % 64) != 0)
}

/// Returns the words of a page that these bytes are in.
fn words_of(bytes: &Range<usize>) -> Range<usize> {
    bytes.start / 4..bytes.end.div_ceil(4).min(PAGE / 4)
}

const fn bit(number: u32) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> (CodePages, Arc<CodeNews>, Arc<CodeNews>) {
        let pages = CodePages::new(3 * PAGE);
        let [one, other] = [0, 1].map(|_| pages.add_core(Arc::default()));
        (pages, one, other)
    }

    #[test]
    fn only_what_is_code_counts_as_overwritten_and_all_cores_learn_of_it() {
        let (pages, one, other) = pages();
        assert!(!pages.written(1, 0, 4096));
        assert!(pages.cover(1, 8, &[0; 4], &one));
        assert!(!pages.cover(1, 14, &[0; 4], &other));
        assert_eq!(other.take().code, HashSet::from([1]));
        assert!(!one.pins.any());
        for (offset, len) in [(0, 8), (20, 4076)] {
            assert!(!pages.written(1, offset, len), "{offset}");
        }
        assert!(pages.written(1, 19, 1));
        for core in [&one, &other] {
            assert!(core.pins.any());
            assert_eq!(core.take().written, HashSet::from([1]));
        }
        assert!(!pages.hold(1) && !pages.written(1, 8, 4));
    }

    #[test]
    fn a_write_of_a_device_reaches_every_page_that_it_touches_and_none_beside() {
        let (pages, one, _) = pages();
        for number in 0..3 {
            pages.cover(number, 0, &[0; 4096], &one);
        }
        pages.written_elsewhere(4095, 2);
        assert_eq!(one.take().written, HashSet::from([0, 1]));
        pages.written_elsewhere(4096, 4096);
        pages.written_elsewhere(8192, 0);
        assert!(pages.hold(2));
        pages.written_elsewhere(5000, usize::MAX);
        assert!(!pages.hold(2));
        pages.written_elsewhere(usize::MAX, usize::MAX);
    }

    #[test]
    fn a_core_that_is_gone_is_forgotten() {
        let (pages, one, other) = pages();
        drop(other);
        let _third = pages.add_core(Arc::default());
        assert_eq!(lock(&pages.shared).cores.len(), 2);
        drop(one);
        let _fourth = pages.add_core(Arc::default());
        assert_eq!(lock(&pages.shared).cores.len(), 2);
    }

    #[test]
    fn what_is_beyond_the_map_is_never_trusted() {
        let (pages, one, _) = pages();
        assert!(pages.hold(1000));
        assert!(!pages.cover(1000, 0, &[0; 4], &one));
        assert!(pages.written(1000, 0, 4));
    }

    /// Whether pages were written, and what is in them.
    type Ram = (bool, HashMap<u32, [u8; PAGE]>);

    /// RAM that somebody writes who does not say so.
    #[derive(Clone, Default)]
    struct Elsewhere(Arc<Mutex<Ram>>);

    impl Elsewhere {
        fn write(&self, number: u32, at: usize, byte: u8) {
            let mut ram = lock(&self.0);
            ram.0 = true;
            ram.1.entry(number).or_insert([0; PAGE])[at] = byte;
        }
    }

    impl Untold for Elsewhere {
        fn may_have_written(&self) -> bool {
            std::mem::take(&mut lock(&self.0).0)
        }

        fn read(&self, number: u32, page: &mut [u8; PAGE]) {
            *page = lock(&self.0).1.get(&number).copied().unwrap_or([0; PAGE]);
        }
    }

    #[test]
    fn what_nobody_told_is_found_when_it_is_looked_for_and_by_words() {
        let (pages, one, _) = pages();
        let ram = Elsewhere::default();
        pages.set_untold(Box::new(ram.clone()));
        ram.write(1, 0, 7);
        pages.cover(1, 8, &[0; 4], &one);
        pages.cover(2, 0, &[5; 4], &one);
        // Data beside code is no reason, and what holds other bytes than it was made from is.
        pages.fetch_anew();
        assert_eq!(one.take().written, HashSet::from([2]));
        ram.write(1, 12, 1);
        pages.fetch_anew();
        assert!(pages.hold(1));
        ram.write(1, 11, 1);
        assert!(one.take().written.is_empty(), "nobody has looked yet");
        pages.fetch_anew();
        assert_eq!(one.take().written, HashSet::from([1]));
        // Made again from what is there, it stays.
        pages.cover(1, 8, &[0, 0, 0, 1], &one);
        ram.write(2, 0, 1);
        pages.fetch_anew();
        assert!(one.take().written.is_empty());
    }

    #[test]
    fn nobody_looks_unless_somebody_may_have_written() {
        let (pages, one, _) = pages();
        let ram = Elsewhere::default();
        pages.set_untold(Box::new(ram.clone()));
        pages.cover(1, 8, &[1; 4], &one);
        pages.fetch_anew();
        assert!(one.take().written.is_empty());
        ram.write(0, 0, 0);
        pages.fetch_anew();
        assert_eq!(one.take().written, HashSet::from([1]));
    }
}
