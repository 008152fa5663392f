//! The device as a whole.

use std::fmt;
use std::sync::Arc;

use vm_memory::{GuestMemoryBackend, GuestMemoryMmap};

use super::config::RockchipConfig;
use super::event::RockchipEvent;
use super::registers::Registers;
use super::shared::{Fixed, Shared};
use super::spec::Format;
use super::state::{RestoreError, RockchipState};
use crate::attachment::Attachment;
use crate::dma::DmaSpace;
use crate::fault::{DomainId, EndpointId};
use crate::host::StableHostMemory;
use crate::interrupt::InterruptLine;
use crate::register_event::Observers;
use crate::unit::{TranslationUnit, UnitConfig};

/// The only endpoint.
const ENDPOINT: EndpointId = EndpointId(0);
/// The only domain.
pub(super) const DOMAIN: DomainId = DomainId(0);

/// A Rockchip IOMMU: one MMU, with one port for bus masters.
///
/// Clones are cheap and are the same IOMMU. May be used by any number of threads.
pub struct RockchipIommu<M = GuestMemoryMmap<()>> {
    pub(super) shared: Arc<Shared<M>>,
    pub(super) unit: Arc<TranslationUnit<M>>,
}

impl<M> Clone for RockchipIommu<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            unit: Arc::clone(&self.unit),
        }
    }
}

impl<M> fmt::Debug for RockchipIommu<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RockchipIommu")
            .field("name", &self.shared.config.name)
            .field("format", &self.shared.config.format)
            .finish_non_exhaustive()
    }
}

impl<M: StableHostMemory + Send + Sync + 'static> RockchipIommu<M> {
    /// Creates an IOMMU out of reset over the guest's `memory`: nothing is translated.
    pub fn new(
        memory: Arc<M>,
        config: &RockchipConfig,
        interrupt: Box<dyn InterruptLine>,
        observers: Observers,
    ) -> Self {
        let translation = observers.translation.clone();
        let fixed = Fixed {
            name: config.name.clone(),
            format: config.format,
        };
        let outside = (interrupt, observers);
        let shared = Shared::new(&memory, fixed, Registers::new(), outside, &config.faults);
        let unit = UnitConfig {
            endpoints: 1,
            domains: 1,
            // Out of reset paging is off, which does not refuse but passes through.
            initial: Attachment::Bypass,
        };
        let unit = shared.unit(&unit, (&config.faults, &config.cache), translation);
        Self { shared, unit }
    }
}

impl<M: GuestMemoryBackend> RockchipIommu<M> {
    /// Returns the number of pages that the guest's tables map now; 0 unless accesses are
    /// translated.
    ///
    /// Reads all tables: for tests and reports.
    pub fn mappings(&self) -> u64 {
        self.shared.mappings()
    }
}

impl<M> RockchipIommu<M> {
    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.shared.config.name
    }

    /// Returns the format of its tables.
    pub fn format(&self) -> Format {
        self.shared.config.format
    }

    /// Returns the memory that bus masters see.
    pub fn space(&self) -> DmaSpace<M> {
        self.unit.space(ENDPOINT)
    }

    /// Returns the translation path: for its counters.
    pub fn unit(&self) -> &Arc<TranslationUnit<M>> {
        &self.unit
    }

    /// Returns the state of the registers, to be saved.
    pub fn save(&self) -> RockchipState {
        self.shared.registers().state
    }

    /// Restores a saved state, as far as the registers can hold it. The translation cache is
    /// emptied, and a stall that was under way is begun again.
    ///
    /// # Errors
    /// If the state is of another version; then nothing changes.
    pub fn restore(&self, saved: &RockchipState) -> Result<(), RestoreError> {
        if saved.version != RockchipState::VERSION {
            return Err(RestoreError::Version(saved.version));
        }
        // Held to the end: a bus master that misses the cache meanwhile walks by the new registers.
        let mut registers = self.shared.registers();
        let level = registers.level;
        *registers = Registers {
            state: saved.sane(self.shared.config.format),
            // The line is brought to the new level below.
            level,
            ..Registers::new()
        };
        // First what accesses meet from now on, then what is cached, then the grace period: as in a
        // zap of the guest's.
        self.attach(&registers);
        self.forget_all();
        if registers.state.stalling {
            // Grace periods are not saved: this one waits for accesses of this host.
            registers.stall = Some(self.unit.begin_grace_period());
        }
        self.shared.update_interrupt(&mut registers);
        Ok(())
    }

    /// Brings the attachment of the port to what the registers ask for.
    pub(super) fn attach(&self, registers: &Registers) {
        let to = if registers.state.status().paging_enabled() {
            Attachment::Domain(DOMAIN)
        } else {
            Attachment::Bypass
        };
        if self.unit.attachment(ENDPOINT) != to {
            self.unit.attach(ENDPOINT, to);
        }
    }

    /// Forgets every translation.
    pub(super) fn forget_all(&self) {
        // Where faults can be injected, this buffer stands in for the cache. What the model answers
        // after the invalidation counts as new, so that the buffer comes first.
        if let Some(injected) = &self.shared.injected {
            injected.forget_all();
        }
        self.unit.invalidate_all();
    }

    /// Makes the IOMMU show pending interrupts without a cause: MMU_INT_RAWSTAT becomes this,
    /// whatever it was, and the interrupt follows if it is let through.
    ///
    /// For injected faults: broken hardware does this.
    pub fn show_status(&self, interrupts: u32) {
        let mut registers = self.shared.registers();
        // Not masked: broken hardware may show bits that are not specified.
        registers.state.int_rawstat = interrupts;
        self.shared.tell(RockchipEvent::StatusShown { interrupts });
        self.shared.update_interrupt(&mut registers);
    }
}
