//! What IOMMUs with a window of registers have in common.

use std::sync::Arc;

use viommu::{
    Counters, DmaListener, EndpointId, Event, InterruptLine, NoInterrupt, Observer, Observers,
    RegisterEvent, RegisterObserver, TranslationUnit,
};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vmm_devices::ram::{DmaSpace, GuestRam};

use super::super::tally::Tally;
use super::super::{IommuInfo, IommuSummary};
use super::{
    Face, IommuContext, IommuDevice, Listening, MadeIommus, SavedUnit, UnitState, WrongIommu,
};
use crate::config::{IommuModel, Port};
use crate::entry::{Entry, IommuPart, Role};
use crate::error::Error;

/// Makes an IOMMU of each entry of an instance, by the entry and its index in the configuration.
pub(super) fn each<U: IommuDevice + 'static>(
    entries: &[&Entry],
    unit: impl Fn(&Entry, usize) -> Result<U, Error>,
) -> MadeIommus {
    let instances = entries
        .iter()
        .filter_map(|entry| Some((entry, entry.iommu_index()?)));
    let made = instances.map(|(entry, index)| {
        let unit: Box<dyn IommuDevice> = Box::new(unit(entry, index)?);
        Ok(unit)
    });
    made.collect()
}

/// What an instance of a model is connected to.
struct Connections {
    /// Sees all that happens at it.
    watch: Arc<Watch>,
    /// Its interrupt output.
    line: Box<dyn InterruptLine>,
    /// Whom it tells: `watch`.
    observers: Observers,
}

impl Connections {
    /// Connects the instance that is `entry` on the board, which has as many ports as its model's
    /// facts say.
    fn new(model: IommuModel, entry: &Entry, context: &IommuContext<'_>) -> Result<Self, Error> {
        let info = IommuInfo {
            name: entry.name.clone(),
            contexts_of: entry.name.clone(),
            model,
            masters: context.masters_of(entry, model.facts().ports as usize),
            sources: context.sources.to_vec(),
        };
        let tally = Tally::new(info, Arc::clone(context.clock), context.sink.cloned());
        let watch = Arc::new(Watch(tally));
        let line: Box<dyn InterruptLine> = match (context.line)(entry)? {
            Some(line) => Box::new(move |level| line.set(level)),
            None => Box::new(NoInterrupt),
        };
        let observers = Observers {
            registers: Some(watch.clone()),
            translation: Some(watch.clone()),
        };
        Ok(Self {
            watch,
            line,
            observers,
        })
    }
}

/// Sees all that happens at one IOMMU.
struct Watch(Tally);

impl Watch {
    /// Returns what happened so far at an IOMMU of `model`, with what only its translation path and
    /// its tables know.
    fn summary(&self, model: IommuModel, counters: Counters, mappings: u64) -> IommuSummary {
        IommuSummary {
            model: model.name().into(),
            hits: counters.hits,
            misses: counters.misses,
            evictions: counters.evictions,
            mappings,
            ..self.0.summary()
        }
    }
}

impl RegisterObserver for Watch {
    fn event(&self, event: &dyn RegisterEvent) {
        self.0.registers(event);
    }
}

impl Observer for Watch {
    fn event(&self, event: &Event) {
        self.0.path(event);
    }

    fn wants_dma(&self) -> bool {
        self.0.wants_dma()
    }
}

/// An IOMMU of a model whose instances each have registers, ports and tables of their own.
pub(super) trait RegisterIommu: Clone + Send + Sync + 'static {
    /// What its registers hold.
    type State: 'static;

    /// Reads its registers.
    const READ: fn(&Self, u64, &mut [u8]);
    /// Writes its registers.
    const WRITE: fn(&Self, u64, &[u8]);

    /// Returns its translation path.
    fn unit(&self) -> &TranslationUnit<GuestRam>;

    /// Returns what a device at a port sees of memory.
    fn space(&self, port: u32) -> DmaSpace;

    /// Has a listener told of what a device at a port meets.
    fn add_listener(&self, port: u32, listener: Box<dyn DmaListener>) {
        self.unit().add_listener(EndpointId(port), listener);
    }

    /// Shows pending interrupts, or faults, without a cause, as if a port had to do with them.
    fn show_status(&self, port: u32, status: u32);

    /// Returns how many pages or blocks the guest's tables map.
    fn mappings(&self) -> u64;

    /// Returns what its registers hold.
    fn save(&self) -> Self::State;

    /// Restores what its registers hold, which empties the cache.
    ///
    /// # Errors
    /// If it does not fit.
    fn restore(&self, saved: &Self::State) -> Result<(), WrongIommu>;

    /// Returns a saved unit as one of this model.
    fn wrap(saved: SavedUnit<Self::State>) -> UnitState;

    /// Returns a saved unit if it is of this model.
    fn unwrap(saved: &UnitState) -> Option<&SavedUnit<Self::State>>;
}

/// Such an IOMMU in the machine.
pub(super) struct Unit<I> {
    model: IommuModel,
    index: usize,
    name: String,
    iommu: I,
    watch: Arc<Watch>,
}

impl<I> Unit<I> {
    /// Creates IOMMU `index` of the configuration, which is `entry` on the board, with `iommu` out
    /// of reset.
    pub(super) fn new(
        model: IommuModel,
        (entry, index): (&Entry, usize),
        context: &IommuContext<'_>,
        iommu: impl FnOnce(Box<dyn InterruptLine>, Observers) -> I,
    ) -> Result<Self, Error> {
        let Connections {
            watch,
            line,
            observers,
        } = Connections::new(model, entry, context)?;
        Ok(Self {
            model,
            index,
            name: entry.name.clone(),
            iommu: iommu(line, observers),
            watch,
        })
    }
}

impl<I: RegisterIommu> IommuDevice for Unit<I> {
    fn face(&self, role: Role) -> Option<Face> {
        let own = Role::Iommu(self.model, IommuPart::Instance(self.index));
        (role == own).then(|| window(self.iommu.clone(), I::READ, I::WRITE))
    }

    fn space(&self, port: Port) -> Option<DmaSpace> {
        // A configuration with ports that there are not is refused.
        (port.iommu == self.index).then(|| self.iommu.space(port.utlb))
    }

    fn listen(&self, port: Port, listener: &mut Option<Box<dyn DmaListener>>) -> Listening {
        let listener = listener.take_if(|_| port.iommu == self.index)?;
        self.iommu.add_listener(port.utlb, listener);
        Some(Ok(()))
    }

    fn show_status(&self, port: Port) -> Option<Box<dyn Fn(u32) -> String + Send + Sync>> {
        if port.iommu != self.index {
            return None;
        }
        let (iommu, name) = (self.iommu.clone(), self.name.clone());
        Some(Box::new(move |status| {
            iommu.show_status(port.utlb, status);
            name.clone()
        }))
    }

    fn save(&self) -> UnitState {
        I::wrap(SavedUnit {
            registers: self.iommu.save(),
            cache: self.iommu.unit().save_cache(),
            tally: self.watch.0.save(),
        })
    }

    fn restore(&self, saved: &UnitState) -> Result<(), WrongIommu> {
        let saved = I::unwrap(saved).ok_or(WrongIommu::Model)?;
        // In this order: restoring the registers empties the cache.
        self.iommu.restore(&saved.registers)?;
        self.iommu.unit().restore_cache(&saved.cache)?;
        // What restoring itself has caused does not count.
        self.watch.0.restore(&saved.tally);
        Ok(())
    }

    fn summaries(&self) -> Vec<IommuSummary> {
        let (iommu, counters) = (&self.iommu, self.iommu.unit().counters());
        vec![self.watch.summary(self.model, counters, iommu.mappings())]
    }
}

/// Returns the registers of `iommu`, which these read and write, on the bus.
pub(super) fn window<T: Send + Sync + 'static>(
    iommu: T,
    read: fn(&T, u64, &mut [u8]),
    write: fn(&T, u64, &[u8]),
) -> Face {
    Face::Window(Arc::new(Window { iommu, read, write }))
}

struct Window<T> {
    iommu: T,
    read: fn(&T, u64, &mut [u8]),
    write: fn(&T, u64, &[u8]),
}

impl<T> DeviceMmio for Window<T> {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        (self.read)(&self.iommu, offset, data);
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        (self.write)(&self.iommu, offset, data);
    }
}
