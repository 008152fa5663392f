//! The translation unit: endpoints, what they are attached to, and the cache between bus masters
//! and a model.

use std::fmt;
use std::sync::Arc;

use vm_memory::GuestMemoryMmap;

use crate::attachment::Attachment;
use crate::counters::Counters;
use crate::event::{Event, Observer, Scope};
use crate::fault::{DomainId, EndpointId};
use crate::grace::{GracePeriod, Registry, wait_until};
use crate::hit_check::{Checked, HitCheck};
use crate::host::{CurrentMemory, HostMemory, StableHostMemory};
use crate::iotlb::{CacheRestoreError, CacheState, Iotlb};
use crate::listener::{DmaListener, Listeners};
use crate::model::Model;
use crate::sync::{AtomicU64, Ordering};
use crate::users::Users;

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
    /// four million. Each takes 8 bytes of host memory once used. 0 for no cache at all.
    pub entries: usize,
    /// Whether [`TranslationUnit::counters`] counts.
    pub count: bool,
    /// Whether hits are compared with the model's mappings. Where faults can be injected, and this
    /// is not [`HitCheck::Off`], it is [`HitCheck::Answers`].
    pub check: HitCheck,
}

impl CacheConfig {
    /// The default of [`CacheConfig::entries`]: four times the 4 KiB pages of 256 MiB, so that
    /// those still fit when several domains meet in the same sets, or not all have neighbours.
    pub const DEFAULT_ENTRIES: usize = 1 << 18;

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

    /// Sets whether hits are compared with the model's mappings.
    #[must_use]
    pub const fn with_check(self, check: HitCheck) -> Self {
        Self { check, ..self }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            entries: Self::DEFAULT_ENTRIES,
            count: true,
            check: HitCheck::Off,
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
    /// What accesses look at first; without entries if hits are checked.
    pub(crate) cache: Iotlb,
    /// The cache that is asked on the way of a miss, if hits are checked.
    pub(crate) checked: Option<Checked>,
    pub(crate) handles: Arc<Registry>,
    pub(crate) users: Arc<Users>,
    listeners: Listeners,
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
        let memory = CurrentMemory::new(memory);
        Self::with_current(memory, model, config, cache, observer)
    }

    /// Creates a unit in front of `model`, over memory that the model reads too.
    pub(crate) fn with_current(
        memory: CurrentMemory<M>,
        model: Arc<dyn Model>,
        config: &UnitConfig,
        cache: &CacheConfig,
        observer: Option<Arc<dyn Observer>>,
    ) -> Arc<Self> {
        let initial = config.initial.to_word();
        let checked = Checked::new(cache, config.domains);
        let entries = if checked.is_some() { 0 } else { cache.entries };
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
            cache: Iotlb::new(entries, config.domains, cache.count),
            checked,
            handles: Arc::default(),
            users: Arc::default(),
            listeners: Listeners::default(),
        })
    }
}

impl<M: StableHostMemory> TranslationUnit<M> {
    /// Has the guest's memory be `memory` from now on: with regions added, which are there at once,
    /// or removed. Regions that both have, by the same reference, stay as they are, with what is
    /// cached of them; if one is gone, everything that is cached is forgotten.
    ///
    /// When the [`MemoryChange`] is over, no access reaches what was removed, whatever the model
    /// maps: it is where no memory is, and a bus error. The unit has given it back by then, and the
    /// host unmaps it with its last owner. Until then accesses that were under way may reach it.
    ///
    /// `GuestMemoryMmap` has `insert_region` and `remove_region` for it; a VMM that has a
    /// `GuestMemoryAtomic` replaces what is in that too, while it holds its lock. A
    /// [virtio-iommu](crate::virtio::VirtioIommu::set_memory) has a method of its own.
    pub fn set_memory(self: &Arc<Self>, memory: Arc<M>) -> MemoryChange<M> {
        let change = self.host.replace(
            memory,
            || self.caching().flush_all(),
            || self.begin_grace_period(),
        );
        let (number, removed) = change;
        if removed {
            self.forgotten(Scope::All);
        }
        MemoryChange {
            unit: Arc::clone(self),
            number,
        }
    }
}

/// A replacement of the guest's memory: see [`TranslationUnit::set_memory`].
///
/// Polled as a [`GracePeriod`] is. If it is dropped before it is over, what was removed is given
/// back with the next replacement, or with the unit.
#[must_use = "memory is removed only when this is over"]
pub struct MemoryChange<M = GuestMemoryMmap<()>> {
    unit: Arc<TranslationUnit<M>>,
    number: u64,
}

impl<M> fmt::Debug for MemoryChange<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryChange").finish_non_exhaustive()
    }
}

impl<M> MemoryChange<M> {
    /// Returns whether every access that was under way has ended; never waits. Once over, it stays
    /// so.
    pub fn is_over(&mut self) -> bool {
        self.unit.host.reclaim(self.number)
    }

    /// Waits until it is over, as [`GracePeriod::wait_until`] does.
    pub fn wait_until(&mut self, give_up: impl FnMut() -> bool) -> bool {
        wait_until(|| self.is_over(), give_up)
    }
}

impl<M> TranslationUnit<M> {
    /// Returns the guest's memory as it is now.
    pub fn memory(&self) -> Arc<M> {
        self.host.memory().get()
    }

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
        self.cache.change();
        self.listeners.attached(endpoint, to);
        self.emit(&Event::Attached { endpoint, to });
    }

    /// Forgets every translation, in constant time.
    ///
    /// This and the other invalidations are to be called after the model's mappings have changed:
    /// what the model answered before, and only that, is forgotten, or not learnt if it is just
    /// being learnt.
    pub fn invalidate_all(&self) {
        self.caching().flush_all();
        self.invalidated(None, 0, u64::MAX);
        self.forgotten(Scope::All);
    }

    /// Forgets every translation of `domain`, in constant time.
    pub fn invalidate_domain(&self, domain: DomainId) {
        self.caching().flush(domain);
        self.invalidated(Some(domain), 0, u64::MAX);
        self.forgotten(Scope::Domain(domain));
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
        self.caching().flush_range(domain, first, last);
        self.invalidated(Some(domain), first, last);
        self.forgotten(Scope::Range(domain, first, last));
    }

    /// Returns the cache that has entries, if any has.
    #[inline]
    pub(crate) fn caching(&self) -> &Iotlb {
        let checked = self.checked.as_ref();
        checked.and_then(Checked::cache).unwrap_or(&self.cache)
    }

    /// Tells the observer of an invalidation, and of the stale hits that end with it.
    fn forgotten(&self, scope: Scope) {
        self.emit(&Event::Invalidated(scope));
        let Some(checked) = &self.checked else {
            return;
        };
        for (endpoint, domain, iova) in checked.invalidated(scope) {
            self.emit(&Event::StaleEnded {
                endpoint,
                domain,
                iova,
            });
        }
    }

    fn invalidated(&self, domain: Option<DomainId>, first: u64, last: u64) {
        let range = (first, last);
        self.listeners
            .invalidated(domain, range, |endpoint| self.attachment(endpoint));
    }

    /// Adds a listener of an endpoint, which is told what it is attached to, now and whenever that
    /// changes, and each range that is invalidated of the domain that it is attached to, before the
    /// guest learns that the invalidation is complete. It is told of no mapping: it asks for a
    /// translation when one is needed ([`TranslationUnit::translate`](Self::translate)), as the
    /// kernel does on a vhost device's behalf, and forgets it when told. Its answers cannot be
    /// given to the guest: if it refuses to let the endpoint bypass, it is told that it is blocked.
    ///
    /// This is for models whose mappings are tables in guest memory. They call with their registers
    /// locked.
    pub fn add_listener(&self, endpoint: EndpointId, listener: Box<dyn DmaListener>) {
        self.listeners
            .add(endpoint, listener, || self.attachment(endpoint));
    }

    /// Removes the listeners of an endpoint, and returns them as they are.
    pub fn remove_listeners(&self, endpoint: EndpointId) -> Vec<Box<dyn DmaListener>> {
        self.listeners.remove(endpoint)
    }

    /// Begins a grace period: it ends when every access that was under way now has ended. What was
    /// invalidated or detached before is then no longer used by anyone.
    pub fn begin_grace_period(&self) -> GracePeriod {
        self.handles.begin()
    }

    /// Returns the counts since the unit was created.
    pub fn counters(&self) -> Counters {
        if !self.count {
            return Counters::default();
        }
        Counters {
            // Counted by whoever invalidates; no handle is involved.
            flushes: self.caching().flushes.get(),
            range_invalidations: self.caching().range_invalidations.get(),
            ..self.handles.counters()
        }
    }

    /// Returns the cached translations and the counts, to be saved. No access may be under way.
    pub fn save_cache(&self) -> CacheState {
        let mut state = self.caching().save(self.host.snapshot().regions());
        state.counters = self.counters();
        state
    }

    /// Takes over what another unit of the same configuration had cached and counted, attachments
    /// and the model's mappings being restored already; memory and domains may have been added
    /// since. No access may be under way. Whatever the state holds, no access through it leaves
    /// guest memory; but it is believed where in guest memory a translation leads.
    ///
    /// # Errors
    /// If the state is of another version or of another size, or could not have come about; then
    /// nothing changes.
    pub fn restore_cache(&self, saved: &CacheState) -> Result<(), CacheRestoreError> {
        // Everything is checked before the first change.
        let regions: Vec<_> = self.host.snapshot().regions().collect();
        // What keeps everything has another form: it begins anew.
        let begun = match &self.checked {
            Some(checked) if checked.cache().is_none() => &saved.without_entries(),
            _ => saved,
        };
        let numbers = self.caching().check(begun, &regions)?;
        self.caching().restore(begun, &numbers);
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
