//! What registers and bus masters share: the model, as the translation path sees it.

use vm_memory::{GuestMemoryBackend, Permissions};

use super::config::Shape;
use super::decode::Register;
use super::event::SmmuV2Event;
use super::registers::Registers;
use super::spec::{INPUT_BITS, Operation};
use super::state::BankState;
use crate::fault::{Access, DomainId, Fault, FaultReason};
use crate::inject::TableModel;
use crate::model::{Mapping, Miss};
use crate::register_event::{Ignored, IgnoredAccess};
use crate::register_model::{self, InterruptRegisters};
use crate::walk::{GuestTables, Regime, TableReader, Walked, count, walk};
use crate::window;

/// What never changes.
pub(super) struct Fixed {
    pub(super) name: String,
    pub(super) shape: Shape,
}

/// What registers and bus masters share.
pub(super) type Shared<M> = register_model::Shared<M, Registers, Fixed>;

impl InterruptRegisters for Registers {
    fn interrupts(&self) -> bool {
        self.interrupts()
    }

    fn level(&mut self) -> &mut bool {
        &mut self.level
    }
}

impl<M> Shared<M> {
    pub(super) fn tell(&self, event: SmmuV2Event) {
        self.observers.tell(&event);
    }

    /// Takes note of an access that does nothing, at a register if there is one.
    pub(super) fn ignore(
        &self,
        registers: &mut Registers,
        offset: u64,
        register: Option<Register>,
        access: Ignored,
    ) {
        if let Some(count) = window::count_unimplemented(&mut registers.state.unimplemented) {
            let access = IgnoredAccess {
                offset,
                access,
                count,
            };
            self.tell(SmmuV2Event::Ignored { register, access });
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

    fn record(&self, fault: &Fault) {
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
