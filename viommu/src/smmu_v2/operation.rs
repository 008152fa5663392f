//! Address translation operations: what the guest has an SMMU look up.

use super::device::SmmuV2;
use super::spec::{BankRegister, Operation, PAR_ADDRESS};
use crate::fault::Access;
use crate::walk::GuestTables;
use vm_memory::GuestMemoryBackend;

/// Returns the access that a register translates for, if it does.
pub(super) const fn operation(register: BankRegister) -> Option<Operation> {
    let (access, privileged) = match register {
        BankRegister::Ats1Pr => (Access::Read, true),
        BankRegister::Ats1Pw => (Access::Write, true),
        BankRegister::Ats1Ur => (Access::Read, false),
        BankRegister::Ats1Uw => (Access::Write, false),
        _ => return None,
    };
    Some(Operation { access, privileged })
}

impl<M: GuestMemoryBackend> SmmuV2<M> {
    /// Translates an IOVA by the tables of a bank as they are now, and puts the result into PAR.
    /// The cache is not asked and learns nothing; no fault is recorded.
    pub(super) fn operate(&self, bank: usize, operation: Operation, iova: u32) {
        // Copied, so that the walk, which reads guest memory, holds no lock.
        let state = self.shared.registers().state.banks[bank];
        let memory = self.shared.memory.get();
        let tables = GuestTables(&*memory);
        let iova = u64::from(iova);
        let found = if state.sctlr().m() {
            let regime = state.regime(self.shared.config.shape, operation.privileged);
            let found = regime.and_then(|regime| regime.walk(&tables, iova, operation.access));
            found.map(|found| {
                let within = iova - found.mapping.first;
                (found.mapping.address + within, found.attr_index)
            })
        } else {
            Ok((iova & PAR_ADDRESS, 0))
        };
        self.shared.registers().state.banks[bank].set_par(found);
    }
}
