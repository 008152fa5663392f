//! What the cache holds, as plain data: a restored run is to meet the hits and misses that the
//! saved one would have.

use serde::{Deserialize, Serialize};

use super::table::{self, SetWords, Target};
use super::{BLOCK_BITS, DOMAIN_SHIFT, GENERATION_SHIFT, Iotlb, MAX_DOMAINS, SIZES, hash, other};
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
    /// Sets that hold something, by ascending number.
    sets: Vec<(u32, SetWords)>,
    /// First address and length of each region of guest memory by the number that entries name it
    /// by; a length of 0 is none. Since version 2.
    #[serde(default)]
    regions: Vec<(u64, u64)>,
}

impl CacheState {
    /// The version that this crate writes.
    pub const VERSION: u32 = 2;
    /// The oldest version that this crate reads. Of version 1, whose entries had another form, it
    /// takes over all but these: what they knew is asked of the model again.
    pub const OLDEST: u32 = 1;

    /// Returns the same of a cache that has forgotten everything.
    pub(crate) fn without_entries(&self) -> Self {
        Self {
            sets: Vec::new(),
            ..self.clone()
        }
    }

    /// Returns the sets that can be taken over.
    fn readable_sets(&self) -> &[(u32, SetWords)] {
        if self.version == Self::VERSION {
            &self.sets
        } else {
            &[]
        }
    }
}

/// What [`Iotlb::check`] found: the number that each saved region has now.
pub(crate) struct Renumbering(Vec<Option<u8>>);

/// Why a saved cache does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheRestoreError {
    /// Written by another version.
    #[error("the saved translation cache has version {0}, but this build reads versions \
        {oldest} to {newest}", oldest = CacheState::OLDEST, newest = CacheState::VERSION)]
    Version(u32),
    /// It is of a cache of another size.
    #[error("the saved translation cache is of another size")]
    Shape,
    /// A value that no cache can have.
    #[error("the saved translation cache is none that can be")]
    Impossible,
}

impl Iotlb {
    /// Returns the state of the cache, to be saved, of which entries name these `regions`. Nothing
    /// may use the cache meanwhile.
    pub fn save(&self, regions: impl Iterator<Item = (u64, u64)>) -> CacheState {
        let get = |word: &AtomicU64| word.load(Ordering::Acquire);
        let domains = self.domains.iter();
        let domains = domains.map(|domain| (get(&domain.word), get(&domain.invalidations)));
        let mut domains: Vec<_> = domains.collect();
        // Those at the end that were never used need not be said: there may be thousands.
        let used = domains.iter().rposition(|domain| *domain != (0, 0));
        domains.truncate(used.map_or(0, |last| last + 1));
        let sets = (0u32..).zip(self.table.sets());
        // Dead entries are found by nobody, and would only make the snapshot larger.
        let held = |set| table::words(set).filter(|words| self.is_live(words.stamp()));
        CacheState {
            version: CacheState::VERSION,
            // Filled in by the unit, which adds up its handles.
            counters: crate::Counters::default(),
            domains,
            regions: regions.collect(),
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

    /// Checks whether `saved` can be taken over by a unit whose memory has these `regions`, by
    /// number.
    ///
    /// A cache of fewer domains fits: endpoints were added since. Each entry must be where it would
    /// be looked for, and lead into memory.
    ///
    /// # Errors
    /// If it is of another version or size, or has a value that no cache can have.
    pub fn check(
        &self,
        saved: &CacheState,
        regions: &[(u64, u64)],
    ) -> Result<Renumbering, CacheRestoreError> {
        if !(CacheState::OLDEST..=CacheState::VERSION).contains(&saved.version) {
            return Err(CacheRestoreError::Version(saved.version));
        }
        if saved.domains.len() > self.domains.len() {
            return Err(CacheRestoreError::Shape);
        }
        // With another domain's number in its word a domain would find that one's entries; a
        // generation that is still to come would be given out again, with these entries under it.
        let own = |(index, (word, _)): (usize, &(u64, u64))| {
            *word == 0 || domain_of(*word) == index && word >> GENERATION_SHIFT < saved.next
        };
        // It counts up by one a flush, and must not wrap in the machine's life. Above it, the floor
        // would make new stamps dead, and nothing could be cached.
        if saved.next > u64::MAX / 2
            || saved.floor > saved.next
            || !saved.domains.iter().enumerate().all(own)
        {
            return Err(CacheRestoreError::Impossible);
        }
        let sets = saved.readable_sets();
        if !sets.is_sorted_by(|one, other| one.0 < other.0) {
            return Err(CacheRestoreError::Impossible);
        }
        let named = regions_of(saved, regions);
        for (number, words) in sets {
            if *number as usize >= self.table.sets().len() {
                return Err(CacheRestoreError::Shape);
            }
            self.check_set(saved, *number, words, &named)?;
        }
        Ok(Renumbering(now(&named, regions)))
    }

    /// Checks a set: see [`Iotlb::check`].
    fn check_set(
        &self,
        saved: &CacheState,
        number: u32,
        words: &SetWords,
        regions: &[(u64, u64)],
    ) -> Result<(), CacheRestoreError> {
        let impossible = Err(CacheRestoreError::Impossible);
        let domain = domain_of(words.stamp());
        let Some((word, _)) = saved.domains.get(domain) else {
            return impossible;
        };
        let live = word & !SIZES == words.stamp() && word >> GENERATION_SHIFT >= saved.floor;
        // The inverse of `owner`.
        let (size, cluster) = ((words.key() & 0b11) as usize, words.key() >> 2);
        let bits = BLOCK_BITS[size] + table::CLUSTER_BITS;
        if !live || word & 1 << size == 0 || cluster > u64::MAX >> bits {
            return impossible;
        }
        let hash = hash(cluster << bits, size, self.domains[domain].salt);
        let mask = self.table.sets().len() as u64 - 1;
        let found_by = |hash: u64| hash & mask == u64::from(number);
        if !found_by(hash) && !found_by(other(hash)) {
            return impossible;
        }
        let block_size = 1 << BLOCK_BITS[size];
        let leads_into_memory = |(_, target): (usize, Target)| {
            let offset = u64::from(target.page) << BLOCK_BITS[0];
            let region = regions.get(usize::from(target.region));
            let room = region.and_then(|(_, len)| len.checked_sub(offset));
            room.is_some_and(|room| room >= block_size)
        };
        if words.blocks().next().is_some() && words.blocks().all(leads_into_memory) {
            Ok(())
        } else {
            impossible
        }
    }

    /// Restores what another cache of the same size held, if [`Iotlb::check`] agrees. Nothing may
    /// use the cache meanwhile.
    pub fn restore(&self, saved: &CacheState, Renumbering(numbers): &Renumbering) {
        let CacheState {
            version: _,
            counters,
            domains,
            floor,
            next,
            sets: _,
            regions: _,
        } = saved;
        let sets = saved.readable_sets();
        // Most often it is new: then its memory need not even be looked at.
        if self
            .used
            .swap(u64::from(!sets.is_empty()), Ordering::AcqRel)
            != 0
        {
            self.table.sets().iter().for_each(table::clear);
        }
        // Those that the saved cache did not have yet have nothing.
        let domains = domains.iter().chain(std::iter::repeat(&(0, 0)));
        for (mine, (word, invalidations)) in self.domains.iter().zip(domains) {
            mine.word.store(*word, Ordering::Release);
            mine.invalidations.store(*invalidations, Ordering::Release);
        }
        self.floor.store(*floor, Ordering::Release);
        self.next.store(*next, Ordering::Release);
        for (number, words) in sets {
            if let Some(set) = self.table.sets().get(*number as usize) {
                let number = |saved: u8| numbers.get(usize::from(saved)).copied().flatten();
                let words = words.renumbered(number);
                // The sequence stays as it is: it is even, as nobody is in the set.
                table::set_words(set, &words);
            }
        }
        self.change();
        self.flushes.set(counters.flushes);
        self.range_invalidations.set(counters.range_invalidations);
    }
}

/// Returns the number of the domain in a stamp or a domain's word.
fn domain_of(word: u64) -> usize {
    (word >> DOMAIN_SHIFT) as usize & (MAX_DOMAINS - 1)
}

/// Returns the regions that `saved` names by number, of those that there are now; others are empty.
fn regions_of(saved: &CacheState, mine: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let saved = saved.regions.iter();
    let known = saved.map(|region| {
        if mine.contains(region) {
            *region
        } else {
            (0, 0)
        }
    });
    known.collect()
}

/// Returns the number that each of these regions has now, if an entry has room for it.
fn now(named: &[(u64, u64)], mine: &[(u64, u64)]) -> Vec<Option<u8>> {
    let position = |region: &(u64, u64)| mine.iter().position(|other| other == region);
    let number = |region| u8::try_from(position(region)?).ok();
    named.iter().map(number).collect()
}
