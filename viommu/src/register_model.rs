//! What models with registers have in common: what vCPUs and bus masters share, and how bus masters
//! see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::{GuestMemoryBackend, Permissions};

use crate::event::Observer;
use crate::fault::{DomainId, Fault, Requester};
use crate::host::{CurrentMemory, StableHostMemory};
use crate::inject::{self, Faults, Injected, TableModel};
use crate::interrupt::InterruptLine;
use crate::model::{Descriptor, Extent, Mapping, Miss, Model};
use crate::register_event::Observers;
use crate::unit::{CacheConfig, TranslationUnit, UnitConfig};
use crate::walk::GuestTables;

/// The registers of a model, which have an interrupt line.
pub(crate) trait InterruptRegisters {
    /// Returns the level that their contents ask for.
    fn interrupts(&self) -> bool;

    /// Returns the level that the line has.
    fn level(&mut self) -> &mut bool;
}

/// What vCPUs and bus masters share: registers `R`, what never changes `C`, and observers `O`.
pub(crate) struct Shared<M, R, C, O = Observers> {
    /// Where the tables are.
    pub(crate) memory: CurrentMemory<M>,
    pub(crate) config: C,
    registers: Mutex<R>,
    interrupt: Box<dyn InterruptLine>,
    pub(crate) observers: O,
    /// The injector and its buffer, if faults can be injected.
    pub(crate) injected: Option<Injected>,
}

impl<M, R: InterruptRegisters, C, O> Shared<M, R, C, O> {
    pub(crate) fn new(
        memory: &Arc<M>,
        config: C,
        registers: R,
        (interrupt, observers): (Box<dyn InterruptLine>, O),
        faults: &Faults,
    ) -> Arc<Self> {
        Arc::new(Self {
            memory: CurrentMemory::new(Arc::clone(memory)),
            config,
            registers: Mutex::new(registers),
            interrupt,
            observers,
            injected: faults.injected(),
        })
    }

    pub(crate) fn registers(&self) -> MutexGuard<'_, R> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the interrupt line to the level that the registers ask for.
    pub(crate) fn update_interrupt(&self, registers: &mut R) {
        let asked = registers.interrupts();
        let level = registers.level();
        // Set under the lock, so that levels come in the order in which they changed.
        if *level != asked {
            *level = asked;
            self.interrupt.set_level(asked);
        }
    }
}

impl<M, R, C, O> Shared<M, R, C, O>
where
    M: StableHostMemory + Send + Sync + 'static,
    Self: Model + 'static,
{
    /// Creates the translation path above it.
    pub(crate) fn unit(
        self: &Arc<Self>,
        unit: &UnitConfig,
        (faults, cache): (&Faults, &CacheConfig),
        translation: Option<Arc<dyn Observer>>,
    ) -> Arc<TranslationUnit<M>> {
        let model: Arc<dyn Model> = Arc::clone(self) as Arc<dyn Model>;
        let memory = self.memory.clone();
        TranslationUnit::with_current(memory, model, unit, &faults.cache(cache), translation)
    }
}

impl<M, R, C, O> Model for Shared<M, R, C, O>
where
    M: GuestMemoryBackend + Send + Sync,
    R: Send,
    C: Send + Sync,
    O: Send + Sync,
    Self: TableModel,
{
    fn translate(
        &self,
        requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        let injected = self.injected.as_ref();
        let at = (domain, iova, wanted);
        inject::translate(self, &*self.memory.get(), injected, requester, at)
    }

    fn look(
        &self,
        _: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Option<Result<Mapping, Miss>> {
        let memory = self.memory.get();
        let tables = GuestTables(&*memory);
        Some(TableModel::look(self, &tables, domain, iova, wanted))
    }

    fn extent(&self, domain: DomainId, iova: u64) -> Option<Extent> {
        let memory = self.memory.get();
        Some(inject::extent(self, &GuestTables(&*memory), domain, iova))
    }

    fn descriptor(&self, domain: DomainId, iova: u64) -> Option<Descriptor> {
        let memory = self.memory.get();
        inject::descriptor(self, &GuestTables(&*memory), domain, iova)
    }

    fn fault(&self, fault: &Fault) {
        self.record(fault);
    }
}
