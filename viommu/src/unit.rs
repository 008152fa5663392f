//! The translation unit: endpoints, what they are attached to, and the cache between bus masters
//! and a model.

use std::fmt;
use std::sync::Arc;

use vm_memory::GuestMemoryMmap;

use crate::attachment::Attachment;
use crate::counters::Counters;
use crate::event::{Event, Observer, Scope};
use crate::fault::{DomainId, EndpointId};
use crate::grace::{GracePeriod, Registry};
use crate::host::{HostMemory, StableHostMemory};
use crate::iotlb::{CacheRestoreError, CacheState, Iotlb};
use crate::model::Model;
use crate::sync::{AtomicU64, Ordering};

/// How large a [`TranslationUnit`] is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnitConfig {
    /// Number of endpoints.
    pub endpoints: u32,
    /// Number of domains. Translations of a domain with a higher number work, but are never cached.
    pub domains: u32,
    /// What endpoints are attached to at first.
    pub initial: Attachment,
}

impl UnitConfig {
    /// Creates the configuration of a unit whose endpoints are blocked at first.
    pub const fn new(endpoints: u32, domains: u32) -> Self {
        Self {
            endpoints,
            domains,
            initial: Attachment::Blocked,
        }
    }

    /// Sets what endpoints are attached to at first.
    #[must_use]
    pub const fn with_initial(self, initial: Attachment) -> Self {
        Self { initial, ..self }
    }
}

/// The translation cache of a [`TranslationUnit`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CacheConfig {
    /// How many mappings it holds, whatever their sizes; rounded up to a power of two, and down to
    /// four million. Each takes 32 bytes of host memory once used. 0 for no cache at all.
    pub entries: usize,
    /// Whether [`TranslationUnit::counters`] counts.
    pub count: bool,
}

impl CacheConfig {
    /// The default of [`CacheConfig::entries`]: twice the 4 KiB pages of 256 MiB, so that those
    /// still fit when several domains meet in the same sets.
    pub const DEFAULT_ENTRIES: usize = 1 << 17;

    /// Sets how many mappings it holds.
    #[must_use]
    pub const fn with_entries(self, entries: usize) -> Self {
        Self { entries, ..self }
    }

    /// Sets whether it counts.
    #[must_use]
    pub const fn with_count(self, count: bool) -> Self {
        Self { count, ..self }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            entries: Self::DEFAULT_ENTRIES,
            count: true,
        }
    }
}

/// Endpoints, their attachments, and the translation cache in front of one [`Model`].
///
/// A model's device half owns it, tells it of attachments and invalidations, and hands out a
/// [`DmaSpace`] for each bus master.
///
/// # The guarantee
/// A model changes its mappings, invalidates (or attaches), begins a grace period, and tells its
/// guest that the invalidation is complete only when that [`GracePeriod`] is over. From then on no
/// access of any [`DmaSpace`] of this unit reads or writes memory through what was invalidated:
/// accesses that were under way have ended, and later ones ask the model anew. "Access" is whatever
/// happens under a pin: see [`DmaSpace`].
///
/// Nothing here blocks: invalidations and [`begin_grace_period`](Self::begin_grace_period) take no
/// lock that is ever held while something is waited for, and a grace period is polled. So a vCPU
/// that waits for the end of an invalidation cannot deadlock with a device that, pinned, waits for
/// that vCPU, as long as the wait is the guest's own (it polls a register, and goes on running) and
/// not the VMM's.
///
/// [`DmaSpace`]: crate::DmaSpace
pub struct TranslationUnit<M = GuestMemoryMmap<()>> {
    pub(crate) host: HostMemory<M>,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Whether the observer wants single accesses.
    pub(crate) wants_dma: bool,
    /// Whether counters count.
    pub(crate) count: bool,
    attachments: Box<[AtomicU64]>,
    pub(crate) cache: Iotlb,
    pub(crate) handles: Arc<Registry>,
}

impl<M> fmt::Debug for TranslationUnit<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranslationUnit")
            .field("endpoints", &self.attachments.len())
            .finish_non_exhaustive()
    }
}

impl<M: StableHostMemory> TranslationUnit<M> {
    /// Creates a unit in front of `model`, over the guest's `memory`, with a cache of default size.
    pub fn new(
        memory: Arc<M>,
        model: Arc<dyn Model>,
        config: &UnitConfig,
        observer: Option<Arc<dyn Observer>>,
    ) -> Arc<Self> {
        Self::with_cache(memory, model, config, &CacheConfig::default(), observer)
    }

    /// Creates a unit in front of `model`, over the guest's `memory`.
    pub fn with_cache(
        memory: Arc<M>,
        model: Arc<dyn Model>,
        config: &UnitConfig,
        cache: &CacheConfig,
        observer: Option<Arc<dyn Observer>>,
    ) -> Arc<Self> {
        let initial = config.initial.to_word();
        Arc::new(Self {
            host: HostMemory::new(memory),
            model,
            // Asked once: this is looked at on each access, where a virtual call would be felt.
            wants_dma: observer.as_ref().is_some_and(|o| o.wants_dma()),
            observer,
            count: cache.count,
            // One word for each endpoint, so that an access reads it without a lock.
            attachments: (0..config.endpoints)
                .map(|_| AtomicU64::new(initial))
                .collect(),
            cache: Iotlb::new(cache.entries, config.domains, cache.count),
            handles: Arc::default(),
        })
    }
}

impl<M> TranslationUnit<M> {
    /// Returns the attachment of `endpoint`; blocked if there is no such endpoint.
    #[inline]
    pub fn attachment(&self, endpoint: EndpointId) -> Attachment {
        // Acquire: whoever meets a domain also meets what the model set up before attaching it.
        match self.attachments.get(endpoint.0 as usize) {
            Some(word) => Attachment::from_word(word.load(Ordering::Acquire)),
            None => Attachment::Blocked,
        }
    }

    /// Attaches `endpoint`; accesses that began before may use the old attachment until the next
    /// grace period has ended. An endpoint that does not exist is ignored.
    pub fn attach(&self, endpoint: EndpointId, to: Attachment) {
        let Some(word) = self.attachments.get(endpoint.0 as usize) else {
            return;
        };
        // Release: what the model changed before is seen by whoever meets the new attachment.
        word.store(to.to_word(), Ordering::Release);
        self.emit(&Event::Attached { endpoint, to });
    }

    /// Forgets every translation, in constant time.
    ///
    /// This and the other invalidations are to be called after the model's mappings have changed:
    /// what the model answered before, and only that, is forgotten, or not learnt if it is just
    /// being learnt.
    pub fn invalidate_all(&self) {
        self.cache.flush_all();
        self.emit(&Event::Invalidated(Scope::All));
    }

    /// Forgets every translation of `domain`, in constant time.
    pub fn invalidate_domain(&self, domain: DomainId) {
        self.cache.flush(domain);
        self.emit(&Event::Invalidated(Scope::Domain(domain)));
    }

    /// Forgets every translation of `domain` for an IOVA in `first..=last`; it may forget more.
    ///
    /// The range is to have all that was unmapped: where a model's guest names one address of a
    /// block and means all of it, give the block, for the cache may hold the parts of one apart
    /// (where its memory is not of one piece).
    ///
    /// Takes time by the length of the range only up to a limit, beyond which it forgets the whole
    /// domain. Nothing is searched. A range that ends before it begins is empty.
    pub fn invalidate_range(&self, domain: DomainId, first: u64, last: u64) {
        self.cache.flush_range(domain, first, last);
        self.emit(&Event::Invalidated(Scope::Range(domain, first, last)));
    }

    /// Begins a grace period: it ends when every access that was under way now has ended. What was
    /// invalidated or detached before is then no longer used by anyone.
    pub fn begin_grace_period(&self) -> GracePeriod {
        self.handles.begin()
    }

    /// Returns the counts since the unit was created.
    pub fn counters(&self) -> Counters {
        Counters {
            // Counted by whoever invalidates; no handle is involved.
            flushes: self.cache.flushes.get(),
            range_invalidations: self.cache.range_invalidations.get(),
            ..self.handles.counters()
        }
    }

    /// Returns the cached translations and the counts, to be saved. No access may be under way.
    pub fn save_cache(&self) -> CacheState {
        let mut state = self.cache.save();
        state.counters = self.counters();
        state
    }

    /// Takes over what another unit of the same configuration had cached and counted, attachments
    /// and the model's mappings being restored already. No access may be under way. Whatever the
    /// state holds, no access through it leaves guest memory.
    ///
    /// # Errors
    /// If the state is of another version or of another size, or could not have come about; then
    /// nothing changes.
    pub fn restore_cache(&self, saved: &CacheState) -> Result<(), CacheRestoreError> {
        // Everything is checked before the first change.
        self.cache.check(saved)?;
        self.cache.restore(saved);
        self.handles.restore_counters(saved.counters);
        Ok(())
    }

    #[inline]
    pub(crate) fn emit(&self, event: &Event) {
        if let Some(observer) = &self.observer {
            observer.event(event);
        }
    }
}
