//! Translation tables in guest memory.

use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::lpae::{ExternalAbort, TableReader};

/// Translation tables that stand in guest memory: descriptors are little-endian and read in one
/// piece, with acquire ordering, so that a table that the guest wrote before the descriptor that
/// leads to it is seen complete.
#[derive(Debug)]
pub struct GuestTables<'a, M>(pub &'a M);

impl<M> Clone for GuestTables<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for GuestTables<'_, M> {}

impl<M: GuestMemoryBackend> TableReader for GuestTables<'_, M> {
    fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
        self.0
            .load(GuestAddress(address), Ordering::Acquire)
            .map(u64::from_le)
            .map_err(|_| ExternalAbort)
    }

    fn read_short_descriptor(&self, address: u64) -> Result<u32, ExternalAbort> {
        self.0
            .load(GuestAddress(address), Ordering::Acquire)
            .map(u32::from_le)
            .map_err(|_| ExternalAbort)
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestMemoryMmap;

    use super::*;

    #[test]
    fn descriptors_are_little_endian_and_absent_memory_aborts() {
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0x1000), 0x1000)]).unwrap();
        ram.write_slice(&[1, 2, 3, 4, 5, 6, 7, 8], GuestAddress(0x1ff8))
            .unwrap();
        let tables = GuestTables(&ram);
        assert_eq!(tables.read_descriptor(0x1ff8), Ok(0x0807_0605_0403_0201));
        assert_eq!(tables.read_short_descriptor(0x1ffc), Ok(0x0807_0605));
        assert_eq!(tables.read_short_descriptor(0x2000), Err(ExternalAbort));
        assert_eq!(tables.read_descriptor(0x2000), Err(ExternalAbort));
        assert_eq!(tables.read_descriptor(0xff8), Err(ExternalAbort));
        assert_eq!(tables.read_descriptor(u64::MAX - 7), Err(ExternalAbort));
    }
}
