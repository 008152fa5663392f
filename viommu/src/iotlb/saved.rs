//! What the cache holds, as plain data: a restored run is to meet the hits and misses that the
//! saved one would have.

use serde::{Deserialize, Serialize};

use super::table::{self, SetWords};
use super::{DOMAIN_SHIFT, GENERATION_SHIFT, Iotlb, MAX_DOMAINS};
use crate::sync::{AtomicU64, Ordering};

/// What a [`TranslationUnit`](crate::TranslationUnit) has cached, and what it has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheState {
    /// [`CacheState::VERSION`].
    pub version: u32,
    /// What was counted.
    pub counters: crate::Counters,
    /// For each domain its stamp and sizes, and how often something of it was invalidated.
    domains: Vec<(u64, u64)>,
    /// Generations below are dead.
    floor: u64,
    /// The next generation.
    next: u64,
    /// Sets that hold something, by number.
    sets: Vec<(u32, SetWords)>,
}

impl CacheState {
    /// The version that this crate writes and reads.
    pub const VERSION: u32 = 1;
}

/// Why a saved cache does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheRestoreError {
    /// Written by another version.
    #[error("the saved translation cache has version {0}, but this build reads version \
        {expected}", expected = CacheState::VERSION)]
    Version(u32),
    /// It is of a cache of another size.
    #[error("the saved translation cache is of another size")]
    Shape,
    /// A value that no cache can have.
    #[error("the saved translation cache is none that can be")]
    Impossible,
}

impl Iotlb {
    /// Returns the state of the cache, to be saved. Nothing may use the cache meanwhile.
    pub fn save(&self) -> CacheState {
        let get = |word: &AtomicU64| word.load(Ordering::Acquire);
        let domains = self.domains.iter();
        let sets = (0u32..).zip(self.table.sets());
        // Dead entries are found by nobody, and would only make the snapshot larger.
        let held = |set| table::words(set).filter(|words| self.is_live(words.stamp()));
        CacheState {
            version: CacheState::VERSION,
            // Filled in by the unit, which adds up its handles.
            counters: crate::Counters::default(),
            domains: domains
                .map(|domain| (get(&domain.word), get(&domain.invalidations)))
                .collect(),
            floor: get(&self.floor),
            next: get(&self.next),
            // A table that was never used is megabytes of untouched zeros: it is not even read.
            sets: if get(&self.used) == 0 {
                Vec::new()
            } else {
                sets.filter_map(|(number, set)| Some((number, held(set)?)))
                    .collect()
            },
        }
    }

    /// Checks whether `saved` can be taken over.
    ///
    /// # Errors
    /// If it is of another version or size, or has a value that no cache can have.
    pub fn check(&self, saved: &CacheState) -> Result<(), CacheRestoreError> {
        if saved.version != CacheState::VERSION {
            return Err(CacheRestoreError::Version(saved.version));
        }
        let sets = self.table.sets().len();
        let fits = |(number, _): &(u32, SetWords)| (*number as usize) < sets;
        if saved.domains.len() != self.domains.len() || !saved.sets.iter().all(fits) {
            return Err(CacheRestoreError::Shape);
        }
        // With another domain's number in its word a domain would find that one's entries.
        let number = |word: u64| (word >> DOMAIN_SHIFT) as usize & (MAX_DOMAINS - 1);
        // A generation that is still to come would be given out again, with these entries under it.
        let own = |(index, (word, _)): (usize, &(u64, u64))| {
            *word == 0 || number(*word) == index && word >> GENERATION_SHIFT < saved.next
        };
        // It counts up by one a flush, and must not wrap in the machine's life.
        if saved.next > u64::MAX / 2 {
            return Err(CacheRestoreError::Impossible);
        }
        // Above `next`, the floor would make new stamps dead, and nothing could be cached.
        if saved.floor > saved.next || !saved.domains.iter().enumerate().all(own) {
            return Err(CacheRestoreError::Impossible);
        }
        Ok(())
    }

    /// Restores what another cache of the same size held, if [`Iotlb::check`] agrees. Nothing may
    /// use the cache meanwhile.
    pub fn restore(&self, saved: &CacheState) {
        let CacheState {
            version: _,
            counters,
            domains,
            floor,
            next,
            sets,
        } = saved;
        // Most often it is new: then its memory need not even be looked at.
        if self
            .used
            .swap(u64::from(!sets.is_empty()), Ordering::AcqRel)
            != 0
        {
            self.table.sets().iter().for_each(table::clear);
        }
        for (mine, (word, invalidations)) in self.domains.iter().zip(domains) {
            mine.word.store(*word, Ordering::Release);
            mine.invalidations.store(*invalidations, Ordering::Release);
        }
        self.floor.store(*floor, Ordering::Release);
        self.next.store(*next, Ordering::Release);
        for (number, words) in sets {
            if let Some(set) = self.table.sets().get(*number as usize) {
                // The sequence stays as it is: it is even, as nobody is in the set.
                table::set_words(set, words);
            }
        }
        self.flushes.set(counters.flushes);
        self.range_invalidations.set(counters.range_invalidations);
    }
}
