//! Page tables that are read with faults.

use std::cell::Cell;

use vm_memory::{GuestMemoryBackend, Permissions};

use super::{DescriptorFault, DescriptorRead, Injected, Injector};
use crate::fault::{DomainId, Fault, FaultReason, Requester};
use crate::model::{Descriptor, Extent, Mapping, Miss};
use crate::walk::{ExternalAbort, GuestTables, TableReader};

/// A model whose answers are in the guest's memory.
pub(crate) trait TableModel {
    /// Returns what the tables of `domain`, read through `tables`, have for an access.
    ///
    /// # Errors
    /// Why they have nothing.
    fn walk(
        &self,
        tables: &impl TableReader,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss>;

    /// Returns what [`walk`](Self::walk) does, and notes nothing.
    ///
    /// # Errors
    /// Those of [`walk`](Self::walk).
    fn look(
        &self,
        tables: &impl TableReader,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        self.walk(tables, domain, iova, wanted)
    }

    /// Returns log2 of the bytes around an IOVA that are not mapped where a walk ends at `level` of
    /// the tables of `domain`; a walk without a level ends before the first table.
    fn hole_bits(&self, domain: DomainId, level: Option<u8>) -> u8;

    /// Shows the guest that an access was refused, as far as its registers can.
    fn record(&self, fault: &Fault);
}

/// Has a model walk its tables in `memory`, with the faults that are injected, if any can be.
///
/// # Errors
/// The injected miss, or that of `model`.
pub(crate) fn translate<M: GuestMemoryBackend>(
    model: &impl TableModel,
    memory: &M,
    injected: Option<&Injected>,
    requester: Requester,
    (domain, iova, wanted): (DomainId, u64, Permissions),
) -> Result<Mapping, Miss> {
    let tables = GuestTables(memory);
    let Some(injected) = injected else {
        return model.walk(&tables, domain, iova, wanted);
    };
    injected.translate(requester, domain, iova, wanted, || {
        let tables = FaultyTables {
            tables,
            injector: &*injected.injector,
            requester,
        };
        model.walk(&tables, domain, iova, wanted)
    })
}

/// Returns what `model` has at `iova` by the tables of `domain`.
pub(crate) fn extent(
    model: &impl TableModel,
    tables: &impl TableReader,
    domain: DomainId,
    iova: u64,
) -> Extent {
    // All models with tables have inputs of 32 bits.
    if iova > u64::from(u32::MAX) {
        return Extent::Hole { last: u64::MAX };
    }
    let look = |wanted| model.look(tables, domain, iova, wanted);
    let found = look(Permissions::Read).or_else(|miss| match miss.reason {
        // What may be written and not read is mapped, too.
        FaultReason::Permission => look(Permissions::Write).map_err(|_| miss),
        _ => Err(miss),
    });
    match found {
        Ok(mapping) => Extent::Mapped(mapping),
        Err(miss) => Extent::Hole {
            last: iova | ((1 << model.hole_bits(domain, miss.level).min(32)) - 1),
        },
    }
}

/// Returns the last descriptor that a walk of the tables of `domain` reads for `iova`.
pub(crate) fn descriptor(
    model: &impl TableModel,
    tables: &impl TableReader,
    domain: DomainId,
    iova: u64,
) -> Option<Descriptor> {
    let noted = NotedTables {
        tables,
        last: Cell::new(None),
    };
    // Where it leads does not matter, and neither does a refusal.
    let _ = model.look(&noted, domain, iova, Permissions::Read);
    noted.last.get()
}

/// Notes which descriptor was read last from `tables`.
struct NotedTables<'a, T> {
    tables: &'a T,
    last: Cell<Option<Descriptor>>,
}

impl<T: TableReader> TableReader for NotedTables<'_, T> {
    fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
        let read = self.tables.read_descriptor(address)?;
        self.last.set(Some(Descriptor { address, bytes: 8 }));
        Ok(read)
    }

    fn read_short_descriptor(&self, address: u64) -> Result<u32, ExternalAbort> {
        let read = self.tables.read_short_descriptor(address)?;
        self.last.set(Some(Descriptor { address, bytes: 4 }));
        Ok(read)
    }
}

/// Reads descriptors from `tables`, with the faults of `injector`.
struct FaultyTables<'a, T> {
    tables: T,
    injector: &'a dyn Injector,
    requester: Requester,
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
