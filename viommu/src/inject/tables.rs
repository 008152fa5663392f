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

impl<T: TableReader> TableReader for FaultyTables<'_, T> {
    fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
        // Read even if the fault replaces it: the injector is told what stands there.
        let read = self.tables.read_descriptor(address);
        let fault = self.injector.descriptor(&DescriptorRead {
            requester: self.requester,
            address,
            value: read.ok(),
        });
        match fault {
            None => read,
            Some(DescriptorFault::Abort) => Err(ExternalAbort),
            Some(DescriptorFault::Value(value)) => Ok(value),
        }
    }
}
