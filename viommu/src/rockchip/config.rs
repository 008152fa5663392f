//! How a Rockchip IOMMU is put together, and what it is connected to.

use super::spec::Format;
use crate::inject::Faults;
use crate::unit::CacheConfig;

/// A Rockchip IOMMU.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RockchipConfig {
    /// Its name, for injected faults.
    pub name: String,
    /// The format of its tables.
    pub format: Format,
    /// The translation cache. There is none where faults can be injected.
    pub cache: CacheConfig,
    /// Faults that are injected.
    pub faults: Faults,
}

impl RockchipConfig {
    /// Creates the configuration of an IOMMU with tables of this format, without faults.
    pub fn new(name: &str, format: Format) -> Self {
        Self {
            name: name.to_owned(),
            format,
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
}
