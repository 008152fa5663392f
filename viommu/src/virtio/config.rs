//! How a virtio-iommu device is put together, and what it is connected to.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::requests::Request;
use super::spec::{CONFIG_SIZE, Status, config, feature, property};
use crate::event::Observer;
use crate::inject::Faults;
use crate::unit::CacheConfig;

/// Most endpoints of one device at a time, if the configuration does not say otherwise: with the
/// domains that they may need, a quarter of what the translation cache can tell apart.
pub const DEFAULT_MAX_ENDPOINTS: usize = 4096;

/// The greatest [`VirtioIommuConfig::max_endpoints`]: 128 MiB of host memory.
pub const MOST_ENDPOINTS: usize = 1 << 24;

/// Most mappings of all domains together, if the configuration does not say otherwise: 4 GiB in
/// single pages, for about 100 MiB of host memory. A MAP beyond is answered with NOMEM.
pub const DEFAULT_MAX_MAPPINGS: usize = 1 << 20;

/// The greatest `probe_size` that can be configured: what a driver must allocate for each endpoint.
pub const MAX_PROBE_SIZE: u32 = 4096;

/// What a reserved region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedKind {
    /// Not to be used.
    Reserved,
    /// The doorbell of message-signalled interrupts.
    Msi,
}

/// IOVAs that cannot be mapped for an endpoint (property RESV_MEM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedRegion {
    /// First IOVA.
    pub first: u64,
    /// Last IOVA.
    pub last: u64,
    /// What for.
    pub kind: ReservedKind,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// Its number, as the driver knows it: from `iommus = <&viommu N>`, or a PCI requester's.
    pub id: u32,
    /// Its reserved regions.
    pub reserved: Vec<ReservedRegion>,
}

impl EndpointConfig {
    /// Creates an endpoint without reserved regions.
    pub fn new(id: u32) -> Self {
        Self {
            id,
            reserved: Vec::new(),
        }
    }

    /// Sets its reserved regions.
    #[must_use]
    pub fn with_reserved(self, reserved: Vec<ReservedRegion>) -> Self {
        Self { reserved, ..self }
    }
}

/// A virtio-iommu device. Each feature is offered if its part is there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VirtioIommuConfig {
    /// The endpoints. The translation path counts them in this order; one that is
    /// [added](super::VirtioIommu::add_endpoint) later gets the lowest number that is free.
    pub endpoints: Vec<EndpointConfig>,
    /// Most endpoints at a time: each takes 8 bytes of host memory from the start. Translations of
    /// more than 16320 domains at a time work, but are not all cached.
    pub max_endpoints: usize,
    /// Sizes of pages; the lowest bit is the granule, others are hints for the driver.
    pub page_size_mask: u64,
    /// INPUT_RANGE: first and last IOVA that can be mapped.
    pub input_range: Option<(u64, u64)>,
    /// DOMAIN_RANGE: first and last domain number.
    pub domain_range: Option<(u32, u32)>,
    /// MAP_UNMAP. Without it there are only bypass domains.
    pub map_unmap: bool,
    /// BYPASS, which newer devices should not offer.
    pub bypass: bool,
    /// BYPASS_CONFIG: what the field `bypass` is at first.
    pub bypass_config: Option<bool>,
    /// PROBE: the size of the list of properties.
    pub probe_size: Option<u32>,
    /// MMIO.
    pub mmio: bool,
    /// Most mappings of all domains together.
    pub max_mappings: usize,
    /// The translation cache. There is none where faults can be injected.
    pub cache: CacheConfig,
    /// Faults that are injected.
    pub faults: Faults,
}

impl VirtioIommuConfig {
    /// Creates the configuration of a device with every feature that newer devices should have, a
    /// granule of 4 KiB, and these endpoints, which are not translated until they are attached.
    pub fn new(endpoints: impl IntoIterator<Item = EndpointConfig>) -> Self {
        Self {
            endpoints: endpoints.into_iter().collect(),
            max_endpoints: DEFAULT_MAX_ENDPOINTS,
            page_size_mask: !0xfff,
            input_range: Some((0, u64::MAX)),
            domain_range: Some((0, u32::MAX)),
            map_unmap: true,
            // For old drivers only: newer devices should offer BYPASS_CONFIG instead.
            bypass: false,
            bypass_config: Some(true),
            // Room for 21 reserved regions.
            probe_size: Some(512),
            mmio: true,
            max_mappings: DEFAULT_MAX_MAPPINGS,
            cache: CacheConfig::default(),
            faults: Faults::NONE,
        }
    }

    /// Sets the translation cache.
    #[must_use]
    pub fn with_cache(self, cache: CacheConfig) -> Self {
        Self { cache, ..self }
    }

    /// Sets the faults that are injected.
    #[cfg(feature = "inject")]
    #[must_use]
    pub fn with_faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    /// Sets how many mappings there can be, in all domains together.
    #[must_use]
    pub fn with_max_mappings(self, max_mappings: usize) -> Self {
        Self {
            max_mappings,
            ..self
        }
    }

    /// Sets what endpoints that are attached to nothing do at first, with BYPASS_CONFIG offered;
    /// `None` offers it not.
    #[must_use]
    pub fn with_bypass_config(self, bypass_config: Option<bool>) -> Self {
        Self {
            bypass_config,
            ..self
        }
    }

    /// Returns the features that are offered: see [`feature`].
    pub fn features(&self) -> u64 {
        let offer = |offered, bit| if offered { bit } else { 0 };
        offer(self.input_range.is_some(), feature::INPUT_RANGE)
            | offer(self.domain_range.is_some(), feature::DOMAIN_RANGE)
            | offer(self.map_unmap, feature::MAP_UNMAP)
            | offer(self.bypass, feature::BYPASS)
            | offer(self.bypass_config.is_some(), feature::BYPASS_CONFIG)
            | offer(self.probe_size.is_some(), feature::PROBE)
            | offer(self.mmio, feature::MMIO)
    }

    /// Returns the configuration space. Fields of features that are not offered are 0.
    pub(super) fn space(&self, bypass: bool) -> [u8; CONFIG_SIZE] {
        let mut space = [0; CONFIG_SIZE];
        let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
        put(config::PAGE_SIZE_MASK, &self.page_size_mask.to_le_bytes());
        if let Some((first, last)) = self.input_range {
            put(config::INPUT_RANGE, &first.to_le_bytes());
            put(config::INPUT_RANGE + 8, &last.to_le_bytes());
        }
        if let Some((first, last)) = self.domain_range {
            put(config::DOMAIN_RANGE, &first.to_le_bytes());
            put(config::DOMAIN_RANGE + 4, &last.to_le_bytes());
        }
        put(
            config::PROBE_SIZE,
            &self.probe_size.unwrap_or(0).to_le_bytes(),
        );
        put(config::BYPASS, &[u8::from(bypass)]);
        space
    }

    /// Checks all that can be checked without the guest's memory.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        // Without a lowest bit there is no granule.
        if self.page_size_mask == 0 {
            return Err(ConfigError::PageSizes);
        }
        if self.bypass && self.bypass_config.is_some() {
            return Err(ConfigError::Bypass);
        }
        let empty = |what| Err(ConfigError::Empty { what });
        if self.input_range.is_some_and(|(first, last)| first > last) {
            return empty("range of IOVAs");
        }
        if self.domain_range.is_some_and(|(first, last)| first > last) {
            return empty("range of domains");
        }
        if self.probe_size.is_some_and(|size| size > MAX_PROBE_SIZE) {
            return Err(ConfigError::ProbeSize);
        }
        if self.max_endpoints > MOST_ENDPOINTS {
            return Err(ConfigError::MaxEndpoints(self.max_endpoints));
        }
        if self.endpoints.len() > self.max_endpoints {
            return Err(ConfigError::Endpoints {
                count: self.endpoints.len(),
                max_endpoints: self.max_endpoints,
            });
        }
        let mut ids = BTreeSet::new();
        for endpoint in &self.endpoints {
            if !ids.insert(endpoint.id) {
                return Err(ConfigError::Twice(endpoint.id));
            }
            self.check_reserved(endpoint)?;
        }
        Ok(())
    }

    /// Checks the reserved regions of an endpoint.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn check_reserved(&self, endpoint: &EndpointConfig) -> Result<(), ConfigError> {
        let EndpointConfig { id, reserved } = endpoint;
        let id = *id;
        let mut sorted = reserved.clone();
        sorted.sort_by_key(|region| region.first);
        if sorted.iter().any(|region| region.first > region.last) {
            return Err(ConfigError::Empty {
                what: "reserved region",
            });
        }
        // In ascending order, if any two overlap, then so do two neighbours.
        if sorted.windows(2).any(|two| two[0].last >= two[1].first) {
            return Err(ConfigError::ReservedOverlap(id));
        }
        let msi = |region: &&ReservedRegion| region.kind == ReservedKind::Msi;
        if reserved.iter().filter(msi).count() > 1 {
            return Err(ConfigError::TwoMsi(id));
        }
        // Without PROBE nothing is listed, and the limit is only one of size.
        let room = self.probe_size.unwrap_or(MAX_PROBE_SIZE) as usize;
        if reserved.len() * property::RESV_MEM_SIZE > room {
            return Err(ConfigError::ReservedCount { id, room });
        }
        Ok(())
    }
}

/// Why there is no such device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No size of page.
    #[error("a virtio-iommu needs at least one page size")]
    PageSizes,
    /// Both ways of bypassing.
    #[error("a virtio-iommu cannot offer both BYPASS and BYPASS_CONFIG")]
    Bypass,
    /// A range that ends before it begins.
    #[error("a {what} of a virtio-iommu ends before it begins")]
    Empty {
        /// Which.
        what: &'static str,
    },
    /// `probe_size` is too large.
    #[error("the probe size of a virtio-iommu can be at most {MAX_PROBE_SIZE} bytes")]
    ProbeSize,
    /// Too many endpoints.
    #[error(
        "this virtio-iommu cannot have {count} endpoints: its limit (`max_endpoints`) is {max_endpoints}"
    )]
    Endpoints {
        /// How many were asked for.
        count: usize,
        /// The limit of the configuration.
        max_endpoints: usize,
    },
    /// The limit itself is too high.
    #[error("the limit of endpoints (`max_endpoints`) cannot be {0}: {MOST_ENDPOINTS} is the most")]
    MaxEndpoints(usize),
    /// Two endpoints of one number.
    #[error("a virtio-iommu cannot have two endpoints with the number {0}")]
    Twice(u32),
    /// Reserved regions of one endpoint overlap.
    #[error("reserved regions of endpoint {0} overlap")]
    ReservedOverlap(u32),
    /// Two doorbells.
    #[error("endpoint {0} cannot have more than one MSI region")]
    TwoMsi(u32),
    /// Reserved regions do not fit in the list of properties.
    #[error("the reserved regions of endpoint {id} do not fit in {room} bytes of properties")]
    ReservedCount {
        /// The endpoint.
        id: u32,
        /// The size of the list.
        room: usize,
    },
    /// A reserved region is RAM for an endpoint that is not translated.
    #[error(
        "endpoint {0} can bypass the virtio-iommu, so its reserved regions cannot overlap guest RAM"
    )]
    ReservedRam(u32),
}

/// Learns that fault reports are waiting for
/// [`VirtioIommu::process_events`](super::VirtioIommu::process_events).
///
/// Called on the thread of the device whose access faulted, which may be pinned: it must hand over
/// (write to an eventfd, say) and not serve the queue itself, nor wait.
pub trait ReportsWaiting: Send + Sync {
    /// Learns that a report was added.
    fn reports_waiting(&self);
}

impl<F: Fn() + Send + Sync> ReportsWaiting for F {
    fn reports_waiting(&self) {
        self();
    }
}

/// A request that was executed; its answer reaches the driver when the batch that it is part of is
/// complete.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The device-readable bytes, as far as any request goes.
    pub readable: &'a [u8],
    /// The number of device-writable bytes.
    pub writable: u64,
    /// What the readable ones say, if anything.
    pub request: Option<Request>,
    /// What the answer has before its tail: the properties that PROBE lists, filled up with zeros.
    pub properties: &'a [u8],
    /// The answer's status; none if nothing is written.
    pub status: Option<Status>,
    /// The used length.
    pub written: u32,
}

/// Sees the requests of the driver.
///
/// Called on the thread that processes requests, with no lock held.
pub trait RequestObserver: Send + Sync {
    /// Sees a request that was executed.
    fn executed(&self, exchange: &Exchange<'_>);
}

/// Who sees what happens.
#[derive(Clone, Default)]
pub struct Observers {
    /// Of requests.
    pub requests: Option<Arc<dyn RequestObserver>>,
    /// Of the translation path. Endpoints are numbered in the order of the configuration; domains
    /// are slots, which are used anew.
    pub translation: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers")
            .field("requests", &self.requests.is_some())
            .field("translation", &self.translation.is_some())
            .finish()
    }
}
