//! Which pages of RAM have been written since their contents were last restored.
//!
//! Memory of a machine that is gone is used again by the next one from the same snapshot: only what
//! was written needs to be copied back. Whoever writes RAM says so to
//! [`CodePages`](crate::CodePages), which knows of both.

use std::sync::atomic::{AtomicU64, Ordering};

/// The pages of one RAM that nobody has written since [`restored`](Self::restored).
///
/// Until that is called for the first time no page counts as such, and nothing is noted. Numbers of
/// pages count from the start of RAM.
#[derive(Debug, Default)]
pub struct UnwrittenPages {
    /// A bit for each page; those of the last word may be more than there are pages.
    same: Box<[AtomicU64]>,
    /// A bit for each page that was written in any of the times between two restorations.
    ever: Box<[AtomicU64]>,
}

impl UnwrittenPages {
    /// Creates the map of a RAM of so many pages, which nobody restores yet.
    pub fn new(pages: usize) -> Self {
        let words = || (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self {
            same: words(),
            ever: words(),
        }
    }

    /// Returns whether page `number` is known to be as it was restored.
    #[inline]
    pub fn contains(&self, number: u32) -> bool {
        let word = self.same.get(number as usize / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & bit(number) != 0)
    }

    /// Notes that page `number` was, or is about to be, written.
    #[inline]
    pub fn remove(&self, number: u32) {
        // Most are written more than once, and a look is cheaper than an exchange.
        if self.contains(number) {
            self.same[number as usize / 64].fetch_and(!bit(number), Ordering::Relaxed);
        }
    }

    /// Returns the pages that were written, in order; all, if they were never restored. There may
    /// be some numbers beyond the last page.
    pub fn written(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.same).flat_map(|(index, word)| {
            let mut left = !word.load(Ordering::Relaxed);
            std::iter::from_fn(move || {
                let lowest = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(64 * index + lowest)
            })
        })
    }

    /// Notes that all pages are what they shall be: from here on those that are written are told
    /// apart. Returns how many were ever written since [`forget`](Self::forget).
    pub fn restored(&self) -> usize {
        let words = self.same.iter().zip(&self.ever);
        let counts = words.map(|(same, ever)| {
            let written = !same.swap(u64::MAX, Ordering::Relaxed);
            let all = ever.load(Ordering::Relaxed) | written;
            ever.store(all, Ordering::Relaxed);
            all.count_ones() as usize
        });
        counts.sum()
    }

    /// Notes that all pages are what they shall be, and forgets which ones were ever written.
    pub fn forget(&self) {
        for (same, ever) in self.same.iter().zip(&self.ever) {
            same.store(u64::MAX, Ordering::Relaxed);
            ever.store(0, Ordering::Relaxed);
        }
    }
}

const fn bit(number: u32) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pages: &UnwrittenPages) -> Vec<u32> {
        pages.written().filter(|number| *number < 130).collect()
    }

    #[test]
    fn nothing_counts_as_unwritten_before_it_was_restored() {
        let pages = UnwrittenPages::new(130);
        assert!((0..200).all(|number| !pages.contains(number)));
        pages.remove(7);
        assert_eq!(written(&pages).len(), 130);
        pages.forget();
        assert!((0..130).all(|number| pages.contains(number)));
    }

    #[test]
    fn what_was_written_is_told_once_and_counted_for_ever() {
        let pages = UnwrittenPages::new(130);
        pages.forget();
        assert_eq!(written(&pages), []);
        for number in [129, 0, 64, 64, 1000] {
            pages.remove(number);
        }
        assert_eq!(written(&pages), [0, 64, 129]);
        assert!(!pages.contains(64) && pages.contains(65) && !pages.contains(1000));
        assert_eq!(pages.restored(), 3);
        assert_eq!(written(&pages), []);
        pages.remove(1);
        pages.remove(64);
        assert_eq!(written(&pages), [1, 64]);
        assert_eq!(pages.restored(), 4);
        pages.forget();
        assert_eq!(pages.restored(), 0);
    }
}
