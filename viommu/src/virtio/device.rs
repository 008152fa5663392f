//! The device.

use std::fmt;
use std::sync::Arc;

use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::batch::Batch;
use super::config::{
    ConfigError, EndpointConfig, Observers, ReportsWaiting, RequestObserver, VirtioIommuConfig,
};
use super::domains::{Domains, SPARE_SLOTS};
use super::events::ReportCounters;
use super::listeners::Listening;
use super::shared::Shared;
use super::spec::{CONFIG_SIZE, config, feature};
use crate::dma::DmaSpace;
use crate::fault::{DomainId, EndpointId};
use crate::host::StableHostMemory;
use crate::model::Model;
use crate::unit::{TranslationUnit, UnitConfig};

/// A virtio-iommu device, without its transport.
///
/// See the [module](super) for how a transport uses it.
pub struct VirtioIommu<M = GuestMemoryMmap<()>> {
    pub(super) config: VirtioIommuConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) unit: Arc<TranslationUnit<M>>,
    pub(super) observer: Option<Arc<dyn RequestObserver>>,
    pub(super) batch: Batch,
    pub(super) listeners: Vec<Listening>,
}

impl<M> fmt::Debug for VirtioIommu<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioIommu")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Tells what the driver calls the domains that [events](crate::Event) name.
///
/// An observer of the translation path may ask it at any time.
#[derive(Clone)]
pub struct DomainNames(Arc<Shared>);

impl DomainNames {
    /// Returns the driver's number of a domain of the translation path; none if there is no such
    /// domain any more.
    pub fn number(&self, domain: DomainId) -> Option<u32> {
        self.0.domains().number(domain)
    }
}

impl fmt::Debug for DomainNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainNames").finish_non_exhaustive()
    }
}

/// Features were accepted that are not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the driver accepts features {accepted:#x}, but the virtio-iommu offers only {offered:#x}")]
pub struct FeatureError {
    /// What is offered.
    pub offered: u64,
    /// What was accepted.
    pub accepted: u64,
}

impl<M: StableHostMemory> VirtioIommu<M> {
    /// Creates a device out of reset over the guest's `memory`.
    ///
    /// # Errors
    /// If there is no such device.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`check` bounds the number of endpoints"
    )]
    pub fn new(
        memory: Arc<M>,
        config: VirtioIommuConfig,
        waiting: Box<dyn ReportsWaiting>,
        observers: Observers,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        check_reserved_against_ram(&config, &config.endpoints, &*memory)?;
        let domains = Domains::new(&config);
        let unit = UnitConfig {
            // Places for those that are added later, so that an access finds them without a lock.
            endpoints: config.max_endpoints as u32,
            // The translation path knows domains by slot: the driver's numbers are sparse.
            domains: (config.max_endpoints + SPARE_SLOTS) as u32,
            initial: domains.unattached(),
        };
        let shared = Shared::new(domains, waiting, config.faults.injected());
        let shared = Arc::new(shared);
        let model: Arc<dyn Model> = Arc::clone(&shared) as Arc<dyn Model>;
        let Observers {
            requests,
            translation,
        } = observers;
        let cache = config.faults.cache(&config.cache);
        let unit = TranslationUnit::with_cache(memory, model, &unit, &cache, translation);
        Ok(Self {
            config,
            shared,
            unit,
            observer: requests,
            batch: Batch::default(),
            listeners: Vec::new(),
        })
    }
}

/// Checks that no reserved region of `endpoints` is RAM where endpoints can bypass the device: they
/// would reach what is there.
pub(super) fn check_reserved_against_ram(
    config: &VirtioIommuConfig,
    endpoints: &[EndpointConfig],
    memory: &impl GuestMemoryBackend,
) -> Result<(), ConfigError> {
    // Without bypass all accesses are translated, and MAP refuses reserved regions.
    if config.features() & (feature::BYPASS | feature::BYPASS_CONFIG) == 0 {
        return Ok(());
    }
    for endpoint in endpoints {
        for reserved in &endpoint.reserved {
            let mut regions = memory.iter();
            if regions.any(|region| {
                region.start_addr().0 <= reserved.last && reserved.first <= region.last_addr().0
            }) {
                return Err(ConfigError::ReservedRam(endpoint.id));
            }
        }
    }
    Ok(())
}

impl<M> VirtioIommu<M> {
    /// Returns the memory that the endpoint of this number sees; `None` if there is no such
    /// endpoint.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "endpoints have different 32-bit numbers"
    )]
    pub fn space(&self, endpoint: u32) -> Option<DmaSpace<M>> {
        let position = self.shared.domains().endpoint(endpoint)?;
        Some(self.unit.space(EndpointId(position as u32)))
    }

    /// Returns the translation path: for its counters.
    pub fn unit(&self) -> &Arc<TranslationUnit<M>> {
        &self.unit
    }

    /// Returns its configuration, with the endpoints that there are now.
    pub fn config(&self) -> &VirtioIommuConfig {
        &self.config
    }

    /// Returns the device-specific features that are offered: see [`feature`].
    pub fn offered_features(&self) -> u64 {
        self.config.features()
    }

    /// Returns the configuration space.
    pub fn config_space(&self) -> [u8; CONFIG_SIZE] {
        self.config.space(self.shared.domains().bypass)
    }

    /// Writes to the configuration space, as the driver does. The only field that it can change is
    /// `bypass`, to 0 or 1, when BYPASS_CONFIG is negotiated; all else is ignored. The change
    /// concerns accesses that begin after it.
    pub fn write_config(&mut self, offset: u64, data: &[u8]) {
        // A write may begin before the field and still cover it, as one of a whole word does.
        let Some(at) = (config::BYPASS as u64).checked_sub(offset) else {
            return;
        };
        // The field must never show anything but 0 or 1.
        let Some(value @ (0 | 1)) = usize::try_from(at).ok().and_then(|at| data.get(at)) else {
            return;
        };
        let mut domains = self.shared.domains_mut();
        if domains.features & feature::BYPASS_CONFIG != 0 {
            domains.bypass = *value == 1;
            // `attach_all` takes the lock itself.
            drop(domains);
            self.attach_all();
        }
    }

    /// Takes note that the driver has accepted these features; bits from 24 on, which belong to the
    /// transport, are ignored.
    ///
    /// To be called when the transport accepts FEATURES_OK, or at the latest with DRIVER_OK.
    ///
    /// # Errors
    /// If a feature is not offered. Then nothing changes.
    pub fn activate(&mut self, features: u64) -> Result<(), FeatureError> {
        let accepted = features & 0xff_ffff;
        let offered = self.offered_features();
        if accepted & !offered != 0 {
            return Err(FeatureError { offered, accepted });
        }
        self.shared.domains_mut().features = accepted;
        // With BYPASS accepted, endpoints that are attached to nothing are not blocked any more.
        self.attach_all();
        Ok(())
    }

    /// Resets the device: everything is detached, all domains are gone, and nobody is answered any
    /// more. The field `bypass` stays as it is.
    ///
    /// Accesses that are under way may go on for a moment; the next batch of requests waits for
    /// them.
    // Answers first: a chain of the old queue must not be written any more.
    pub fn reset(&mut self) {
        self.batch.answers.clear();
        self.batch.pending = false;
        let (given_up, gone) = self.shared.domains_mut().reset();
        // First what endpoints meet, then what is cached, then the grace period that covers both.
        self.attach_all();
        for slot in &given_up {
            self.batch.invalidate(*slot, 0, u64::MAX);
        }
        // Given out again only after the grace period: an access under way may still ask by these
        // numbers.
        self.batch.freed.extend(given_up);
        self.batch.changed = true;
        self.batch.seal(&self.unit, self.shared.injected.as_ref());
        // A driver that takes over must not get reports on accesses from before its time.
        self.shared.reports().waiting.clear();
        // Last and without a lock, as freeing many mappings takes time.
        drop(gone);
    }

    /// Resets the device with the whole machine: as [`VirtioIommu::reset`], but the field `bypass`
    /// becomes what it was at first.
    pub fn system_reset(&mut self) {
        // First: the reset attaches endpoints by this field.
        self.shared.domains_mut().bypass = self.config.bypass_config.unwrap_or(false);
        self.reset();
    }

    /// Returns what happened to fault reports.
    pub fn report_counters(&self) -> ReportCounters {
        self.shared.reports().counters
    }

    /// Returns the number of fault reports that wait for buffers.
    pub fn waiting_reports(&self) -> usize {
        self.shared.reports().waiting.len()
    }

    /// Returns the number of mappings in all domains.
    pub fn mappings(&self) -> usize {
        self.shared.domains().mapping_count()
    }

    /// Returns the numbers of domains that exist, in ascending order.
    pub fn domains(&self) -> Vec<u32> {
        let domains = self.shared.domains();
        domains.domains().map(|domain| domain.id).collect()
    }

    /// Returns the number of the domain that an endpoint is attached to.
    pub fn domain_of(&self, endpoint: u32) -> Option<u32> {
        let domains = self.shared.domains();
        let endpoint = domains.endpoints.get(domains.endpoint(endpoint)?)?;
        domains.domain_of(endpoint).map(|domain| domain.id)
    }

    /// Returns a handle that tells the driver's numbers of domains.
    pub fn domain_names(&self) -> DomainNames {
        DomainNames(Arc::clone(&self.shared))
    }

    /// Brings the attachments of all endpoints to what they should be.
    pub(super) fn attach_all(&mut self) {
        // Before the change, as they are of requests.
        self.lead_unattached();
        self.commit_listeners();
        let domains = self.shared.domains();
        let count = domains.endpoints.positions();
        let wanted: Vec<_> = (0..count).map(|n| domains.attachment_of(n)).collect();
        // Attaching tells observers, who may ask for names of domains.
        drop(domains);
        for (n, to) in (0..).zip(wanted) {
            if self.unit.attachment(EndpointId(n)) != to {
                self.unit.attach(EndpointId(n), to);
            }
        }
    }
}
