//! Hits of the translation cache compared with the model's mappings.
//!
//! A unit that checks has no entries in the cache that accesses look at first. So every access
//! takes the path of a miss, on which the real cache stands: a unit that does not check has neither
//! a branch nor a word more on the path of a hit.

mod kept;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::Scope;
use crate::fault::{Access, DomainId, EndpointId, SourceId};
use crate::host::{Map, RegionExtent};
use crate::iotlb::{BLOCK_BITS, Iotlb};
use crate::model::{Mapping, Miss};
use crate::unit::CacheConfig;
pub(crate) use kept::KeptMappings;

/// Whether hits of a translation cache are compared with what the model's mappings are now.
///
/// Hardware need not find a mapping gone before the guest invalidates it, so that a hit which
/// differs is no mistake by itself; what follows tells. It is one if the access led elsewhere than
/// the mapping that has taken the place of the old one ([`StaleHit::now`]): the invalidation that
/// belongs between the two did not come. It is one, too, if [`Event::StaleEnded`] does not follow
/// in the time in which the guest's kernel promises to invalidate.
///
/// [`Event::StaleEnded`]: crate::Event::StaleEnded
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HitCheck {
    /// They are not.
    #[default]
    Off,
    /// They are; accesses meet what they would meet without.
    On,
    /// They are, and translations are kept as long as the architectures let hardware keep them: no
    /// other takes their place, and an invalidation takes what it names, nothing else. So the
    /// consequences of one that is missing do not depend on what else is cached.
    KeepAll,
    /// Every answer of the model is compared, and none is cached: for models that keep what they
    /// have translated themselves, as those do in which [faults](crate::inject::Faults) can be
    /// injected. What a fault has changed differs, too; whoever injects it knows when.
    Answers,
}

/// An access whose translation the cache had, and the model's mappings no longer have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleHit {
    /// The port of who accesses.
    pub endpoint: EndpointId,
    /// Who accesses, if the VMM named it.
    pub source: Option<SourceId>,
    /// The domain.
    pub domain: DomainId,
    /// The address.
    pub iova: u64,
    /// What is wanted.
    pub access: Access,
    /// The guest physical address that the access led to.
    pub address: u64,
    /// The guest physical address that the mappings lead to now, or why an access now would be
    /// refused.
    pub now: Result<u64, Miss>,
}

/// Pages by which stale hits are told apart.
const PAGE_BITS: u32 = BLOCK_BITS[0];

/// Most pages of stale hits whose invalidation is waited for; hits of others are not told.
const MAX_NOTED: usize = 1024;

/// The translation cache of a unit that checks.
pub(crate) struct Checked {
    store: Store,
    noted: Mutex<Noted>,
}

/// Where translations are kept.
enum Store {
    /// As ever.
    Cache(Iotlb),
    /// Where everything is.
    Kept(KeptMappings),
    /// In the model.
    Model,
}

/// What was told of stale hits.
#[derive(Default)]
struct Noted {
    /// The pages of those that were not invalidated since, and whose accesses they were.
    pages: BTreeMap<(u32, u64), EndpointId>,
    /// Counts invalidations.
    invalidations: u64,
}

impl Checked {
    /// Creates the cache of a unit with so many domains, if it checks.
    pub fn new(config: &CacheConfig, domains: u32) -> Option<Self> {
        let store = match config.check {
            HitCheck::Off => return None,
            HitCheck::On => Store::Cache(Iotlb::new(config.entries, domains, config.count)),
            HitCheck::KeepAll => Store::Kept(KeptMappings::default()),
            HitCheck::Answers => Store::Model,
        };
        Some(Self {
            store,
            noted: Mutex::default(),
        })
    }

    /// Returns the ordinary cache, if translations are kept as ever.
    pub fn cache(&self) -> Option<&Iotlb> {
        match &self.store {
            Store::Cache(cache) => Some(cache),
            Store::Kept(_) | Store::Model => None,
        }
    }

    /// Returns a count for [`note`](Self::note), to be taken before the model is asked, if it is
    /// its answers that are compared.
    pub fn before_answer(&self) -> Option<u64> {
        matches!(self.store, Store::Model).then(|| self.noted().invalidations)
    }

    /// Returns where `iova` leads by what is cached, if that allows `wanted` (as bits).
    pub fn lookup<M>(
        &self,
        map: &Map<M>,
        domain: DomainId,
        iova: u64,
        wanted: u8,
    ) -> Option<RegionExtent> {
        match &self.store {
            Store::Cache(cache) => cache.lookup(domain, iova, wanted),
            Store::Kept(kept) => place(map, &kept.find(domain, iova, wanted)?, iova),
            Store::Model => None,
        }
    }

    /// Returns what is kept, where everything is.
    pub fn kept(&self) -> Option<&KeptMappings> {
        match &self.store {
            Store::Kept(kept) => Some(kept),
            Store::Cache(_) | Store::Model => None,
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        // An entry is added or removed whole.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a stale hit, and has it told, if what it used `is_used` still and there is room. If it
    /// is an answer that the model gave after `before`, nothing may have been invalidated since.
    pub fn note(
        &self,
        hit: &StaleHit,
        before: Option<u64>,
        is_used: impl FnOnce() -> bool,
        tell: impl FnOnce(),
    ) {
        // Held to the end: an invalidation that comes after the look finds the note, and its end is
        // told after the hit.
        let mut noted = self.noted();
        let key = (hit.domain.0, hit.iova >> PAGE_BITS);
        let has_room = noted.pages.len() < MAX_NOTED || noted.pages.contains_key(&key);
        let is_new = before.is_none_or(|before| before == noted.invalidations);
        if has_room && is_new && is_used() {
            noted.pages.insert(key, hit.endpoint);
            tell();
        }
    }

    /// Forgets what was invalidated, and returns the stale hits that ended thereby: whose they
    /// were, the domain and the first IOVA of the page.
    pub fn invalidated(&self, scope: Scope) -> Vec<(EndpointId, DomainId, u64)> {
        if let Store::Kept(kept) = &self.store {
            kept.forget(scope);
        }
        let mut ended = Vec::new();
        let mut noted = self.noted();
        noted.invalidations = noted.invalidations.wrapping_add(1);
        noted.pages.retain(|&(domain, page), endpoint| {
            let first = page << PAGE_BITS;
            let last = first | ((1 << PAGE_BITS) - 1);
            let over = covers(scope, DomainId(domain), (first, last));
            if over {
                ended.push((*endpoint, DomainId(domain), first));
            }
            !over
        });
        ended
    }
}

/// Returns whether `scope` has any IOVA of a range of `domain`.
fn covers(scope: Scope, domain: DomainId, (first, last): (u64, u64)) -> bool {
    match scope {
        Scope::All => true,
        Scope::Domain(of) => of == domain,
        Scope::Range(of, begin, end) => of == domain && begin <= last && first <= end,
    }
}

/// Returns where `iova`, which is in `mapping`, leads.
pub(crate) fn place<M>(map: &Map<M>, mapping: &Mapping, iova: u64) -> Option<RegionExtent> {
    let address = mapping
        .address
        .checked_add(iova.checked_sub(mapping.first)?)?;
    let mut place = map.find(address)?;
    place.room = mapping.last.checked_sub(iova)?.min(place.room - 1) + 1;
    Some(place)
}
