//! A machine while its devices are made and connected: what they find at their places, and what
//! becomes of it.

mod direct;
mod lines;
mod untold;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use viommu::inject::Faults;
use viommu::{DmaListener, SourceId};
use vm_device::DeviceMmio;
use vmm_base::{Clock, Control, Interrupt, Waker};
use vmm_devices::ahci::Ahci;
use vmm_devices::alarm::Alarm;
use vmm_devices::clkgen::ClockGenerator;
use vmm_devices::disk::{Counters, Disk};
use vmm_devices::dma_tester::DmaTester;
use vmm_devices::ram::DmaSpace;
use vmm_devices::renesas::blocks::Block;
use vmm_devices::renesas::dmac::Dmac;
use vmm_devices::rtc::Rtc;
use vmm_devices::sp804::DualTimer;
use vmm_devices::sregs::SystemRegisters;
use vmm_devices::uart::{Console, ConsoleSink, Discard};
use vmm_devices::virtio::deferred_work::DeferredWork;
use vmm_devices::virtio::schedule::{GoesOn, Schedule};
use vmm_devices::virtio::vhost_user::Writes;
use vmm_devices::virtio::{VirtioDevice, VirtioMmio};
use vmm_faults::{DeviceFaults, Injection, IommuPoints};

use crate::bus::{CurrentCpu, SystemBus};
use crate::config::{Config, DiskConfig, Port};
use crate::controller::Controller;
use crate::entry::{Entry, names};
use crate::error::Error;
use crate::iommu::models::IommuContext;
use crate::iommu::{BothSinks, IommuSink, Iommus};
use crate::parts::dma_tester::ScriptEvents;
use crate::targets::{Target, Targets};
use crate::vcpu::Timing;

use lines::Lines;
use untold::watch;
use vmm_devices::ram::GuestRam;

/// The connections of a machine to the outside.
pub(crate) struct HostConnections<'a> {
    /// The sink of the guest's console.
    pub console: Box<dyn ConsoleSink>,
    /// The sink that is told of what happens at the IOMMUs.
    pub sink: Option<&'a Arc<dyn IommuSink>>,
    /// The faults that are injected.
    pub injection: Option<&'a Arc<Injection>>,
    /// Wakes the machine when it waits for something to do.
    pub waker: &'a Arc<Waker>,
}

/// Devices that are only looked at to be saved and restored.
#[derive(Default)]
pub(crate) struct Devices {
    /// The real-time clock, if there is one.
    pub rtc: Option<Arc<Rtc>>,
    /// The timers that all cores share, if there are such.
    pub timer: Option<Arc<DualTimer>>,
    /// The system registers, if there are such.
    pub sregs: Option<Arc<SystemRegisters>>,
    /// The SATA controller, if there is one.
    pub ahci: Option<Arc<Mutex<Ahci>>>,
    /// The blocks that an R-Car SoC is controlled by, in the order of the board.
    pub blocks: Vec<Arc<Block>>,
    /// Its DMA controllers, in the order of the board.
    pub dmacs: Vec<Arc<Dmac>>,
    /// The DMA tester, if there is one.
    pub dma_tester: Option<Arc<DmaTester>>,
    /// In the order of the board.
    pub clocks: Vec<Arc<ClockGenerator>>,
    /// In the order of the board.
    pub virtio: Vec<Arc<Mutex<VirtioMmio>>>,
}

impl Devices {
    /// Returns those that do something at a time of their own.
    pub fn alarms(&self) -> Vec<Arc<dyn Alarm>> {
        let rtc = self.rtc.clone().map(|rtc| rtc as Arc<dyn Alarm>);
        let timer = self.timer.clone().map(|timer| timer as Arc<dyn Alarm>);
        let dmacs = self.dmacs.iter().cloned();
        let dmacs = dmacs.map(|dmac| dmac as Arc<dyn Alarm>);
        rtc.into_iter().chain(timer).chain(dmacs).collect()
    }

    /// Returns those that go on later with what exceeds their turn, in the order of the board.
    fn going_on(&self) -> Vec<Arc<Mutex<dyn GoesOn>>> {
        let virtio = self.virtio.iter().cloned();
        let virtio = virtio.map(|slot| slot as Arc<Mutex<dyn GoesOn>>);
        let ahci = self.ahci.clone().map(|ahci| ahci as Arc<Mutex<dyn GoesOn>>);
        virtio.chain(ahci).collect()
    }
}

/// The things that devices work with, there before any of them is made.
pub(crate) struct Supplies {
    /// The guest's memory.
    pub ram: Arc<GuestRam>,
    /// The controller that brings their interrupts to the cores.
    pub controller: Controller,
    /// The guest's clock.
    pub timing: Timing,
    /// What the real-time clock shows at power-on.
    pub epoch: u32,
    /// In the order of the configuration.
    pub disks: Vec<Disk>,
}

/// A machine while its devices are put in their places.
pub(crate) struct Wiring<'a> {
    config: &'a Config,
    injection: Option<&'a Arc<Injection>>,
    ram: Arc<GuestRam>,
    controller: Controller,
    lines: Lines<'a>,
    timing: Timing,
    epoch: u32,
    control: Arc<Control>,
    deferred_work: Arc<DeferredWork>,
    schedule: Arc<Schedule>,
    iommus: Iommus,
    bus: SystemBus,
    /// Until a console takes it.
    sink: Option<Box<dyn ConsoleSink>>,
    /// Tells a DMA tester of what its script waits for.
    events: Option<Arc<ScriptEvents>>,
    /// Who is told of accesses of devices that stand behind no IOMMU.
    direct: Option<Arc<dyn IommuSink>>,
    console: Option<Arc<dyn Console>>,
    /// Those that were made.
    pub devices: Devices,
    /// Those that have no place yet.
    disks: std::vec::IntoIter<Disk>,
    counters: Vec<Arc<Counters>>,
    virtio_iommus: Vec<Arc<Mutex<VirtioMmio>>>,
    /// Those of other processes.
    writes: Vec<Writes>,
    /// The memory as the bus masters see it, by name.
    spaces: Vec<(String, DmaSpace)>,
    targets: BTreeMap<String, Target>,
}

/// The parts of a machine when all devices are in their places.
pub(crate) struct Wired {
    pub bus: Arc<SystemBus>,
    pub controller: Controller,
    pub console: Arc<dyn Console>,
    pub timing: Timing,
    pub control: Arc<Control>,
    pub disks: Vec<Arc<Counters>>,
    pub devices: Devices,
    pub deferred_work: Arc<DeferredWork>,
    pub schedule: Arc<Schedule>,
    pub iommus: Iommus,
    pub dma: Vec<(String, DmaSpace)>,
    pub faults: Option<Targets>,
}

impl<'a> Wiring<'a> {
    /// Returns what the devices at `entries` need: interrupt lines, IOMMUs and an empty bus.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn new(
        config: &'a Config,
        entries: &[Entry],
        supplies: Supplies,
        connections: HostConnections<'a>,
    ) -> Result<Self, Error> {
        let Supplies {
            ram,
            controller,
            timing,
            epoch,
            disks,
        } = supplies;
        let HostConnections {
            console,
            sink,
            injection,
            waker,
        } = connections;
        let lines = Lines::new(&controller, sink, injection);
        let control = Arc::new(Control::new(Arc::clone(waker)));
        let deferred_work = Arc::new(DeferredWork::new(Arc::clone(waker)));
        let schedule = Arc::new(Schedule::new(timing.clock(), Arc::clone(&control)));
        let behind = |entry: &&Entry, port| entry.ports().any(|own| own == port);
        let masters = |port: Port| names(entries.iter().filter(|e| behind(e, port)));
        let events = ScriptEvents::of(config);
        let told = events.clone().map(|events| events as Arc<dyn IommuSink>);
        let told = BothSinks::of(told, sink.cloned());
        // Before all other devices, whose view of memory an IOMMU gives them.
        let iommus = Iommus::new(
            entries,
            &IommuContext {
                config,
                masters: &masters,
                // Of all entries, bus masters or not: a `SourceId` is an index into this list.
                sources: &names(entries),
                ram: &ram,
                line: &|entry| lines.of_iommu(entry),
                clock: &timing.clock(),
                sink: told.as_ref(),
                deferred_work: &deferred_work,
                faults: &|entry| match injection {
                    Some(injection) => {
                        Faults::by(Arc::new(IommuPoints::new(injection, &entry.name)))
                    }
                    None => Faults::NONE,
                },
            },
        )?;
        Ok(Self {
            config,
            injection,
            controller,
            lines,
            control,
            iommus,
            bus: SystemBus::new(Arc::clone(&ram), Arc::clone(&deferred_work)),
            deferred_work,
            schedule,
            timing,
            epoch,
            ram,
            sink: Some(console),
            events,
            direct: sink.filter(|sink| sink.wants_direct()).cloned(),
            console: None,
            devices: Devices::default(),
            disks: disks.into_iter(),
            counters: Vec::new(),
            virtio_iommus: Vec::new(),
            writes: Vec::new(),
            spaces: Vec::new(),
            targets: BTreeMap::new(),
        })
    }

    /// Returns what the machine is to be.
    pub fn config(&self) -> &'a Config {
        self.config
    }

    /// Returns the guest's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.timing.clock()
    }

    /// Returns what a real-time clock shows at power-on, in seconds since 1970-01-01 00:00 UTC.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Returns what ends or interrupts a run.
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// Returns when devices work, and how much.
    pub fn schedule(&self) -> Arc<Schedule> {
        Arc::clone(&self.schedule)
    }

    /// Returns what tells a DMA tester of what its script waits for, if that waits for anything.
    pub fn script_events(&self) -> Option<Arc<ScriptEvents>> {
        self.events.clone()
    }

    /// Returns who brings interrupts to the cores.
    pub const fn controller(&self) -> &Controller {
        &self.controller
    }

    /// Returns what tells devices with banked registers who asks.
    pub fn current_cpu(&self) -> CurrentCpu {
        self.bus.current_cpu()
    }

    /// Returns the IOMMUs.
    pub const fn iommus(&self) -> &Iommus {
        &self.iommus
    }

    /// Returns the first interrupt line of `entry`, with nothing in between.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn line(&self, entry: &Entry) -> Result<Arc<dyn Interrupt>, Error> {
        self.lines.plain(entry)
    }

    /// Returns the first interrupt line of `entry`, with whoever looks at it or puts faults in
    /// between.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn device_line(&self, entry: &Entry) -> Result<Arc<dyn Interrupt>, Error> {
        self.lines.of_device(entry)
    }

    /// Returns what the device at `entry` sees of memory, as `source`, and has it known by the
    /// device's name.
    pub fn master_space(&mut self, entry: &Entry, source: SourceId) -> DmaSpace {
        let (dma, _) = self.space(entry, source);
        self.spaces.push((entry.name.clone(), dma.clone()));
        dma
    }

    /// Returns where the guest's console goes; nowhere, if another console took it.
    pub fn take_console(&mut self) -> Box<dyn ConsoleSink> {
        self.sink.take().unwrap_or_else(|| Box::new(Discard))
    }

    /// Makes `uart` the console, which input comes to.
    pub fn set_console(&mut self, uart: Arc<dyn Console>) {
        self.console = Some(uart);
    }

    /// Returns the next disk, which must be `index` of the configuration, and what that says of it.
    pub fn next_disk(&mut self, index: usize) -> Option<(Disk, &'a DiskConfig)> {
        self.disks.next().zip(self.config.disks.get(index))
    }

    /// Makes a disk appear in the machine's summary.
    pub fn count_disk(&mut self, counters: Arc<Counters>) {
        self.counters.push(counters);
    }

    /// Returns the faults that are injected at the device of `entry`, if any may be.
    pub fn faults(&self, entry: &Entry) -> Option<DeviceFaults> {
        let injection = self.injection?;
        Some(DeviceFaults::new(injection, &entry.name))
    }

    /// Puts `device` at window `window` of `entry`.
    ///
    /// # Errors
    /// When another device has these addresses.
    pub fn attach(
        &mut self,
        entry: &Entry,
        window: usize,
        device: Arc<dyn DeviceMmio + Send + Sync>,
    ) -> Result<(), Error> {
        let placed = self.bus.attach(&entry.name, entry.ranges[window], device);
        placed.map_err(|e| Error::Host {
            what: "lay out the memory map",
            source: Box::new(e),
        })
    }

    /// Returns what the device at `entry` sees of memory, as `source`, and whether through an
    /// IOMMU.
    pub fn space(&self, entry: &Entry, source: SourceId) -> (DmaSpace, bool) {
        self.space_at(entry, entry.iommu, source)
    }

    /// Returns the same for one port of a device that has several.
    pub fn space_at(
        &self,
        entry: &Entry,
        port: Option<Port>,
        source: SourceId,
    ) -> (DmaSpace, bool) {
        // A port of a valid configuration exists.
        let space = port.and_then(|port| self.iommus.space(port));
        let translated = space.is_some();
        let dma = space.unwrap_or_else(|| self.untranslated(entry));
        // Several bus masters may share a port: this tells them apart in events and faults.
        (dma.with_source(source), translated)
    }

    /// Returns memory as a device that stands behind no IOMMU sees it.
    fn untranslated(&self, entry: &Entry) -> DmaSpace {
        let ram = Arc::clone(&self.ram);
        match &self.direct {
            Some(sink) => direct::space(ram, &entry.name, self.clock(), Arc::clone(sink)),
            None => DmaSpace::pass_through(ram),
        }
    }

    /// Returns the guest's memory.
    pub fn memory(&self) -> Arc<GuestRam> {
        Arc::clone(&self.ram)
    }

    /// Has `listener` told of what the device at `entry` meets at its IOMMU.
    ///
    /// # Errors
    /// The IOMMU takes no listener there.
    pub fn listen(&self, entry: &Entry, listener: Box<dyn DmaListener>) -> Result<(), Error> {
        let port = entry.iommu.ok_or(Error::Host {
            what: "follow an IOMMU",
            source: "the device stands behind none".into(),
        })?;
        self.iommus.listen(port, listener)
    }

    /// Puts `device` in the virtio-mmio slot of `entry`, behind the IOMMU that stands there.
    ///
    /// # Errors
    /// When KVM refuses, or another device has these addresses.
    pub fn transport(
        &mut self,
        entry: &Entry,
        source: SourceId,
        device: Box<dyn VirtioDevice>,
    ) -> Result<Arc<Mutex<VirtioMmio>>, Error> {
        let (dma, translated) = self.space(entry, source);
        // Behind an IOMMU a driver must not use physical addresses (VIRTIO_F_ACCESS_PLATFORM,
        // virtio 1.2, 6).
        let access_platform = self.config.access_platform || translated;
        self.spaces.push((entry.name.clone(), dma.clone()));
        let line = self.lines.of_device(entry)?;
        let mut slot = VirtioMmio::new(device, dma.clone(), line, access_platform);
        if let Some(faults) = self.faults(entry) {
            slot.set_faults(faults);
        }
        // In host time the device thread replaces it by a pace of its own.
        slot.set_schedule(Arc::clone(&self.schedule));
        let slot = Arc::new(Mutex::new(slot));
        self.attach(entry, 0, slot.clone())?;
        let target = Target {
            slot: slot.clone(),
            dma,
        };
        self.targets.insert(entry.name.clone(), target);
        // In the order of the board: saved states and notifications find a slot by its place.
        self.devices.virtio.push(Arc::clone(&slot));
        Ok(slot)
    }

    /// Lets a virtio-iommu go on with what it could not do at once.
    pub fn add_virtio_iommu(&mut self, slot: Arc<Mutex<VirtioMmio>>) {
        self.virtio_iommus.push(slot);
    }

    /// Has the cores see what another process writes to memory, when they are told to fetch anew.
    pub fn watch_writes(&mut self, writes: Writes) {
        self.writes.push(writes);
    }

    /// Connects what could not be before all devices at `entries` were there.
    ///
    /// # Errors
    /// When none of them was a console.
    pub fn finish(self, entries: &[Entry]) -> Result<Wired, Error> {
        // Both had to exist before the devices that hold them, and learn of those only now.
        self.deferred_work.connect(&self.virtio_iommus);
        self.schedule.connect(&self.devices.going_on());
        watch(&self.ram, self.writes);
        let console = self.console.ok_or_else(|| Error::Host {
            what: "make a board without a console",
            source: "every board has one".into(),
        })?;
        let faults = self.injection.map(|injection| {
            let control = Arc::clone(&self.control);
            injection.connect(self.timing.clock(), control, names(entries));
            Targets {
                injection: Arc::clone(injection),
                devices: self.targets,
                lines: self.lines.into_faulty(),
                show_status: self.iommus.show_status(entries),
            }
        });
        Ok(Wired {
            bus: Arc::new(self.bus),
            controller: self.controller,
            console,
            timing: self.timing,
            control: self.control,
            disks: self.counters,
            devices: self.devices,
            deferred_work: self.deferred_work,
            schedule: self.schedule,
            iommus: self.iommus,
            dma: self.spaces,
            faults,
        })
    }
}
