//! Puts a machine together from its configuration.

mod boot;
mod lines;
mod wire;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use viommu::DmaSpace;
use vm_memory::GuestMemoryMmap;
use vmm_base::{HostClock, VirtualClock};
use vmm_devices::clkgen::ClockGenerator;
use vmm_devices::rtc::Rtc;
use vmm_devices::uart::Uart;
use vmm_devices::virtio::VirtioMmio;
use vmm_devices::virtio::block::spec::SECTOR;
use vmm_devices::virtio::block::{Access, Counters, Disk, DiskError};
use vmm_devices::virtio::deferred_work::DeferredWork;
use vmm_devices::virtio::schedule::Schedule;

use super::accel;
use super::board::Board;
use super::bus::SystemBus;
use super::config::{Config, DiskConfig, TimeMode};
use super::controller::Controller;
use super::error::Error;
use super::iommu::Iommus;
use super::saved::TimeState;
use crate::targets::Targets;
use crate::vcpu::{Acceleration, Control, Platform, Timing, Vcpus, Width, kvm};

pub(super) use wire::{HostConnections, wire};

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
pub(super) struct Resources {
    pub board: Board,
    /// What the cores are run by.
    pub acceleration: Acceleration,
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
    pub vcpus: Box<dyn Vcpus>,
    pub controller: Controller,
    pub uart: Arc<Uart>,
    pub timing: Timing,
    pub control: Arc<Control>,
    pub disks: Vec<Arc<Counters>>,
    pub devices: Devices,
    pub deferred_work: Arc<DeferredWork>,
    pub schedule: Arc<Schedule>,
    pub iommus: Iommus,
    pub dma: Vec<(String, DmaSpace)>,
    pub faults: Option<Targets>,
    pub board: Board,
}

/// Checks all that can be checked without the kernel, which will be one of `width`, so that
/// mistakes are told before it is fetched or built: the configuration, disks, initrd, memory, and
/// what shall execute the guest.
///
/// # Errors
/// Those of [`MachineBuilder::build`](super::MachineBuilder::build).
pub fn check(config: &Config, width: Width) -> Result<(), Error> {
    config.validate()?;
    accel::choose(config, width)?;
    open_disks(config)?;
    boot::check(config)
}

/// The registers of the processor that the kernel of `config` is for.
///
/// # Errors
/// The file cannot be read, or is no kernel that boots here.
pub fn kernel_width(config: &Config) -> Result<Width, Error> {
    boot::read_kernel(config).map(|(_, image)| image.kind.width())
}

/// Opens, loads and wires everything. A machine that is recorded, whose real-time clock shows
/// `recorded` at power-on, has a clock that moves between slices of work only.
pub(super) fn assemble(
    config: &Config,
    connections: HostConnections<'_>,
    recorded: Option<u32>,
) -> Result<Parts, Error> {
    config.validate()?;
    let (kernel, image) = boot::read_kernel(config)?;
    let (acceleration, mut vm) = accel::choose(config, image.kind.width())?;
    let platform = vm.as_ref().map_or(Platform::EMULATED, kvm::Vm::platform);
    let board = Board::on(platform, config);
    let disks = open_disks(config)?;
    let ram = boot::allocate(board.ram)?;
    let boot = boot::load(config, &board, (kernel, image), &ram)?;
    if let Some(vm) = &mut vm {
        vm.populate(config.cpus, Arc::clone(&ram), connections.waker)?;
    }
    let resources = Resources {
        board,
        acceleration,
        vm: vm.map(Arc::new),
        disks,
        ram,
        timing: match recorded {
            Some(_) => Timing::Virtual(Arc::default()),
            None => timing(config, TimeState::default()),
        },
        epoch: recorded.unwrap_or_else(|| config.epoch_now()),
    };
    let mut parts = wire(config, resources, connections)?;
    parts.vcpus.boot(boot)?;
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

fn open_disks(config: &Config) -> Result<Vec<Disk>, Error> {
    let open = |(index, disk): (usize, &DiskConfig)| {
        let path = disk.path.clone();
        let access = match disk {
            DiskConfig {
                read_only: true, ..
            } => Access::Read,
            DiskConfig { overlay: true, .. } => Access::Overlay,
            _ => Access::Write,
        };
        let opened = Disk::open(&disk.path, access).map_err(|error| match error {
            DiskError::Open(source) => Error::DiskOpen { path, source },
            DiskError::Kind => Error::DiskKind(path),
            DiskError::Locked => {
                let others = config.disks[..index].iter().map(|disk| &disk.path);
                match others.into_iter().find(|other| same_file(other, &path)) {
                    Some(other) => Error::DiskTwice {
                        other: other.clone(),
                        path,
                    },
                    None => Error::DiskLocked(path),
                }
            }
        })?;
        check_contents(disk, &opened)?;
        Ok(opened)
    };
    config.disks.iter().enumerate().map(open).collect()
}

/// Whether both names are of one file.
fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    identity(one).is_some_and(|found| identity(other) == Some(found))
}

/// Whether a disk's bytes are those of a raw image, as far as that can be told.
fn check_contents(config: &DiskConfig, disk: &Disk) -> Result<(), Error> {
    let fail = |source| Error::DiskOpen {
        path: config.path.clone(),
        source,
    };
    let path = || config.path.clone();
    match disk.format().map_err(fail)? {
        Some(format) if !config.raw => Err(Error::DiskFormat {
            path: path(),
            format,
        }),
        _ => match disk.bytes().map_err(fail)? {
            bytes if bytes.is_multiple_of(SECTOR) => Ok(()),
            bytes => Err(Error::DiskSize {
                path: path(),
                bytes,
            }),
        },
    }
}
