//! The translation buffer of an IOMMU with faults: it keeps what a model answered until it is told
//! to forget.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::Permissions;

use super::{Faults, Injector, Translation};
use crate::fault::{Access, DomainId, Requester};
use crate::model::{Mapping, Miss};

/// Most mappings that are kept: more than a guest uses between two flushes. When there is no more
/// room all are forgotten, which a translation buffer may do at any time.
const MAX_MAPPINGS: usize = 4096;

/// Mappings by their domain and last IOVA.
type Mappings = BTreeMap<(u32, u64), Mapping>;

/// What is kept, and since which epoch of the injector.
#[derive(Default)]
struct TranslatedMappings {
    epoch: u64,
    /// Counts what was forgotten: an answer from before is not kept.
    forgotten: u64,
    mappings: Mappings,
}

/// An injector and what the IOMMU has translated.
pub(crate) struct Injected {
    pub injector: Arc<dyn Injector>,
    kept: Mutex<TranslatedMappings>,
}

impl fmt::Debug for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injected").finish_non_exhaustive()
    }
}

impl Faults {
    /// Returns the injector with a buffer of its own, if faults can be injected.
    pub(crate) fn injected(&self) -> Option<Injected> {
        self.0.clone().map(Injected::new)
    }
}

impl Injected {
    pub fn new(injector: Arc<dyn Injector>) -> Self {
        Self {
            injector,
            kept: Mutex::default(),
        }
    }

    /// Locks the buffer, emptied first if a fault has begun since it was last used.
    fn kept(&self) -> MutexGuard<'_, TranslatedMappings> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.injector.epoch();
        if kept.epoch != epoch {
            kept.epoch = epoch;
            kept.mappings.clear();
        }
        kept
    }

    /// Translates an access: an injected fault comes first, then what is kept, then what `model`
    /// answers.
    ///
    /// # Errors
    /// The injected miss, or that of `model`.
    pub fn translate(
        &self,
        requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
        model: impl FnOnce() -> Result<Mapping, Miss>,
    ) -> Result<Mapping, Miss> {
        let at = Translation {
            requester,
            domain,
            iova,
            access: Access::of(wanted),
        };
        if let Some(miss) = self.injector.translation(&at) {
            return Err(miss);
        }
        if let Some(kept) = self.find(domain, iova, wanted) {
            return Ok(kept);
        }
        let before = self.kept().forgotten;
        // Not under the lock: the model takes locks of its own.
        let mapping = model()?;
        let mut kept = self.kept();
        // It may be what was just forgotten: good for this access, which began before.
        if kept.forgotten != before {
            return Ok(mapping);
        }
        let mappings = &mut kept.mappings;
        if mappings.len() >= MAX_MAPPINGS {
            mappings.clear();
        }
        // In place of an older one with the same end, which may have allowed less.
        mappings.insert((domain.0, mapping.last), mapping);
        Ok(mapping)
    }

    fn find(&self, DomainId(domain): DomainId, iova: u64, wanted: Permissions) -> Option<Mapping> {
        let kept = self.kept();
        let (_, mapping) = kept
            .mappings
            // By last IOVA: the first one that ends at `iova` or later. If that is not it, the
            // model is asked again.
            .range((domain, iova)..=(domain, u64::MAX))
            .next()
            .filter(|(_, mapping)| mapping.first <= iova)?;
        // If it allows too little the model is asked, whose mapping may have changed since.
        let allowed = mapping.permissions as u8 & wanted as u8 == wanted as u8;
        allowed.then_some(*mapping)
    }

    /// Forgets mappings of `domain` that contain an IOVA in `first..=last`.
    pub fn forget(&self, DomainId(domain): DomainId, first: u64, last: u64) {
        let mut kept = self.kept();
        kept.forgotten += 1;
        kept.mappings
            .retain(|(of, end), mapping| *of != domain || *end < first || mapping.first > last);
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        let mut kept = self.kept();
        kept.forgotten += 1;
        kept.mappings.clear();
    }
}
