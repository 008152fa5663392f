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
    /// The ordinary cache, if translations are kept as ever.
    pub cache: Option<Iotlb>,
    /// What is kept if everything is.
    kept: KeptMappings,
    /// The pages of stale hits that were not invalidated since, and whose accesses they were.
    noted: Mutex<BTreeMap<(u32, u64), EndpointId>>,
}

impl Checked {
    /// Creates the cache of a unit with so many domains, if it checks.
    pub fn new(config: &CacheConfig, domains: u32) -> Option<Self> {
        let cache = match config.check {
            HitCheck::Off => return None,
            HitCheck::On => Some(Iotlb::new(config.entries, domains, config.count)),
            HitCheck::KeepAll => None,
        };
        Some(Self {
            cache,
            kept: KeptMappings::default(),
            noted: Mutex::default(),
        })
    }

    /// Returns where `iova` leads by what is cached, if that allows `wanted` (as bits).
    pub fn lookup<M>(
        &self,
        map: &Map<M>,
        domain: DomainId,
        iova: u64,
        wanted: u8,
    ) -> Option<RegionExtent> {
        match &self.cache {
            Some(cache) => cache.lookup(domain, iova, wanted),
            None => {
                let mapping = self.kept.find(domain, iova, wanted)?;
                place(map, &mapping, iova)
            }
        }
    }

    /// Returns what is kept, where everything is.
    pub fn kept(&self) -> Option<&KeptMappings> {
        self.cache.is_none().then_some(&self.kept)
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<(u32, u64), EndpointId>> {
        // An entry is added or removed whole.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a stale hit, and has it told, if what it used `is_used` still and there is room for it.
    pub fn note(&self, hit: &StaleHit, is_used: impl FnOnce() -> bool, tell: impl FnOnce()) {
        // Held to the end: an invalidation that comes after the look finds the note, and its end is
        // told after the hit.
        let mut noted = self.noted();
        let key = (hit.domain.0, hit.iova >> PAGE_BITS);
        let has_room = noted.len() < MAX_NOTED || noted.contains_key(&key);
        if has_room && is_used() {
            noted.insert(key, hit.endpoint);
            tell();
        }
    }

    /// Forgets what was invalidated, and returns the stale hits that ended thereby: whose they
    /// were, the domain and the first IOVA of the page.
    pub fn invalidated(&self, scope: Scope) -> Vec<(EndpointId, DomainId, u64)> {
        if self.cache.is_none() {
            self.kept.forget(scope);
        }
        let mut ended = Vec::new();
        self.noted().retain(|&(domain, page), endpoint| {
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
