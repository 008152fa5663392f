//! The device as a whole.

use std::fmt;
use std::sync::Arc;

use vm_memory::{GuestMemoryBackend, GuestMemoryMmap};

use super::config::SmmuV2Config;
use super::event::SmmuV2Event;
use super::registers::Registers;
use super::route::Route;
use super::shared::{Fixed, Shared};
use super::state::{RestoreError, SmmuV2State};
use crate::attachment::Attachment;
use crate::dma::DmaSpace;
use crate::fault::{DomainId, EndpointId};
use crate::host::StableHostMemory;
use crate::interrupt::InterruptLine;
use crate::register_event::Observers;
use crate::unit::{TranslationUnit, UnitConfig};

/// An Arm SMMUv2.
///
/// Clones are cheap and are the same SMMU. May be used by any number of threads.
pub struct SmmuV2<M = GuestMemoryMmap<()>> {
    pub(super) shared: Arc<Shared<M>>,
    pub(super) unit: Arc<TranslationUnit<M>>,
}

impl<M> Clone for SmmuV2<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            unit: Arc::clone(&self.unit),
        }
    }
}

impl<M> fmt::Debug for SmmuV2<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmmuV2")
            .field("name", &self.shared.config.name)
            .field("shape", &self.shared.config.shape)
            .finish_non_exhaustive()
    }
}

impl<M: StableHostMemory + Send + Sync + 'static> SmmuV2<M> {
    /// Creates an SMMU out of reset over the guest's `memory`: nothing is translated.
    pub fn new(
        memory: Arc<M>,
        config: &SmmuV2Config,
        interrupt: Box<dyn InterruptLine>,
        observers: Observers,
    ) -> Self {
        let translation = observers.translation.clone();
        let shape = config.shape();
        let (registers, outside) = (Registers::reset(shape), (interrupt, observers));
        let fixed = Fixed {
            name: config.name.clone(),
            shape,
        };
        let shared = Shared::new(&memory, fixed, registers, outside, &config.faults);
        let unit = UnitConfig {
            endpoints: shape.streams,
            domains: shape.banks,
            // As sCR0.CLIENTPD has it out of reset.
            initial: Attachment::Bypass,
        };
        let unit = shared.unit(&unit, (&config.faults, &config.cache), translation);
        Self { shared, unit }
    }
}

impl<M: GuestMemoryBackend> SmmuV2<M> {
    /// Returns the number of pages and blocks that the tables of all context banks that translate
    /// map now.
    ///
    /// Reads all tables: for tests and reports.
    pub fn mappings(&self) -> u64 {
        self.shared.mappings()
    }
}

impl<M> SmmuV2<M> {
    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.shared.config.name
    }

    /// Returns the memory that bus masters of a stream see. Where there is no such stream, every
    /// access is refused.
    pub fn space(&self, stream: u32) -> DmaSpace<M> {
        self.unit.space(EndpointId(stream))
    }

    /// Returns the translation path: for its counters.
    pub fn unit(&self) -> &Arc<TranslationUnit<M>> {
        &self.unit
    }

    /// Returns the state of the registers, to be saved.
    pub fn save(&self) -> SmmuV2State {
        self.shared.registers().state.clone()
    }

    /// Restores a saved state, as far as the registers can hold it. The translation cache is
    /// emptied, and what the guest waited for is begun again.
    ///
    /// # Errors
    /// If the state does not fit; then nothing changes.
    pub fn restore(&self, saved: &SmmuV2State) -> Result<(), RestoreError> {
        let state = saved.sane(self.shared.config.shape)?;
        // Held to the end: a bus master that misses the cache meanwhile walks by the new registers.
        let mut guard = self.shared.registers();
        let registers = &mut *guard;
        let level = registers.level;
        *registers = Registers {
            // The line is brought to the new level below.
            level,
            ..Registers::new(state)
        };
        // First what accesses meet from now on, then what is cached, then the grace period: as in a
        // flush of the guest's.
        self.attach(registers);
        if let Some(injected) = &self.shared.injected {
            injected.forget_all();
        }
        self.unit.invalidate_all();
        // Grace periods are not saved: these wait for accesses of this host.
        if registers.state.syncing {
            registers.sync.begin(self.unit.begin_grace_period());
        }
        for (bank, sync) in registers.state.banks.iter().zip(&mut registers.syncs) {
            if bank.syncing {
                sync.begin(self.unit.begin_grace_period());
            }
        }
        self.shared.update_interrupt(registers);
        Ok(())
    }

    /// Brings the attachments of all streams to what the registers ask for.
    pub(super) fn attach(&self, registers: &mut Registers) {
        let mut changed = false;
        for stream in 0..self.shared.config.shape.streams {
            let to = registers.state.route(stream).attachment();
            let from = self.unit.attachment(EndpointId(stream));
            if from == to {
                continue;
            }
            changed = true;
            self.unit.attach(EndpointId(stream), to);
            match (from, to) {
                (_, Attachment::Domain(DomainId(bank))) => {
                    self.shared.tell(SmmuV2Event::Attached {
                        stream,
                        bank: bank as usize,
                    })
                }
                (Attachment::Domain(DomainId(bank)), _) => {
                    self.shared.tell(SmmuV2Event::Detached {
                        stream,
                        bank: bank as usize,
                        blocked: to == Attachment::Blocked,
                    })
                }
                // What sCR0 or the group's registers were set to is told already.
                _ => {}
            }
        }
        if changed {
            // No register tells when accesses by the old attachments have ended, so that the write
            // waits for them.
            registers.attaching = Some(self.unit.begin_grace_period());
        }
    }

    /// Makes a stream's context bank show faults without a cause: FSR becomes this, whatever it
    /// was, and the interrupt follows if it is let through. A stream that is not translated shows
    /// them at bank 0. Returns the bank.
    ///
    /// For injected faults: broken hardware does this.
    pub fn show_status(&self, stream: u32, status: u32) -> usize {
        let mut registers = self.shared.registers();
        let bank = match registers.state.route(stream) {
            Route::Bank(bank) => bank,
            Route::Bypass | Route::Fault(_) => 0,
        };
        // Not masked: broken hardware may show bits that are not specified.
        registers.state.banks[bank].fsr = status;
        self.shared.tell(SmmuV2Event::StatusShown { bank, status });
        self.shared.update_interrupt(&mut registers);
        bank
    }
}
