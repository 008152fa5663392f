//! How an IPMMU is put together, and what it is connected to.

use std::fmt;
use std::sync::Arc;

use super::event::IpmmuObserver;
use super::features::{Features, GEN2, GEN3};
use crate::event::Observer;
use crate::inject::Faults;
pub use crate::interrupt::{InterruptLine, NoInterrupt};
use crate::unit::CacheConfig;

/// Who sees what happens.
#[derive(Clone, Default)]
pub struct Observers {
    /// Of the registers.
    pub registers: Option<Arc<dyn IpmmuObserver>>,
    /// Of the translation path. Endpoints are uTLBs, those of the first instance first; domains are
    /// contexts.
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

/// One instance.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InstanceConfig {
    /// Its name, for observers.
    pub name: String,
    /// How many uTLBs it has, from number 0 on. Registers of others are not there.
    pub utlbs: usize,
}

impl InstanceConfig {
    /// Creates an instance with so many uTLBs.
    pub fn new(name: &str, utlbs: usize) -> Self {
        Self {
            name: name.to_owned(),
            utlbs,
        }
    }
}

/// An IPMMU: one instance, or a root and its leaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IpmmuConfig {
    /// Which generation.
    pub features: Features,
    /// The instances. If the generation has leaves, the first is the root.
    pub instances: Vec<InstanceConfig>,
    /// The translation cache. There is none where faults can be injected.
    pub cache: CacheConfig,
    /// Faults that are injected.
    pub faults: Faults,
}

impl IpmmuConfig {
    /// Creates the configuration of one instance of R-Car Gen2 with all its uTLBs.
    pub fn gen2(name: &str) -> Self {
        Self {
            features: GEN2,
            instances: vec![InstanceConfig {
                name: name.to_owned(),
                utlbs: GEN2.utlbs,
            }],
            cache: CacheConfig::default(),
            faults: Faults::NONE,
        }
    }

    /// Creates the configuration of a root of R-Car Gen3, without uTLBs, and of leaves with all
    /// theirs.
    pub fn gen3<'a>(root: &str, leaves: impl IntoIterator<Item = &'a str>) -> Self {
        let instance = |name: &str, utlbs| InstanceConfig {
            name: name.to_owned(),
            utlbs,
        };
        let leaves = leaves.into_iter().map(|name| instance(name, GEN3.utlbs));
        Self {
            features: GEN3,
            // The driver gives no device to the root ("skip root IPMMU-MM device", 6.1).
            instances: [instance(root, 0)].into_iter().chain(leaves).collect(),
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

    /// Sets the instances.
    #[must_use]
    pub fn with_instances(self, instances: Vec<InstanceConfig>) -> Self {
        Self { instances, ..self }
    }

    /// Checks whether the generation can have these instances.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let count = self.instances.len();
        if count == 0 || count > MAX_INSTANCES || (count > 1 && !self.features.leaves) {
            return Err(ConfigError::Instances {
                count,
                generation: self.features.name,
            });
        }
        for instance in &self.instances {
            // There are no offsets in the window for registers of more.
            if instance.utlbs > self.features.utlbs {
                return Err(ConfigError::Utlbs {
                    name: instance.name.clone(),
                    utlbs: instance.utlbs,
                    generation: self.features.name,
                    limit: self.features.utlbs,
                });
            }
        }
        Ok(())
    }
}

/// A root and its leaves: twice as many as any R-Car Gen3 has.
pub const MAX_INSTANCES: usize = 32;

/// Why there is no such IPMMU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Too few instances or too many.
    #[error(
        "an IPMMU of {generation} cannot have {count} instances: Gen2 has one, Gen3 one to {MAX_INSTANCES}"
    )]
    Instances {
        /// How many were asked for.
        count: usize,
        /// [`Features::name`].
        generation: &'static str,
    },
    /// Too many uTLBs.
    #[error("IPMMU {name} cannot have {utlbs} uTLBs: {generation} has at most {limit}")]
    Utlbs {
        /// The instance.
        name: String,
        /// How many were asked for.
        utlbs: usize,
        /// [`Features::name`].
        generation: &'static str,
        /// How many there can be.
        limit: usize,
    },
}
