//! The device as a whole.

use std::fmt;
use std::sync::Arc;

use vm_memory::{GuestMemoryBackend, GuestMemoryMmap};

use super::config::{ConfigError, InterruptLine, IpmmuConfig, Observers};
use super::features::Features;
use super::registers::{InstanceRegisters, Registers, Route};
use super::shared::{Fixed, Shared};
use super::spec::Imuctr;
use super::state::{IpmmuState, RestoreError};
use crate::attachment::Attachment;
use crate::fault::DomainId;
use crate::host::StableHostMemory;
use crate::unit::{TranslationUnit, UnitConfig};

/// An IPMMU: one instance of R-Car Gen2, or a root and its leaves of Gen3.
///
/// Clones are cheap and are the same IPMMU. May be used by any number of threads.
pub struct Ipmmu<M = GuestMemoryMmap<()>> {
    pub(super) shared: Arc<Shared<M>>,
    pub(super) unit: Arc<TranslationUnit<M>>,
}

impl<M> Clone for Ipmmu<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            unit: Arc::clone(&self.unit),
        }
    }
}

impl<M> fmt::Debug for Ipmmu<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ipmmu")
            .field("generation", &self.shared.config.features.name)
            .field("instances", &self.shared.config.names)
            .finish_non_exhaustive()
    }
}

impl<M: StableHostMemory + Send + Sync + 'static> Ipmmu<M> {
    /// Creates an IPMMU out of reset over the guest's `memory`: nothing is translated.
    ///
    /// `interrupt` is the root's, or the only instance's; leaves have none.
    ///
    /// # Errors
    ///
    /// If the generation cannot have such instances.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the configuration was checked to have few of them"
    )]
    pub fn new(
        memory: Arc<M>,
        config: &IpmmuConfig,
        interrupt: Box<dyn InterruptLine>,
        observers: Observers,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut endpoints = 0;
        // Endpoints are numbered through all instances, those of the first instance first.
        let first_endpoints = config.instances.iter().map(|instance| {
            let first = endpoints;
            endpoints += instance.utlbs as u32;
            first
        });
        let first_endpoints = first_endpoints.collect();
        let instances = config.instances.iter();
        let instances =
            instances.map(|instance| InstanceRegisters::new(&config.features, instance.utlbs));
        let translation = observers.translation.clone();
        let fixed = Fixed {
            features: config.features,
            names: config.instances.iter().map(|i| i.name.clone()).collect(),
            first_endpoints,
        };
        let registers = Registers {
            instances: instances.collect(),
            level: false,
        };
        let outside = (interrupt, observers);
        let shared = Shared::new(&memory, fixed, registers, outside, &config.faults);
        let unit = UnitConfig {
            endpoints,
            domains: config.features.contexts as u32,
            // Out of reset all uTLBs are disabled, which does not refuse but passes through.
            initial: Attachment::Bypass,
        };
        let unit = shared.unit(&unit, (&config.faults, &config.cache), translation);
        Ok(Self { shared, unit })
    }
}

impl<M: GuestMemoryBackend> Ipmmu<M> {
    /// Returns the number of pages and blocks that the guest's tables map now, in all contexts that
    /// translate. Entries with the contiguous hint count as one for each group.
    ///
    /// Walks the tables of the whole address space: for tests and reports.
    pub fn mappings(&self) -> u64 {
        self.shared.mappings()
    }
}

impl<M> Ipmmu<M> {
    /// Returns the features of its generation.
    pub fn features(&self) -> &Features {
        &self.shared.config.features
    }

    /// Returns the translation path: for its counters.
    pub fn unit(&self) -> &Arc<TranslationUnit<M>> {
        &self.unit
    }

    /// Returns the state of the registers, to be saved.
    pub fn save(&self) -> IpmmuState {
        self.shared.registers().save()
    }

    /// Restores a saved state, as far as the registers can hold it. The translation cache is
    /// emptied, and flushes that were under way are begun again.
    ///
    /// # Errors
    ///
    /// If the state is of another version or of another configuration; then nothing changes.
    pub fn restore(&self, saved: &IpmmuState) -> Result<(), RestoreError> {
        // Held to the end: a bus master that misses the cache meanwhile walks by the new registers.
        let mut registers = self.shared.registers();
        registers.restore(&self.shared.config.features, saved)?;
        // First what accesses meet from now on, then what is cached, then the grace periods: as in
        // a flush of the guest's.
        for instance in 0..registers.instances.len() {
            for utlb in 0..registers.instances[instance].utlbs.len() {
                self.attach(&registers, instance, utlb);
            }
        }
        if let Some(injected) = &self.shared.injected {
            injected.forget_all();
        }
        self.unit.invalidate_all();
        for instance in &mut registers.instances {
            for context in &mut instance.contexts {
                let flushing = context.state.imctr().flush();
                // Grace periods are not saved: this one waits for accesses of this host.
                context.flush = flushing.then(|| self.unit.begin_grace_period());
            }
            for utlb in &mut instance.utlbs {
                let flushing = Imuctr::from_bits(utlb.state.imuctr).flush();
                utlb.flush = flushing.then(|| self.unit.begin_grace_period());
            }
        }
        self.shared.update_interrupt(&mut registers);
        Ok(())
    }

    /// Brings the attachment of a uTLB to what the registers ask for.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is one of a few contexts"
    )]
    pub(super) fn attach(&self, registers: &Registers, instance: usize, utlb: usize) {
        let to = match registers.instances[instance].utlbs[utlb].route(&self.shared.config.features)
        {
            Route::Disabled => Attachment::Bypass,
            // A disabled MMU passes accesses through, as ARM's does; this is a choice.
            Route::Context(context) if !registers.translates(instance, context) => {
                Attachment::Bypass
            }
            Route::Context(context) => Attachment::Domain(DomainId(context as u32)),
            Route::Unmodelled(_) => Attachment::Blocked,
        };
        let endpoint = self.shared.endpoint(instance, utlb);
        if self.unit.attachment(endpoint) != to {
            self.unit.attach(endpoint, to);
        }
    }

    /// Does what [`Ipmmu::attach`] does, for all uTLBs that `context` of `instance` concerns.
    pub(super) fn attach_users(&self, registers: &Registers, instance: usize, context: usize) {
        // The root's IMCTR decides for the leaves too.
        let concerned = if instance == 0 {
            0..registers.instances.len()
        } else {
            instance..instance + 1
        };
        for instance in concerned {
            for utlb in 0..registers.instances[instance].utlbs.len() {
                let route =
                    registers.instances[instance].utlbs[utlb].route(&self.shared.config.features);
                if route == Route::Context(context) {
                    self.attach(registers, instance, utlb);
                }
            }
        }
    }
}
