//! Translations that nothing but an invalidation takes away.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::Scope;
use crate::fault::DomainId;
use crate::model::Mapping;

/// Most mappings that are kept, 4 GiB of single pages; what is asked of the model when there is no
/// more room is not kept.
const MAX_KEPT: usize = 1 << 20;

/// Mappings that were used, by domain and last IOVA.
#[derive(Default)]
pub(crate) struct KeptMappings(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    mappings: BTreeMap<(u32, u64), Mapping>,
    /// Counts invalidations: an answer from before one is not kept.
    invalidations: u64,
}

impl KeptMappings {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A mapping is added or removed whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the mapping that contains `iova` and allows `wanted` (as bits), if one is kept.
    pub fn find(&self, DomainId(domain): DomainId, iova: u64, wanted: u8) -> Option<Mapping> {
        let kept = self.kept();
        // A block and pages of it may both be kept, from different times: any of them may be used,
        // as in hardware.
        let (_, mapping) = kept
            .mappings
            .range((domain, iova)..=(domain, u64::MAX))
            .next()?;
        let good = mapping.first <= iova && mapping.permissions as u8 & wanted == wanted;
        good.then_some(*mapping)
    }

    /// Returns a count, to be taken before the model is asked for what is to be kept.
    pub fn ticket(&self) -> u64 {
        self.kept().invalidations
    }

    /// Keeps a mapping, unless anything was invalidated since `ticket` was taken; returns whether
    /// it did.
    pub fn keep(&self, ticket: u64, DomainId(domain): DomainId, mapping: Mapping) -> bool {
        let mut kept = self.kept();
        if kept.invalidations != ticket || kept.mappings.len() >= MAX_KEPT {
            return false;
        }
        kept.mappings.insert((domain, mapping.last), mapping);
        true
    }

    /// Forgets the mappings of which `scope` has any IOVA.
    pub fn forget(&self, scope: Scope) {
        let mut kept = self.kept();
        kept.invalidations += 1;
        match scope {
            Scope::All => kept.mappings.clear(),
            Scope::Domain(DomainId(domain)) => {
                kept.mappings.retain(|(of, _), _| *of != domain);
            }
            Scope::Range(DomainId(domain), first, last) => {
                // They may overlap, so that one that begins by `last` can end anywhere.
                let hit = |(_, mapping): &(&(u32, u64), &Mapping)| mapping.first <= last;
                let range = kept.mappings.range((domain, first)..=(domain, u64::MAX));
                let gone: Vec<_> = range.filter(hit).map(|(key, _)| *key).collect();
                for key in gone {
                    kept.mappings.remove(&key);
                }
            }
        }
    }
}
