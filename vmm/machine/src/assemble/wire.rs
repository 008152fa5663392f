//! Makes a machine's devices and cores and connects them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use viommu::inject::Faults;
use viommu::{DmaSpace, SourceId};
use vm_device::DeviceMmio;
use vm_memory::GuestMemoryMmap;
use vmm_devices::clkgen::ClockGenerator;
use vmm_devices::irq::Gic;
use vmm_devices::rtc::Rtc;
use vmm_devices::uart::{ConsoleSink, Uart};
use vmm_devices::virtio::block::{Block, Counters, Disk};
use vmm_devices::virtio::deferred_work::DeferredWork;
use vmm_devices::virtio::rng::Rng;
use vmm_devices::virtio::schedule::Schedule;
use vmm_devices::virtio::{VirtioDevice, VirtioMmio};
use vmm_faults::{DeviceFaults, Injection, IommuPoints};

use super::lines::Lines;
use super::{Devices, Parts, Resources, noise_seed};
use crate::board::{Device, Entry, Irq, RTC_IRQ, UART_IRQ};
use crate::bus::{DistributorPort, InterfacePort, SystemBus};
use crate::config::Config;
use crate::controller::Controller;
use crate::error::Error;
use crate::iommu::models::{Face, IommuContext};
use crate::iommu::{IommuSink, Iommus};
use crate::layout;
use crate::targets::{Target, Targets};
use crate::vcpu::{Control, Emulated, Timing, Vcpus, Waker, kvm};

/// What a machine is connected to outside itself.
pub(crate) struct HostConnections<'a> {
    /// Where the guest's console goes.
    pub console: Box<dyn ConsoleSink>,
    /// Who is told of what happens at the IOMMUs.
    pub sink: Option<&'a Arc<dyn IommuSink>>,
    /// The faults that are put in.
    pub injection: Option<&'a Arc<Injection>>,
    /// Wakes the machine when it waits for something to do.
    pub waker: &'a Arc<Waker>,
}

/// Makes the devices and the cores of the valid `config`, all at reset, and wires them.
pub(crate) fn wire(
    config: &Config,
    resources: Resources,
    connections: HostConnections<'_>,
) -> Result<Parts, Error> {
    let (board, acceleration) = (resources.board.clone(), resources.acceleration.clone());
    let (timing, waker) = (resources.timing.clone(), connections.waker);
    let injection = connections.injection;
    let mut wiring = Wiring::new(config, resources, connections)?;
    for (source, entry) in (0..).map(SourceId).zip(&board.devices) {
        wiring.place(source, entry)?;
    }
    wiring.deferred_work.connect(&wiring.virtio_iommus);
    wiring.schedule.connect(&wiring.devices.virtio);
    let bus = Arc::new(wiring.bus);
    let vcpus = match &wiring.controller {
        Controller::Kvm(vm) => kvm::vcpus(vm, bus.clone(), Arc::clone(waker)),
        Controller::Emulated(gic) => emulated(config.cpus, &bus, &timing, gic, &wiring.control),
    };
    let faults = injection.map(|injection| {
        let control = Arc::clone(&wiring.control);
        injection.connect(timing.clock(), control, board.names());
        Targets {
            injection: Arc::clone(injection),
            devices: wiring.targets,
            lines: wiring.lines.into_faulty(),
            show_status: wiring.iommus.show_status(&board.devices),
        }
    });
    Ok(Parts {
        bus,
        acceleration,
        vcpus,
        controller: wiring.controller,
        uart: wiring.uart,
        timing,
        control: wiring.control,
        disks: wiring.counters,
        devices: wiring.devices,
        deferred_work: wiring.deferred_work,
        schedule: wiring.schedule,
        iommus: wiring.iommus,
        dma: wiring.spaces,
        faults,
        board,
    })
}

/// Interpreted cores, connected to the interrupt controller and to requests.
fn emulated(
    cpus: u8,
    bus: &Arc<SystemBus>,
    timing: &Timing,
    gic: &Gic,
    control: &Control,
) -> Box<dyn Vcpus> {
    let cpus = usize::from(cpus);
    let vcpus = Emulated::new(cpus, bus.clone(), timing.clock());
    let pins: Vec<_> = (0..cpus).map(|cpu| vcpus.pins(cpu)).collect();
    gic.connect(pins.clone());
    control.connect(pins);
    Box::new(vcpus)
}

/// A machine while its devices are put in their places.
struct Wiring<'a> {
    config: &'a Config,
    injection: Option<&'a Arc<Injection>>,
    ram: Arc<GuestMemoryMmap<()>>,
    controller: Controller,
    lines: Lines<'a>,
    control: Arc<Control>,
    deferred_work: Arc<DeferredWork>,
    schedule: Arc<Schedule>,
    iommus: Iommus,
    bus: SystemBus,
    uart: Arc<Uart>,
    devices: Devices,
    /// Those that have no place yet.
    disks: std::vec::IntoIter<Disk>,
    counters: Vec<Arc<Counters>>,
    virtio_iommus: Vec<Arc<Mutex<VirtioMmio>>>,
    /// What the bus masters see of memory, by name.
    spaces: Vec<(String, DmaSpace)>,
    targets: BTreeMap<String, Target>,
}

impl<'a> Wiring<'a> {
    /// What all devices need: interrupt lines, IOMMUs and an empty bus.
    fn new(
        config: &'a Config,
        resources: Resources,
        connections: HostConnections<'a>,
    ) -> Result<Self, Error> {
        let Resources {
            board,
            vm,
            disks,
            ram,
            timing,
            epoch,
            acceleration: _,
        } = resources;
        let HostConnections {
            console,
            sink,
            injection,
            waker,
        } = connections;
        let cpus = usize::from(config.cpus);
        let gic = || Arc::new(Gic::new(cpus, layout::IRQS, Arc::clone(waker)));
        let controller = vm.map_or_else(|| Controller::Emulated(gic()), Controller::Kvm);
        let lines = Lines::new(&controller, sink, injection);
        let control = Arc::new(Control::new(Arc::clone(waker)));
        let stopper = Arc::clone(&control);
        let uart = Uart::new(
            lines.plain(UART_IRQ)?,
            console,
            Box::new(move || stopper.console_stop()),
        );
        let looker = Arc::clone(&control);
        let rtc = Rtc::new(
            timing.clock(),
            epoch,
            lines.plain(RTC_IRQ)?,
            Box::new(move || looker.recheck()),
        );
        let deferred_work = Arc::new(DeferredWork::new(Arc::clone(waker)));
        let schedule = Arc::new(Schedule::new(timing.clock(), Arc::clone(&control)));
        let masters = |port| board.masters(port).into_iter().map(str::to_owned).collect();
        let iommus = Iommus::new(
            &board.devices,
            &IommuContext {
                config,
                masters: &masters,
                sources: &board.names(),
                ram: &ram,
                line: &|entry| lines.of_iommu(entry),
                clock: &timing.clock(),
                sink,
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
            ram,
            uart: Arc::new(uart),
            devices: Devices {
                rtc: Arc::new(rtc),
                clocks: Vec::new(),
                virtio: Vec::new(),
            },
            disks: disks.into_iter(),
            counters: Vec::new(),
            virtio_iommus: Vec::new(),
            spaces: Vec::new(),
            targets: BTreeMap::new(),
        })
    }

    /// Puts a device of the board in its place; if it is a bus master its accesses have this `source`.
    fn place(&mut self, source: SourceId, entry: &Entry) -> Result<(), Error> {
        match entry.device {
            Device::Gic => self.gic(entry),
            Device::Uart => self.attach(entry, 0, self.uart.clone()),
            Device::Rtc => self.attach(entry, 0, self.devices.rtc.clone()),
            Device::ClockGenerator(_) => {
                let clock = Arc::new(ClockGenerator::default());
                self.devices.clocks.push(clock.clone());
                self.attach(entry, 0, clock)
            }
            Device::Iommu(..) => match (self.iommus.face(entry.device), entry.irq) {
                (Some(Face::Window(window)), _) => self.attach(entry, 0, window),
                (Some(Face::Transport(device)), Some(irq)) => {
                    let slot = self.slot(source, entry, device, irq)?;
                    self.virtio_iommus.push(slot);
                    Ok(())
                }
                _ => Ok(()),
            },
            Device::Disk(index) => match (self.disk(index, entry), entry.irq) {
                (Some(device), Some(irq)) => {
                    let slot = self.slot(source, entry, device, irq)?;
                    if self.config.disks[index].broken {
                        lock(&slot).set_broken();
                    }
                    Ok(())
                }
                _ => Ok(()),
            },
            Device::Rng => match entry.irq {
                Some(irq) => {
                    let device = Box::new(Rng::new(noise_seed(self.config)));
                    self.slot(source, entry, device, irq).map(drop)
                }
                None => Ok(()),
            },
        }
    }

    /// Puts the interrupt controller in its place, unless the host's kernel has it.
    fn gic(&mut self, entry: &Entry) -> Result<(), Error> {
        let Some(gic) = self.controller.emulated().cloned() else {
            return Ok(());
        };
        let current_cpu = self.bus.current_cpu();
        let distributor = DistributorPort(Arc::clone(&gic), Arc::clone(&current_cpu));
        self.attach(entry, 0, Arc::new(distributor))?;
        self.attach(entry, 1, Arc::new(InterfacePort(gic, current_cpu)))
    }

    /// Puts `device` at window `window` of the board's entry.
    fn attach(
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

    /// Disk `index` of the configuration; the board has them in that order.
    fn disk(&mut self, index: usize, entry: &Entry) -> Option<Box<dyn VirtioDevice>> {
        let disk = self.disks.next()?;
        let queues = self.config.disks[index].queues;
        let mut block = Block::new(disk, &format!("viommu-disk{index}"), queues);
        self.counters.push(block.counters());
        if let Some(injection) = self.injection {
            block.set_faults(DeviceFaults::new(injection, &entry.name));
        }
        Some(Box::new(block))
    }

    /// Puts `device` in the virtio-mmio slot of the board's entry, behind the IOMMU that stands there.
    fn slot(
        &mut self,
        source: SourceId,
        entry: &Entry,
        device: Box<dyn VirtioDevice>,
        irq: Irq,
    ) -> Result<Arc<Mutex<VirtioMmio>>, Error> {
        // A port of a valid configuration exists.
        let space = entry.iommu.and_then(|port| self.iommus.space(port));
        let access_platform = self.config.access_platform || space.is_some();
        let dma = space.unwrap_or_else(|| DmaSpace::pass_through(Arc::clone(&self.ram)));
        let dma = dma.with_source(source);
        self.spaces.push((entry.name.clone(), dma.clone()));
        let line = self.lines.of_device(&entry.name, irq)?;
        let mut slot = VirtioMmio::new(device, dma.clone(), line, access_platform);
        if let Some(injection) = self.injection {
            slot.set_faults(DeviceFaults::new(injection, &entry.name));
        }
        slot.set_schedule(Arc::clone(&self.schedule));
        let slot = Arc::new(Mutex::new(slot));
        self.attach(entry, 0, slot.clone())?;
        let target = Target {
            slot: slot.clone(),
            dma,
        };
        self.targets.insert(entry.name.clone(), target);
        self.devices.virtio.push(Arc::clone(&slot));
        Ok(slot)
    }
}

/// Nobody else has it yet.
fn lock(slot: &Mutex<VirtioMmio>) -> MutexGuard<'_, VirtioMmio> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
