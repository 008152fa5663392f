//! What registers and bus masters share: the model, as the translation path sees it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, Permissions};

use super::event::RockchipEvent;
use super::registers::{Recorded, Registers};
use super::spec::{ENTRIES, Entry, Format, PAGE_BITS};
use super::walk::walk;
use crate::fault::{DomainId, Fault, FaultReason, Requester};
use crate::inject::{self, Injected, TableModel};
use crate::interrupt::InterruptLine;
use crate::model::{Mapping, Miss, Model};
use crate::register_event::Observers;
use crate::walk::TableReader;
use crate::window;

/// What registers and bus masters share.
pub(super) struct Shared<M> {
    pub(super) memory: Arc<M>,
    pub(super) name: String,
    pub(super) format: Format,
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

    pub(super) fn tell(&self, event: RockchipEvent) {
        self.observers.tell(&event);
    }

    /// Brings the interrupt line to the level that the registers ask for.
    pub(super) fn update_interrupt(&self, registers: &mut Registers) {
        let level = registers.state.int_rawstat & registers.state.int_mask != 0;
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
        event: impl FnOnce(u64) -> RockchipEvent,
    ) {
        let count = registers.state.unimplemented.saturating_add(1);
        registers.state.unimplemented = count;
        if window::is_told(count) {
            self.tell(event(count));
        }
    }
}

impl<M: GuestMemoryBackend> Shared<M> {
    /// Counts the pages that the guest's tables map: see [`RockchipIommu::mappings`](super::RockchipIommu::mappings).
    pub(super) fn mappings(&self) -> u64 {
        let state = self.registers().state;
        if !state.status().paging_enabled() {
            return 0;
        }
        let directory = self.valid_entries(self.format.address(state.dte_addr));
        let tables = directory
            .into_iter()
            .map(|entry| self.format.address(entry));
        tables
            .map(|table| self.valid_entries(table).len() as u64)
            .sum()
    }

    /// Returns the valid entries of the table at a physical address; none where no memory is.
    fn valid_entries(&self, table: u64) -> Vec<u32> {
        let mut bytes = [0; ENTRIES as usize * 4];
        let read = self.memory.read_slice(&mut bytes, GuestAddress(table));
        let (words, _) = bytes.as_chunks::<4>();
        let entries = words.iter().map(|&word| u32::from_le_bytes(word));
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
        // Tables cover 32 bits, as do the addresses of the bus; what a refusal of others is shown as is a choice.
        let beyond = Miss::new(FaultReason::Translation);
        let short = u32::try_from(iova).map_err(|_| beyond)?;
        // Copied, so that the walk, which reads guest memory, holds no lock.
        let directory = self.format.address(self.registers().state.dte_addr);
        let walked = walk(tables, self.format, directory, short, wanted)?;
        let within = (1 << PAGE_BITS) - 1;
        Ok(Mapping {
            first: iova & !within,
            last: iova | within,
            address: walked.page,
            permissions: walked.permissions,
        })
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

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the register has the low half"
    )]
    fn fault(&self, fault: &Fault) {
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
