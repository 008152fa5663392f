//! What the guest's page tables map.

use vm_memory::GuestMemoryBackend;

use super::shared::Shared;
use crate::walk::{GuestTables, Regime, count};

impl<M: GuestMemoryBackend> Shared<M> {
    /// Counts what the guest's tables map: see [`Ipmmu::mappings`](super::Ipmmu::mappings).
    pub(super) fn mappings(&self) -> u64 {
        let registers = self.registers();
        let enabled = registers
            .root()
            .iter()
            .filter(|context| context.state.imctr().mmuen());
        let regimes: Vec<Regime> = enabled
            .filter_map(|context| context.state.regime(&self.config.features).ok())
            .collect();
        // Bus masters and vCPUs need the registers; walking all tables takes long.
        drop(registers);
        let memory = self.memory.get();
        let tables = GuestTables(&*memory);
        regimes.iter().map(|regime| count(&tables, regime)).sum()
    }
}
