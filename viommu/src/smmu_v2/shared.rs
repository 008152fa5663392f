//! What registers and bus masters share: the model, as the translation path sees it.

use vm_memory::{GuestMemoryBackend, Permissions};

use super::config::Shape;
use super::context::{BankRegime, Found};
use super::decode::Register;
use super::event::SmmuV2Event;
use super::registers::Registers;
use super::spec::INPUT_BITS;
use super::state::BankState;
use crate::fault::{Access, DomainId, Fault, FaultReason};
use crate::inject::TableModel;
use crate::model::{Mapping, Miss};
use crate::register_event::{Ignored, IgnoredAccess};
use crate::register_model::{self, InterruptRegisters};
use crate::walk::{GuestTables, TableReader, hole_bits, short_hole_bits};
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

impl<M: GuestMemoryBackend> Shared<M> {
    /// Counts the pages and blocks that the guest's tables map: see
    /// [`SmmuV2::mappings`](super::SmmuV2::mappings).
    pub(super) fn mappings(&self) -> u64 {
        let registers = self.registers();
        let banks = registers.state.banks.iter();
        let enabled = banks.filter(|bank| bank.is_enabled());
        let shape = self.config.shape;
        let regimes: Vec<BankRegime> = enabled
            .filter_map(|bank| bank.regime(shape, false).ok())
            .collect();
        // Bus masters and vCPUs need the registers; walking all tables takes long.
        drop(registers);
        let memory = self.memory.get();
        let tables = GuestTables(&*memory);
        regimes.iter().map(|regime| regime.count(&tables)).sum()
    }
}

impl<M> Shared<M> {
    /// Returns the state of a bank, and what its tables have for an access.
    fn find(
        &self,
        tables: &impl TableReader,
        bank: usize,
        iova: u64,
        wanted: Permissions,
    ) -> Result<(BankState, Found), Miss> {
        // Copied, so that the walk, which reads guest memory, holds no lock.
        let state = self.registers().state.banks.get(bank).copied();
        let state = state.ok_or(Miss::new(FaultReason::Blocked))?;
        // That bus masters are unprivileged is a choice.
        let regime = state.regime(self.config.shape, false)?;
        let found = regime.walk(tables, iova, Access::of(wanted))?;
        Ok((state, found))
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
        let (state, found) = self.find(tables, bank, iova, wanted)?;
        // Noted before the translation can be cached: a guest that names one address of a block
        // means all of it.
        if found.size_log2 > state.largest {
            let largest = &mut self.registers().state.banks[bank].largest;
            *largest = found.size_log2.min(INPUT_BITS).max(*largest);
        }
        Ok(found.mapping)
    }

    fn look(
        &self,
        tables: &impl TableReader,
        DomainId(bank): DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        let (_, found) = self.find(tables, bank as usize, iova, wanted)?;
        Ok(found.mapping)
    }

    fn hole_bits(&self, DomainId(bank): DomainId, level: Option<u8>) -> u8 {
        let state = self.registers().state.banks.get(bank as usize).copied();
        let regime = state.map(|state| state.regime(self.config.shape, false));
        match (regime, level) {
            (Some(Ok(BankRegime::Long(_))), Some(level)) => hole_bits(level),
            (Some(Ok(BankRegime::Short(_))), Some(level)) => short_hole_bits(level),
            // Without a regime there is nothing in all of the address space.
            _ => INPUT_BITS,
        }
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
