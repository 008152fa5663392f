//! What the translation path counts.

use serde::{Deserialize, Serialize};

use crate::sync::{AtomicU64, Ordering};

/// What a [`TranslationUnit`](crate::TranslationUnit) has counted since it was made.
///
/// All are 0 unless [`CacheConfig::count`](crate::CacheConfig::count) is set. Each bus master's
/// handle counts for itself; where several threads use one handle, or invalidate, at once, some may
/// be missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counters {
    /// Lookups that the cache answered.
    pub hits: u64,
    /// Lookups in a domain that the model was asked for.
    pub misses: u64,
    /// Mappings that were put into the cache.
    pub fills: u64,
    /// Live entries that a fill displaced.
    pub evictions: u64,
    /// Invalidations of a domain or of everything, and of ranges too long to be looked up page by
    /// page.
    pub flushes: u64,
    /// Invalidations of a range.
    pub range_invalidations: u64,
    /// Accesses that were refused.
    pub faults: u64,
    /// Accesses that led to where no memory is.
    pub bus_errors: u64,
}

/// Declares the counts of one handle, so that one added later cannot be left out anywhere.
macro_rules! handle_counters {
    ($($name:ident),+) => {
        /// The counts of one handle.
        #[derive(Default)]
        pub(crate) struct HandleCounters {
            $(pub $name: Count,)+
        }

        impl HandleCounters {
            /// Begins anew.
            pub fn clear(&self) {
                $(self.$name.set(0);)+
            }

            /// Adds them to `total`.
            pub fn add_to(&self, total: &mut Counters) {
                $(total.$name = total.$name.saturating_add(self.$name.get());)+
            }
        }
    };
}

handle_counters!(hits, misses, fills, evictions, faults, bus_errors);

/// A count with one writer, which nothing is ordered by.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds one. This is no read-modify-write, which would cost as much as all the rest of a
    /// lookup.
    #[inline]
    pub fn add_one(&self) {
        self.add(1);
    }

    /// Adds `count`.
    #[inline]
    pub fn add(&self, count: u64) {
        // Two writers at once lose a count, which `Counters` allows; nothing is ordered by a count.
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(count);
        self.0.store(sum, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Continues from another count.
    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }
}
