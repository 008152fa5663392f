//! What registers and bus masters share: the model, as the translation path sees it.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, Permissions};

use super::event::RockchipEvent;
use super::registers::{Recorded, Registers};
use super::spec::{DIRECTORY_SHIFT, ENTRIES, Entry, Format, PAGE_BITS, PAGE_TABLE_LEVEL};
use super::walk::walk;
use crate::fault::{DomainId, Fault, FaultReason};
use crate::inject::TableModel;
use crate::model::{Mapping, Miss};
use crate::register_event::{Ignored, IgnoredAccess};
use crate::register_model::{self, InterruptRegisters};
use crate::walk::TableReader;
use crate::window;

/// What never changes.
pub(super) struct Fixed {
    pub(super) name: String,
    pub(super) format: Format,
}

/// What registers and bus masters share.
pub(super) type Shared<M> = register_model::Shared<M, Registers, Fixed>;

impl InterruptRegisters for Registers {
    fn interrupts(&self) -> bool {
        self.state.int_rawstat & self.state.int_mask != 0
    }

    fn level(&mut self) -> &mut bool {
        &mut self.level
    }
}

impl<M> Shared<M> {
    pub(super) fn tell(&self, event: RockchipEvent) {
        self.observers.tell(&event);
    }

    /// Counts an access to what is not modelled, and tells of it: `event` makes one of the count.
    pub(super) fn unimplemented(
        &self,
        registers: &mut Registers,
        event: impl FnOnce(u64) -> RockchipEvent,
    ) {
        if let Some(count) = window::count_unimplemented(&mut registers.state.unimplemented) {
            self.tell(event(count));
        }
    }

    /// Takes note of an access that does nothing.
    pub(super) fn ignore(&self, registers: &mut Registers, offset: u64, access: Ignored) {
        self.unimplemented(registers, |count| {
            RockchipEvent::Ignored(IgnoredAccess {
                offset,
                access,
                count,
            })
        });
    }
}

impl<M: GuestMemoryBackend> Shared<M> {
    /// Counts the pages that the guest's tables map: see
    /// [`RockchipIommu::mappings`](super::RockchipIommu::mappings).
    pub(super) fn mappings(&self) -> u64 {
        let state = self.registers().state;
        if !state.status().paging_enabled() {
            return 0;
        }
        let directory = self.valid_entries(self.config.format.address(state.dte_addr));
        let tables = directory
            .into_iter()
            .map(|entry| self.config.format.address(entry));
        tables
            .map(|table| self.valid_entries(table).len() as u64)
            .sum()
    }

    /// Returns the valid entries of the table at a physical address; none where no memory is.
    fn valid_entries(&self, table: u64) -> Vec<u32> {
        let mut bytes = [0; ENTRIES as usize * 4];
        let read = self
            .memory
            .get()
            .read_slice(&mut bytes, GuestAddress(table));
        let words = bytes
            .chunks_exact(4)
            .filter_map(|word| word.try_into().ok());
        let entries = words.map(u32::from_le_bytes);
        let valid = entries.filter(|&entry| Entry::from_bits(entry).valid());
        if read.is_ok() {
            valid.collect()
        } else {
            Vec::new()
        }
    }
}

impl<M> TableModel for Shared<M> {
    fn walk(
        &self,
        tables: &impl TableReader,
        _: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        // Tables cover 32 bits, as do the addresses of the bus; what a refusal of others is shown
        // as is a choice.
        let beyond = Miss::new(FaultReason::Translation);
        let short = u32::try_from(iova).map_err(|_| beyond)?;
        // Copied, so that the walk, which reads guest memory, holds no lock.
        let directory = self.config.format.address(self.registers().state.dte_addr);
        let walked = walk(tables, self.config.format, directory, short, wanted)?;
        let within = (1 << PAGE_BITS) - 1;
        Ok(Mapping {
            first: iova & !within,
            last: iova | within,
            address: walked.page,
            permissions: walked.permissions,
        })
    }

    fn hole_bits(&self, _: DomainId, level: Option<u8>) -> u8 {
        match level {
            Some(PAGE_TABLE_LEVEL) => PAGE_BITS,
            _ => DIRECTORY_SHIFT,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the register has the low half"
    )]
    fn record(&self, fault: &Fault) {
        let iova = fault.iova as u32;
        let mut registers = self.registers();
        let event = match registers.record(fault) {
            Recorded::PageFault => RockchipEvent::PageFault {
                iova,
                access: fault.access,
            },
            Recorded::BusError => RockchipEvent::BusError { iova },
            Recorded::Lost => RockchipEvent::FaultLost { iova },
        };
        self.tell(event);
        self.update_interrupt(&mut registers);
    }
}
