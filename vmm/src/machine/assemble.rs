//! Puts a machine together from its configuration.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use viommu::DmaSpace;
use viommu::inject::Faults;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::accel;
use super::board::{Board, Device};
use super::bus::{DistributorPort, InterfacePort, SystemBus};
use super::config::{Config, DiskConfig, TimeMode};
use super::error::Error;
use super::fdt::{self, Chosen, SEED_BYTES};
use super::iommu::{IommuSink, Iommus, Surroundings};
use super::layout::{self, Range};
use super::loader::image::{self, Image};
use super::loader::{LoadError, cmdline, place};
use super::saved::TimeState;
use crate::clock::{HostClock, VirtualClock};
use crate::devices::clkgen::ClockGenerator;
use crate::devices::rtc::Rtc;
use crate::devices::uart::{ConsoleSink, Uart};
use crate::devices::virtio::block::{Access, Block, Counters, Disk, DiskError};
use crate::devices::virtio::chores::Chores;
use crate::devices::virtio::rng::Rng;
use crate::devices::virtio::{VirtioDevice, VirtioMmio};
use crate::inject::Injection;
use crate::inject::device::DeviceFaults;
use crate::inject::iommu::IommuPoints;
use crate::inject::line::FaultyLine;
use crate::inject::targets::{Target, Targets};
use crate::irq::{Gic, Interrupt, IrqLine};
use crate::vcpu::{
    Acceleration, BootState, Control, Emulated, Platform, Timing, Vcpus, Waker, kvm,
};

/// What gets its own stream of the seed.
#[derive(Clone, Copy)]
enum Stream {
    KernelSeed = 1,
    Rng = 2,
}

/// A seed for one purpose, so that two consumers never share a stream.
fn derive(seed: u64, stream: Stream) -> u64 {
    let mut mixer = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..stream as u32).fold(0, |_, _| mixer.next_u64())
}

/// Devices that are only looked at to be saved and restored.
pub(super) struct Devices {
    pub rtc: Arc<Rtc>,
    /// In the order of the board.
    pub clocks: Vec<Arc<ClockGenerator>>,
    /// In the order of the board.
    pub virtio: Vec<Arc<Mutex<VirtioMmio>>>,
}

/// What a machine stands on: there before anything is wired.
pub(super) struct Ground {
    pub board: Board,
    /// The machine of KVM that runs the cores, if one does.
    pub vm: Option<Arc<kvm::Vm>>,
    /// In the order of the configuration.
    pub disks: Vec<Disk>,
    pub ram: Arc<GuestMemoryMmap<()>>,
    pub timing: Timing,
    /// What the real-time clock shows at power-on.
    pub epoch: u32,
}

/// The seed of the generator behind a machine's entropy device, which follows from the machine's.
pub fn noise_seed(config: &Config) -> u64 {
    derive(config.seed, Stream::Rng)
}

/// The pieces of a machine, wired together.
pub(super) struct Parts {
    pub bus: Arc<SystemBus>,
    pub acceleration: Acceleration,
    pub vm: Option<Arc<kvm::Vm>>,
    pub vcpus: Box<dyn Vcpus>,
    /// The emulated interrupt controller; on KVM, which has its own, nothing is connected to it.
    pub gic: Arc<Gic>,
    pub uart: Arc<Uart>,
    pub timing: Timing,
    pub control: Arc<Control>,
    pub disks: Vec<Arc<Counters>>,
    pub devices: Devices,
    pub chores: Arc<Chores>,
    pub iommus: Iommus,
    pub dma: Vec<(String, DmaSpace)>,
    pub faults: Option<Targets>,
    pub board: Board,
}

/// Opens, loads and wires everything. A machine that is recorded, whose real-time clock shows `recorded` at power-on, has a
/// clock that moves between slices of work only.
pub(super) fn assemble(
    config: &Config,
    console: Box<dyn ConsoleSink>,
    sink: Option<&Arc<dyn IommuSink>>,
    injection: Option<&Arc<Injection>>,
    waker: &Arc<Waker>,
    recorded: Option<u32>,
) -> Result<Parts, Error> {
    config.validate()?;
    let (kernel, image) = read_kernel(config)?;
    let (acceleration, mut vm) = accel::choose(config, image.kind.width())?;
    let platform = vm.as_ref().map_or(Platform::EMULATED, kvm::Vm::platform);
    let board = Board::on(platform, config);
    let disks = open_disks(config)?;
    let ram = allocate(board.ram)?;
    let boot = load(config, &board, (kernel, image), &ram)?;
    if let Some(vm) = &mut vm {
        vm.populate(config.cpus, Arc::clone(&ram))?;
    }
    let ground = Ground {
        board,
        vm: vm.map(Arc::new),
        disks,
        ram,
        timing: match recorded {
            Some(_) => Timing::Virtual(Arc::default()),
            None => timing(config, TimeState::default()),
        },
        epoch: recorded.unwrap_or_else(|| epoch(config)),
    };
    let mut parts = wire(config, ground, console, sink, injection, waker)?;
    parts.vcpus.boot(boot)?;
    parts.acceleration = acceleration;
    Ok(parts)
}

/// The clock of a machine, which shows `start` at first.
pub(super) fn timing(config: &Config, start: TimeState) -> Timing {
    let TimeState { now_ns, skipped_ns } = start;
    match config.time {
        TimeMode::Virtual => {
            Timing::Virtual(Arc::new(VirtualClock::starting_at(now_ns, skipped_ns)))
        }
        TimeMode::Host => Timing::Host(Arc::new(HostClock::starting_at(now_ns))),
    }
}

/// Makes the devices and the cores of the valid `config`, all at reset, and wires them.
pub(super) fn wire(
    config: &Config,
    ground: Ground,
    console: Box<dyn ConsoleSink>,
    sink: Option<&Arc<dyn IommuSink>>,
    injection: Option<&Arc<Injection>>,
    waker: &Arc<Waker>,
) -> Result<Parts, Error> {
    let Ground {
        board,
        vm,
        disks,
        ram,
        timing,
        epoch,
    } = ground;
    let gic = Arc::new(Gic::new(
        usize::from(config.cpus),
        layout::IRQS,
        Arc::clone(waker),
    ));
    let control = Arc::new(Control::new(Arc::clone(waker)));
    let line = |irq: u32| -> Arc<dyn Interrupt> {
        match &vm {
            Some(vm) => kvm::line(vm, irq),
            None => Arc::new(IrqLine::new(Arc::clone(&gic), irq)),
        }
    };
    let stopper = Arc::clone(&control);
    let uart_irq = layout::SPI_BASE + layout::UART_SPI;
    let uart = Arc::new(Uart::new(
        line(uart_irq),
        console,
        Box::new(move || stopper.console_stop()),
    ));

    let chores = Arc::new(Chores::new(Arc::clone(waker)));
    let lines = Mutex::new(BTreeMap::new());
    let iommus = Iommus::new(
        config,
        &board,
        &Surroundings {
            ram: &ram,
            line: &|entry| {
                let line = line(entry.irq?.id());
                Some(faulty(line, &entry.name, injection, &lines))
            },
            clock: &timing.clock(),
            sink,
            chores: &chores,
            faults: injection.map_or(Faults::NONE, |injection| {
                Faults::by(Arc::new(IommuPoints(Arc::clone(injection))))
            }),
        },
    )?;
    let mut bus = SystemBus::new(Arc::clone(&ram), Arc::clone(&chores));
    let turn = bus.turn_handle();
    let mut disks = disks.into_iter();
    let mut counters = Vec::new();
    let rtc = Arc::new(Rtc::new(timing.clock(), epoch));
    let mut clocks = Vec::new();
    let mut virtio = Vec::new();
    let mut virtio_iommus = Vec::new();
    let mut spaces = Vec::new();
    let mut targets = BTreeMap::new();
    let place_error = |e: vm_device::bus::Error| Error::Host {
        what: "lay out the memory map",
        source: Box::new(e),
    };
    for (index, entry) in board.devices.iter().enumerate() {
        let mut attach =
            |range: Range, device| bus.attach(&entry.name, range, device).map_err(place_error);
        let device: Option<Box<dyn VirtioDevice>> = match entry.device {
            Device::Gic if vm.is_some() => None,
            Device::Gic => {
                attach(
                    entry.ranges[0],
                    Arc::new(DistributorPort(Arc::clone(&gic), Arc::clone(&turn))),
                )?;
                attach(
                    entry.ranges[1],
                    Arc::new(InterfacePort(Arc::clone(&gic), Arc::clone(&turn))),
                )?;
                None
            }
            Device::Uart => {
                attach(entry.ranges[0], uart.clone())?;
                None
            }
            Device::Rtc => {
                attach(entry.ranges[0], rtc.clone())?;
                None
            }
            Device::ClockGenerator(_) => {
                let clock = Arc::new(ClockGenerator::default());
                attach(entry.ranges[0], clock.clone())?;
                clocks.push(clock);
                None
            }
            Device::Disk(index) => disks.next().map(|disk| {
                let mut block = Block::new(
                    disk,
                    &format!("viommu-disk{index}"),
                    config.disks[index].queues,
                );
                counters.push(block.counters());
                if let Some(injection) = injection {
                    block.set_faults(DeviceFaults::new(injection, &entry.name));
                }
                Box::new(block) as Box<dyn VirtioDevice>
            }),
            Device::Rng => Some(Box::new(Rng::new(noise_seed(config)))),
            Device::Ipmmu(_) | Device::IpmmuGen3(_) | Device::IpmmuMain => {
                if let Some(window) = iommus.window(entry.device) {
                    attach(entry.ranges[0], window)?;
                }
                None
            }
            Device::VirtioIommu(_) => iommus.virtio(entry.device),
        };
        if let (Some(device), Some(irq)) = (device, entry.irq) {
            // A port of a valid configuration exists.
            let space = entry.iommu.and_then(|port| iommus.space(port));
            let access_platform = config.access_platform || space.is_some();
            let dma = space.unwrap_or_else(|| DmaSpace::pass_through(Arc::clone(&ram)));
            spaces.push((entry.name.clone(), dma.clone()));
            let line = watched(line(irq.id()), &entry.name, irq.id(), sink);
            let line = faulty(line, &entry.name, injection, &lines);
            let mut slot = VirtioMmio::new(device, dma.clone(), line, access_platform);
            if let Some(injection) = injection {
                slot.set_faults(DeviceFaults::new(injection, &entry.name));
            }
            slot.set_master(index);
            if let Device::Disk(disk) = entry.device
                && config.disks[disk].broken
            {
                slot.set_broken();
            }
            let slot = Arc::new(Mutex::new(slot));
            attach(entry.ranges[0], slot.clone())?;
            if let Device::VirtioIommu(_) = entry.device {
                virtio_iommus.push(Arc::clone(&slot));
            }
            let target = Target {
                slot: slot.clone(),
                dma,
                master: index,
            };
            targets.insert(entry.name.clone(), target);
            virtio.push(slot);
        }
    }
    chores.connect(virtio_iommus);
    let bus = Arc::new(bus);
    let vcpus = match &vm {
        Some(vm) => kvm::vcpus(vm, bus.clone(), Arc::clone(waker)),
        None => emulated(config.cpus, &bus, &timing, &gic, &control),
    };
    let faults = injection.map(|injection| {
        let names = board.devices.iter().map(|entry| entry.name.clone());
        injection.connect(timing.clock(), Arc::clone(&control), names.collect());
        Targets {
            injection: Arc::clone(injection),
            devices: targets,
            lines: lines.into_inner().unwrap_or_else(|e| e.into_inner()),
            show_status: iommus.show_status(&board),
        }
    });
    Ok(Parts {
        bus,
        acceleration: Acceleration::Emulated(None),
        vm,
        vcpus,
        gic,
        uart,
        timing,
        control,
        disks: counters,
        devices: Devices {
            rtc,
            clocks,
            virtio,
        },
        chores,
        iommus,
        dma: spaces,
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

/// What the real-time clock shows at power-on: a fixed time in virtual time, the host's in host time.
pub(super) fn epoch(config: &Config) -> u32 {
    match config.time {
        TimeMode::Virtual => config.epoch,
        TimeMode::Host => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(config.epoch, |time| time.as_secs() as u32),
    }
}

fn open_disks(config: &Config) -> Result<Vec<Disk>, Error> {
    let open = |disk: &DiskConfig| {
        let path = disk.path.clone();
        let access = match disk {
            DiskConfig {
                read_only: true, ..
            } => Access::Read,
            DiskConfig { overlay: true, .. } => Access::Overlay,
            _ => Access::Write,
        };
        Disk::open(&disk.path, access).map_err(|error| match error {
            DiskError::Open(source) => Error::DiskOpen { path, source },
            DiskError::Kind => Error::DiskKind(path),
            DiskError::Locked => Error::DiskLocked(path),
        })
    };
    config.disks.iter().map(open).collect()
}

/// The line, with `sink` told of what happens on it if it wants to know.
fn watched(
    line: Arc<dyn Interrupt>,
    device: &str,
    irq: u32,
    sink: Option<&Arc<dyn IommuSink>>,
) -> Arc<dyn Interrupt> {
    match sink {
        Some(sink) if sink.wants_interrupts() => Arc::new(WatchedLine {
            line,
            device: device.to_owned(),
            irq,
            sink: Arc::clone(sink),
        }),
        _ => line,
    }
}

/// The line, with faults put in on it if there are any.
fn faulty(
    line: Arc<dyn Interrupt>,
    device: &str,
    injection: Option<&Arc<Injection>>,
    lines: &Mutex<BTreeMap<String, Arc<FaultyLine>>>,
) -> Arc<dyn Interrupt> {
    let Some(injection) = injection else {
        return line;
    };
    let faulty = Arc::new(FaultyLine::new(line, injection, device));
    let mut lines = lines.lock().unwrap_or_else(|e| e.into_inner());
    lines.insert(device.to_owned(), Arc::clone(&faulty));
    faulty
}

/// An interrupt line that someone looks at.
struct WatchedLine {
    line: Arc<dyn Interrupt>,
    device: String,
    irq: u32,
    sink: Arc<dyn IommuSink>,
}

impl Interrupt for WatchedLine {
    fn set(&self, level: bool) {
        self.sink.interrupt(&self.device, self.irq, level);
        self.line.set(level);
    }

    fn pulse(&self) {
        self.sink.interrupt(&self.device, self.irq, true);
        self.sink.interrupt(&self.device, self.irq, false);
        self.line.pulse();
    }
}

fn allocate(ram: Range) -> Result<Arc<GuestMemoryMmap<()>>, Error> {
    let fail = |e: Box<dyn std::error::Error + Send + Sync>| Error::Memory {
        size: super::ByteSize(ram.size),
        source: e,
    };
    let size = usize::try_from(ram.size).map_err(|e| fail(Box::new(e)))?;
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(ram.base), size)])
        .map_err(|e| fail(Box::new(e)))?;
    Ok(Arc::new(memory))
}

/// Reads a file of at most `most` bytes; a longer one comes back one byte too long, for the caller to refuse.
fn read(path: &Path, what: &'static str, most: u64) -> Result<Vec<u8>, Error> {
    let fail = |source| Error::Read {
        what,
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Reads the kernel and understands what it is.
fn read_kernel(config: &Config) -> Result<(Vec<u8>, Image), Error> {
    let kernel = read(&config.kernel, "kernel", config.ram().size)?;
    let image = image::parse(&kernel, config.kernel_format).map_err(|source| Error::Load {
        path: config.kernel.clone(),
        source,
    })?;
    Ok((kernel, image))
}

/// Loads kernel, initrd and device tree.
fn load(
    config: &Config,
    board: &Board,
    (kernel, image): (Vec<u8>, Image),
    ram: &GuestMemoryMmap<()>,
) -> Result<BootState, Error> {
    let fail = |source| Error::Load {
        path: config.kernel.clone(),
        source,
    };
    let initrd = config
        .initrd
        .as_ref()
        .map(|path| read(path, "initrd", board.ram.size))
        .transpose()?;
    let placed = place::place(
        board.ram,
        &image,
        initrd.as_ref().map(|bytes| bytes.len() as u64),
    )
    .map_err(fail)?;
    let dtb = device_tree(config, board, placed.initrd).map_err(fail)?;
    let initrd = placed
        .initrd
        .zip(initrd)
        .map(|(range, bytes)| (range.base, bytes));
    for (addr, bytes) in [(placed.kernel, kernel), (placed.dtb, dtb)]
        .into_iter()
        .chain(initrd)
    {
        // What was placed lies in RAM.
        ram.write_slice(&bytes, GuestAddress(addr))
            .map_err(|e| Error::Host {
                what: "write the guest's memory",
                source: Box::new(e),
            })?;
    }
    let (Ok(entry), Ok(dtb)) = (u32::try_from(placed.kernel), u32::try_from(placed.dtb)) else {
        // RAM_END_MAX keeps all of RAM below 4 GiB.
        unreachable!("RAM lies below 4 GiB");
    };
    Ok(BootState { entry, dtb })
}

fn device_tree(
    config: &Config,
    board: &Board,
    initrd: Option<Range>,
) -> Result<Vec<u8>, LoadError> {
    let mut rng_seed = [0; SEED_BYTES];
    let seed = derive(config.seed, Stream::KernelSeed);
    Xoshiro256PlusPlus::seed_from_u64(seed).fill_bytes(&mut rng_seed);
    let cmdline = cmdline(&config.cmdline)?;
    let chosen = Chosen {
        cmdline: &cmdline,
        initrd,
        rng_seed: &rng_seed,
    };
    let dtb = fdt::generate(board, &chosen).map_err(|e| LoadError::Cmdline(e.to_string()))?;
    if dtb.len() as u64 > place::DTB_ROOM {
        return Err(LoadError::DtbTooLarge(dtb.len()));
    }
    Ok(dtb)
}
