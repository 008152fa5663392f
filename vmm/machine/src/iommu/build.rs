//! Makes the IOMMUs of a machine and connects them.

use std::collections::BTreeMap;
use std::sync::Arc;

use viommu::inject::Faults;
use viommu::ipmmu::{Instance, InterruptLine, Ipmmu, IpmmuConfig, NoInterrupt, Observers};
use viommu::{Attachment, DmaSpace, DomainId};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vm_memory::GuestMemoryMmap;
use vmm_base::Clock;
use vmm_base::Interrupt;
use vmm_devices::virtio::VirtioDevice;
use vmm_devices::virtio::deferred_work::DeferredWork;

use super::super::board::{Board, Device, Entry};
use super::super::config::{Config, Port};
use super::super::error::Error;
use super::saved::{UnitState, WrongIommu};
use super::tally::{Tallies, Tally};
use super::virtio::VirtioUnit;
use super::{IommuInfo, IommuSink, IommuSummary};
use crate::targets::ShowStatus;

/// The IOMMUs of a machine.
#[derive(Default)]
pub(in super::super) struct Iommus {
    units: Vec<Unit>,
    virtio: Vec<VirtioUnit>,
}

/// An IPMMU: one instance of Gen2, or all of Gen3.
struct Unit {
    ipmmu: Ipmmu,
    /// What each instance is on the board, and what happened to it.
    instances: Vec<(Device, Arc<Tally>)>,
}

/// Makes the interrupt line of a board entry, if it has one.
pub(in super::super) type MakeLine<'a> =
    dyn Fn(&Entry) -> Result<Option<Arc<dyn Interrupt>>, Error> + 'a;

/// What the IOMMUs are connected to.
pub(in super::super) struct IommuContext<'a> {
    /// What they translate to.
    pub ram: &'a Arc<GuestMemoryMmap<()>>,
    /// The interrupt line of a board entry.
    pub line: &'a MakeLine<'a>,
    /// The time of events.
    pub clock: &'a Arc<dyn Clock>,
    /// Who is told of events.
    pub sink: Option<&'a Arc<dyn IommuSink>>,
    /// Where a virtio-iommu announces what it cannot do at once.
    pub deferred_work: &'a Arc<DeferredWork>,
    /// Faults that are put in.
    pub faults: Faults,
}

impl Iommus {
    /// The IOMMUs of `board`, which `config` describes, out of reset.
    pub fn new(config: &Config, board: &Board, context: &IommuContext<'_>) -> Result<Self, Error> {
        let of = |gen3: bool| {
            board
                .devices
                .iter()
                .filter(move |entry| match entry.device {
                    Device::Ipmmu(_) => !gen3,
                    Device::IpmmuGen3(_) | Device::IpmmuMain => gen3,
                    _ => false,
                })
        };
        let mut units = Vec::new();
        for entry in of(false) {
            units.push(Unit::new(
                board,
                IpmmuConfig::gen2(&entry.name),
                &[entry],
                context,
            )?);
        }
        // The board has the main IPMMU first.
        if let [main, caches @ ..] = of(true).collect::<Vec<_>>().as_slice() {
            let names = caches.iter().map(|entry| entry.name.as_str());
            let entries = [&[*main], caches].concat();
            let config = IpmmuConfig::gen3(&main.name, names);
            units.push(Unit::new(board, config, &entries, context)?);
        }
        let mut virtio = Vec::new();
        for entry in &board.devices {
            if let Device::VirtioIommu(index) = entry.device {
                virtio.push(VirtioUnit::new(config, board, entry, index, context)?);
            }
        }
        Ok(Self { units, virtio })
    }

    /// What is on the transport of a board's device, if that is a virtio-iommu.
    pub fn virtio(&self, device: Device) -> Option<Box<dyn VirtioDevice>> {
        let unit = self.virtio.iter().find(|unit| unit.device() == device)?;
        Some(unit.on_transport())
    }

    /// The register window of a board's device, if that is an IOMMU.
    pub fn window(&self, device: Device) -> Option<Arc<Window>> {
        let (unit, number) = self.find(device)?;
        unit.ipmmu
            .instance(number)
            .map(|instance| Arc::new(Window(instance)))
    }

    /// What a device at `port` sees.
    pub fn space(&self, port: Port) -> Option<DmaSpace> {
        let virtio = Device::VirtioIommu(port.iommu);
        if let Some(unit) = self.virtio.iter().find(|unit| unit.device() == virtio) {
            return unit.space(port.utlb);
        }
        let gen2 = self.find(Device::Ipmmu(port.iommu));
        let (unit, number) = gen2.or_else(|| self.find(Device::IpmmuGen3(port.iommu)))?;
        unit.ipmmu.instance(number)?.space(port.utlb as usize)
    }

    /// A way to have the IOMMU that a device of `board` stands behind show a status, in the context that the device is
    /// attached to or else the first; it answers with the name of the IOMMU whose interrupt that is.
    pub fn show_status(&self, board: &Board) -> ShowStatus {
        let mut ports = BTreeMap::new();
        for entry in &board.devices {
            let Some(port) = entry.iommu else { continue };
            let gen2 = self.find(Device::Ipmmu(port.iommu));
            let found = gen2.or_else(|| self.find(Device::IpmmuGen3(port.iommu)));
            if let Some((unit, number)) = found
                && let Some(instance) = unit.ipmmu.instance(number)
                && let Some(root) = unit.ipmmu.instance(0)
            {
                let endpoint = instance.endpoint(port.utlb as usize);
                ports.insert(entry.name.clone(), (unit.ipmmu.clone(), endpoint, root));
            }
        }
        Box::new(move |device, status| {
            let (ipmmu, endpoint, root) = ports.get(device)?;
            let context = match endpoint.map(|endpoint| ipmmu.unit().attachment(endpoint)) {
                Some(Attachment::Domain(DomainId(context))) => context as usize,
                _ => 0,
            };
            root.record_status(context, status, 0);
            Some(root.name().to_owned())
        })
    }

    fn find(&self, device: Device) -> Option<(&Unit, usize)> {
        self.units.iter().find_map(|unit| {
            let number = unit
                .instances
                .iter()
                .position(|(other, _)| *other == device)?;
            Some((unit, number))
        })
    }

    /// The state of all, to be saved.
    pub fn save(&self) -> Vec<UnitState> {
        let ipmmus = self.units.iter().map(Unit::save);
        ipmmus
            .chain(self.virtio.iter().map(VirtioUnit::save))
            .collect()
    }

    /// Takes over a saved state. Whoever watches is told of the attachments.
    ///
    /// # Errors
    /// If it does not fit; what does not is left as it was.
    pub fn restore(&self, saved: &[UnitState]) -> Result<(), WrongIommu> {
        if saved.len() != self.units.len() + self.virtio.len() {
            return Err(WrongIommu::Number);
        }
        let (ipmmus, virtio) = saved.split_at(self.units.len());
        let mut units = self.units.iter().zip(ipmmus);
        units.try_for_each(|(unit, saved)| unit.restore(saved))?;
        let mut units = self.virtio.iter().zip(virtio);
        units.try_for_each(|(unit, saved)| unit.restore(saved))
    }

    /// What happened so far at each instance, a Gen3 main one included.
    pub fn summaries(&self) -> Vec<IommuSummary> {
        let ipmmus = self.units.iter().flat_map(Unit::summaries);
        let virtio = self.virtio.iter().map(VirtioUnit::summary);
        ipmmus.chain(virtio).collect()
    }
}

impl Unit {
    fn new(
        board: &Board,
        mut config: IpmmuConfig,
        entries: &[&Entry],
        context: &IommuContext<'_>,
    ) -> Result<Self, Error> {
        let root = entries.first().map(|entry| entry.name.clone());
        let root = root.unwrap_or_default();
        config.faults = context.faults.clone();
        let instances: Vec<(Device, Arc<Tally>)> = entries
            .iter()
            .zip(&config.instances)
            .map(|(entry, instance)| {
                let masters = (0..instance.utlbs).map(|utlb| masters(board, entry.device, utlb));
                let info = IommuInfo {
                    name: entry.name.clone(),
                    contexts_of: root.clone(),
                    virtio: false,
                    masters: masters.collect(),
                    sources: board.names(),
                };
                let tally = Tally::new(info, Arc::clone(context.clock), context.sink.cloned());
                (entry.device, Arc::new(tally))
            })
            .collect();
        let tallies = Arc::new(Tallies::new(
            instances
                .iter()
                .map(|(_, tally)| Arc::clone(tally))
                .collect(),
        ));
        let observers = Observers {
            registers: Some(tallies.clone()),
            translation: Some(tallies),
        };
        let line: Box<dyn InterruptLine> = match entries
            .first()
            .map(|entry| (context.line)(entry))
            .transpose()?
        {
            Some(Some(line)) => Box::new(move |level| line.set(level)),
            _ => Box::new(NoInterrupt),
        };
        let ipmmu = Ipmmu::new(Arc::clone(context.ram), &config, line, observers);
        let ipmmu = ipmmu.map_err(|source| Error::Host {
            what: "make the IPMMU",
            source: Box::new(source),
        })?;
        Ok(Self { ipmmu, instances })
    }

    fn save(&self) -> UnitState {
        UnitState::Ipmmu {
            registers: self.ipmmu.save(),
            cache: self.ipmmu.unit().save_cache(),
            tallies: self.instances.iter().map(|(_, t)| t.save()).collect(),
        }
    }

    fn restore(&self, saved: &UnitState) -> Result<(), WrongIommu> {
        let UnitState::Ipmmu {
            registers,
            cache,
            tallies,
        } = saved
        else {
            return Err(WrongIommu::Model);
        };
        self.ipmmu.restore(registers)?;
        self.ipmmu.unit().restore_cache(cache)?;
        // What restoring itself has caused does not count.
        for ((_, mine), saved) in self.instances.iter().zip(tallies) {
            mine.restore(saved);
        }
        Ok(())
    }

    /// Contexts and the cache are the first instance's: those of Gen3 are the main IPMMU's.
    fn summaries(&self) -> Vec<IommuSummary> {
        let model = match self.instances.first() {
            Some((Device::Ipmmu(_), _)) => "ipmmu",
            _ => "ipmmu-gen3",
        };
        let summary = |(_, tally): &(Device, Arc<Tally>)| IommuSummary {
            model: model.into(),
            ..tally.summary()
        };
        let mut summaries: Vec<IommuSummary> = self.instances.iter().map(summary).collect();
        if let Some(first) = summaries.first_mut() {
            let counters = self.ipmmu.unit().counters();
            first.hits = counters.hits;
            first.misses = counters.misses;
            first.evictions = counters.evictions;
            first.mappings = self.ipmmu.mappings();
        }
        summaries
    }
}

/// The names of the devices behind a micro-TLB or endpoint.
pub(super) fn masters(board: &Board, iommu: Device, utlb: usize) -> Vec<String> {
    let (Device::Ipmmu(index) | Device::IpmmuGen3(index) | Device::VirtioIommu(index)) = iommu
    else {
        return Vec::new();
    };
    let port = Port {
        iommu: index,
        // As many as an IOMMU has.
        utlb: utlb as u32,
    };
    board.masters(port).into_iter().map(str::to_owned).collect()
}

/// An instance's registers on the bus.
pub(in super::super) struct Window(Instance);

impl DeviceMmio for Window {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        self.0.read(offset, data);
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        self.0.write(offset, data);
    }
}
