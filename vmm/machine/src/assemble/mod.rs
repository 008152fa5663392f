//! Puts a machine together from its configuration.

mod boot;
mod wire;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use vmm_base::{HostClock, VirtualClock};
use vmm_devices::disk::SECTOR;
use vmm_devices::disk::{Access, Disk, DiskError};

use super::accel;
use super::board::Board;
use super::config::{Config, DiskConfig, TimeMode};
use super::error::Error;
use super::saved::TimeState;
use crate::parts::virtio::net;
use crate::vcpu::{Platform, Timing, Width, kvm};
use crate::wiring::HostConnections;

pub use boot::check_tree;
pub(super) use wire::{Pieces, Resources, wire};

/// Checks all that can be checked without the kernel, which will be one of `width`, so that
/// mistakes are told before it is fetched or built: the configuration, disks, initrd, memory, and
/// what shall execute the guest.
///
/// # Errors
/// Those of [`MachineBuilder::build`](super::MachineBuilder::build).
pub fn check(config: &Config, width: Width) -> Result<(), Error> {
    config.validate()?;
    // What is had for a try, KVM's machine, locks of disks and memory, is given back at once.
    accel::choose(config, width)?;
    open_disks(config)?;
    check_sockets(config)?;
    config.with_folders()?;
    for net in &config.nets {
        // They are given back at once, too.
        net::listening(net)?;
    }
    boot::check(config)
}

/// Returns the registers of the processor that the kernel of `config` is for.
///
/// # Errors
/// The file cannot be read, or is no kernel that boots here.
pub fn kernel_width(config: &Config) -> Result<Width, Error> {
    boot::read_kernel(config).map(|kernel| kernel.image.kind.width())
}

/// Opens, loads and wires everything. A machine that is recorded, whose real-time clock shows
/// `recorded` at power-on, has a clock that moves between slices of work only.
pub(super) fn assemble(
    config: &Config,
    connections: HostConnections<'_>,
    recorded: Option<u32>,
) -> Result<Pieces, Error> {
    // Boards are laid out of valid configurations only.
    config.validate()?;
    if recorded.is_some() && !config.vhost_user.is_empty() {
        return Err(Error::VhostUserState("recorded"));
    }
    if recorded.is_some() && config.has_user_network() {
        return Err(Error::NetRecorded);
    }
    // Before anything is made: the kernel's width decides what can run it.
    let kernel = boot::read_kernel(config)?;
    let (acceleration, mut vm) = accel::choose(config, kernel.image.kind.width())?;
    let platform = vm.as_ref().map_or(Platform::EMULATED, kvm::Vm::platform);
    // The kind and the place of the interrupt controller are those of whoever runs the cores.
    let board = Board::on(platform, config);
    let disks = open_disks(config)?;
    let ram = boot::allocate(board.ram, !config.vhost_user.is_empty())?;
    let boot = boot::load(config, &board, kernel, &ram)?;
    // Before the devices are wired: KVM connects interrupt lines only to a controller that is set
    // up (Linux, virt/kvm/eventfd.c, `kvm_irqfd_assign`).
    if let Some(vm) = &mut vm {
        vm.populate(config.cpus, &board.gic, Arc::clone(&ram), connections.waker)?;
    }
    let resources = Resources {
        board,
        acceleration,
        vm: vm.map(Arc::new),
        disks,
        ram,
        // The recording moves this clock, whichever one the guest is to have.
        timing: match recorded {
            Some(_) => Timing::Virtual(Arc::default()),
            None => timing(config, TimeState::default()),
        },
        epoch: recorded.unwrap_or_else(|| config.epoch_now()),
    };
    let mut pieces = wire(config, resources, connections)?;
    pieces.vcpus.boot(boot)?;
    Ok(pieces)
}

/// Returns the clock of a machine, which shows `start` at first.
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
        // A configuration that says both is not valid.
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
                // The other program may be this one, with the same file earlier in the list.
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

/// Checks that there are sockets for the devices in other processes. Whether anybody listens is not
/// tried, as some processes serve one connection only.
fn check_sockets(config: &Config) -> Result<(), Error> {
    for device in &config.vhost_user {
        let path = || device.socket.clone();
        match std::fs::metadata(&device.socket) {
            Ok(found) if found.file_type().is_socket() => {}
            Ok(_) => {
                return Err(Error::VhostUser {
                    path: path(),
                    why: "it is no socket: name the one that the device's process listens at"
                        .into(),
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::VhostUserAbsent(path()));
            }
            Err(error) => {
                return Err(Error::VhostUser {
                    path: path(),
                    why: error.to_string(),
                });
            }
        }
    }
    Ok(())
}

/// Returns whether both names are of one file.
fn same_file(one: &Path, other: &Path) -> bool {
    // Not by name: two names may lead to one file.
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    identity(one).is_some_and(|found| identity(other) == Some(found))
}

/// Checks that a disk's bytes are those of a raw image, as far as that can be told.
fn check_contents(config: &DiskConfig, disk: &Disk) -> Result<(), Error> {
    let fail = |source| Error::DiskOpen {
        path: config.path.clone(),
        source,
    };
    let path = || config.path.clone();
    // An image of another form, taken for raw, shows the guest its headers, and is destroyed by
    // what the guest writes there.
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
