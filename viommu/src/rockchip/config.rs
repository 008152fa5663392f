//! How a Rockchip IOMMU is put together, and what it is connected to.

use std::fmt;
use std::sync::Arc;

use super::event::RockchipObserver;
use super::spec::Format;
use crate::event::Observer;
use crate::inject::Faults;
use crate::unit::CacheConfig;

/// Who sees what happens.
#[derive(Clone, Default)]
pub struct Observers {
    /// Of the registers.
    pub registers: Option<Arc<dyn RockchipObserver>>,
    /// Of the translation path. There is one endpoint and one domain, each of number 0.
    pub translation: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers")
            .field("registers", &self.registers.is_some())
            .field("translation", &self.translation.is_some())
            .finish()
    }
}

/// A Rockchip IOMMU.
#[derive(Clone, Debug)]
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
}
