//! Page tables that are read with faults.

use super::{DescriptorFault, DescriptorRead, Injector};
use crate::fault::Requester;
use crate::walk::{ExternalAbort, TableReader};

/// Reads descriptors from `tables`, with the faults of `injector`.
pub(crate) struct FaultyTables<'a, T> {
    pub tables: T,
    pub injector: &'a dyn Injector,
    pub requester: Requester,
}

impl<T> FaultyTables<'_, T> {
    /// Returns what a walk gets where `read`, a descriptor of `bits`, was read.
    fn faulty(
        &self,
        address: u64,
        bits: u32,
        read: Result<u64, ExternalAbort>,
    ) -> Result<u64, ExternalAbort> {
        let fault = self.injector.descriptor(&DescriptorRead {
            requester: self.requester,
            address,
            value: read.ok(),
            bits,
        });
        match fault {
            None => read,
            Some(DescriptorFault::Abort) => Err(ExternalAbort),
            Some(DescriptorFault::Value(value)) => Ok(value),
        }
    }
}

impl<T: TableReader> TableReader for FaultyTables<'_, T> {
    // Read even if the fault replaces it: the injector is told what stands there.
    fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
        self.faulty(address, u64::BITS, self.tables.read_descriptor(address))
    }

    // As above.
    #[expect(clippy::cast_possible_truncation, reason = "a short one has 32 bits")]
    fn read_short_descriptor(&self, address: u64) -> Result<u32, ExternalAbort> {
        let read = self.tables.read_short_descriptor(address).map(u64::from);
        let read = self.faulty(address, u32::BITS, read);
        read.map(|descriptor| descriptor as u32)
    }
}
