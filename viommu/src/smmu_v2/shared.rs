//! What registers and bus masters share: the model, as the translation path sees it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::{GuestMemoryBackend, Permissions};

use super::config::Shape;
use super::event::SmmuV2Event;
use super::registers::Registers;
use super::spec::{INPUT_BITS, Operation};
use super::state::BankState;
use crate::fault::{Access, DomainId, Fault, FaultReason, Requester};
use crate::inject::{self, Injected, TableModel};
use crate::interrupt::InterruptLine;
use crate::model::{Mapping, Miss, Model};
use crate::register_event::Observers;
use crate::walk::{GuestTables, Regime, TableReader, Walked, count, walk};
use crate::window;

/// What registers and bus masters share.
pub(super) struct Shared<M> {
    pub(super) memory: Arc<M>,
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) registers: Mutex<Registers>,
    pub(super) interrupt: Box<dyn InterruptLine>,
    pub(super) observers: Observers,
    /// The injector and its buffer, if faults can be injected.
    pub(super) injected: Option<Injected>,
}

impl<M> Shared<M> {
    pub(super) fn registers(&self) -> MutexGuard<'_, Registers> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide it.
        self.registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: SmmuV2Event) {
        self.observers.tell(&event);
    }

    /// Brings the interrupt line to the level that the registers ask for.
    pub(super) fn update_interrupt(&self, registers: &mut Registers) {
        let level = registers.interrupts();
        // Set under the lock, so that levels come in the order in which they changed.
        if registers.level != level {
            registers.level = level;
            self.interrupt.set_level(level);
        }
    }

    /// Counts an access to what is not modelled, and tells of it: `event` makes one of the count.
    pub(super) fn unimplemented(
        &self,
        registers: &mut Registers,
        event: impl FnOnce(u64) -> SmmuV2Event,
    ) {
        let count = registers.state.unimplemented.saturating_add(1);
        registers.state.unimplemented = count;
        if window::is_told(count) {
            self.tell(event(count));
        }
    }
}

/// Walks the tables of a context bank as its registers are in `state`.
///
/// # Errors
/// Why there is no translation.
pub(super) fn walk_bank(
    tables: &impl TableReader,
    state: &BankState,
    iova: u64,
    operation: Operation,
) -> Result<Walked, Miss> {
    let regime = state.regime(operation.privileged)?;
    Ok(walk(tables, &regime, iova, operation.access)?)
}

impl<M: GuestMemoryBackend> Shared<M> {
    /// Counts the pages and blocks that the guest's tables map: see [`SmmuV2::mappings`](super::SmmuV2::mappings).
    pub(super) fn mappings(&self) -> u64 {
        let registers = self.registers();
        let banks = registers.state.banks.iter();
        let enabled = banks.filter(|bank| bank.is_enabled());
        let regimes: Vec<Regime> = enabled.filter_map(|bank| bank.regime(false).ok()).collect();
        // Bus masters and vCPUs need the registers; walking all tables takes long.
        drop(registers);
        let tables = GuestTables(&*self.memory);
        regimes.iter().map(|regime| count(&tables, regime)).sum()
    }
}

impl<M> TableModel for Shared<M> {
    fn walk(
        &self,
        tables: &impl TableReader,
        DomainId(bank): DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        let bank = bank as usize;
        // Copied, so that the walk, which reads guest memory, holds no lock.
        let state = self.registers().state.banks.get(bank).copied();
        let state = state.ok_or(Miss::new(FaultReason::Blocked))?;
        // That bus masters are unprivileged is a choice.
        let operation = Operation {
            access: Access::of(wanted),
            privileged: false,
        };
        let walked = walk_bank(tables, &state, iova, operation)?;
        // Noted before the translation can be cached: a guest that names one address of a block means all of it.
        if walked.size_log2 > state.largest {
            let largest = &mut self.registers().state.banks[bank].largest;
            *largest = walked.size_log2.min(INPUT_BITS).max(*largest);
        }
        Ok(walked.mapping(iova))
    }
}

impl<M: GuestMemoryBackend + Send + Sync> Model for Shared<M> {
    fn translate(
        &self,
        requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        let injected = self.injected.as_ref();
        let at = (domain, iova, wanted);
        inject::translate(self, &*self.memory, injected, requester, at)
    }

    fn fault(&self, fault: &Fault) {
        let (iova, stream) = (fault.iova, fault.endpoint.0);
        let mut registers = self.registers();
        let bank = fault.domain.map(|DomainId(bank)| bank as usize);
        let first = match bank.map(|bank| registers.state.banks.get_mut(bank)) {
            None => registers.record(fault) == Some(true),
            // The unit can be attached to domains that are no banks, though not by the guest.
            Some(state) => state.is_some_and(|state| state.record(fault)),
        };
        let event = match bank {
            _ if !first => SmmuV2Event::FaultLost { bank, iova },
            Some(bank) => SmmuV2Event::ContextFault {
                bank,
                status: registers.state.banks[bank].fsr,
                iova,
            },
            None => SmmuV2Event::GlobalFault {
                status: registers.state.gfsr,
                stream,
                iova,
            },
        };
        self.tell(event);
        self.update_interrupt(&mut registers);
    }
}
