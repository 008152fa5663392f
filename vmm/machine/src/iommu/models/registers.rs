//! What IOMMUs with a window of registers have in common.

use std::sync::Arc;

use viommu::{
    Counters, Event, InterruptLine, NoInterrupt, Observer, Observers, RegisterEvent,
    RegisterObserver,
};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};

use super::super::tally::Tally;
use super::super::{IommuInfo, IommuSummary};
use super::{Face, IommuContext, IommuDevice};
use crate::config::IommuModel;
use crate::entry::Entry;
use crate::error::Error;

/// Makes an IOMMU of each entry of an instance, by the entry and its index in the configuration.
pub(super) fn each<U: IommuDevice + 'static>(
    entries: &[&Entry],
    unit: impl Fn(&Entry, usize) -> Result<U, Error>,
) -> Result<Vec<Box<dyn IommuDevice>>, Error> {
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
pub(super) struct Connections {
    /// Sees all that happens at it.
    pub watch: Arc<Watch>,
    /// Its interrupt output.
    pub line: Box<dyn InterruptLine>,
    /// Whom it tells: `watch`.
    pub observers: Observers,
}

impl Connections {
    /// Connects the instance that is `entry` on the board, which has as many ports as its model's facts say.
    pub fn new(
        model: IommuModel,
        entry: &Entry,
        context: &IommuContext<'_>,
    ) -> Result<Self, Error> {
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
pub(super) struct Watch(pub Tally);

impl Watch {
    /// Returns what happened so far at an IOMMU of `model`, with what only its translation path and its tables know.
    pub fn summary(&self, model: IommuModel, counters: Counters, mappings: u64) -> IommuSummary {
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
