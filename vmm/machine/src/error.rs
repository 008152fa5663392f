//! Why a machine cannot be made: each a sentence for the user.

use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use vmm_net::FolderError;

use super::config::ConfigError;
use super::history::NoHistory;
use super::loader::LoadError;
use super::saved::WrongMachine;
use crate::fdt::TreeError;
use crate::vcpu::KvmError;

/// The reason for which [`MachineBuilder::build`](super::MachineBuilder::build) failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read.
    #[error("cannot read the {what} {path}: {source}", path = path.display())]
    Read {
        /// What the file is to the machine.
        what: &'static str,
        /// Its name.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device tree cannot be used.
    #[error("cannot use the device tree {path}: {source}", path = path.display())]
    Tree {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: TreeError,
    },
    /// A disk cannot be opened.
    #[error("cannot open the disk {path}: {source}", path = path.display())]
    DiskOpen {
        /// Its name.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A disk is in use.
    #[error("the disk {path} is in use by another program (use it read-only in both, or stop the other)",
            path = .0.display())]
    DiskLocked(PathBuf),
    /// A disk is given twice, and may be written.
    #[error("the disks {} and {} are one file, and one of them may write it: name another file, or add ,ro or \
         ,overlay to both",
            other.display(), path.display())]
    DiskTwice {
        /// The one that comes first.
        other: PathBuf,
        /// The other.
        path: PathBuf,
    },
    /// A disk's last sector is not whole.
    #[error("the disk {path} has {bytes} bytes, and a disk has whole sectors of 512: fill the last one up with \
             truncate -s %512 {path}", path = path.display())]
    DiskSize {
        /// Its name.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A disk is an image of another form.
    #[error("the disk {path} is a {format} image, and a disk is raw bytes: convert it with qemu-img convert -O raw, or \
             add ,raw if the guest shall see the file as it is", path = path.display())]
    DiskFormat {
        /// Its name.
        path: PathBuf,
        /// What it is.
        format: &'static str,
    },
    /// A disk is not a file.
    #[error("the disk {path} is neither a file nor a block device", path = .0.display())]
    DiskKind(PathBuf),
    /// Nothing is at a vhost-user device's socket.
    #[error("there is no socket {path}: start the process that is the vhost-user device first", path = .0.display())]
    VhostUserAbsent(PathBuf),
    /// A vhost-user device cannot be had, or cannot be used in this machine.
    #[error("cannot use the vhost-user device {path}: {why}", path = path.display())]
    VhostUser {
        /// Its socket.
        path: PathBuf,
        /// Why, with what to do.
        why: String,
    },
    /// A machine with such devices is to be saved or recorded.
    #[error(
        "a machine with vhost-user devices cannot be {0}, because their state is in other processes: leave out \
         --vhost-user"
    )]
    VhostUserState(&'static str),
    /// A folder cannot be served.
    #[error("cannot serve the folder {path}: {source}", path = path.display())]
    Folder {
        /// Its name.
        path: PathBuf,
        /// Why.
        source: FolderError,
    },
    /// A port of the host cannot be had.
    #[error(
        "cannot listen at {host} for the guest: {source}; name another port, or one above 1023"
    )]
    Listen {
        /// Where.
        host: SocketAddrV4,
        /// Why.
        source: io::Error,
    },
    /// A machine with a network of the host's is to be recorded.
    #[error(
        "what comes from the host's network is not recorded: leave out --net user, or use --net peer"
    )]
    NetRecorded,
    /// A folder holds other files than it did.
    #[error("the folder {path} has other files than those of the run that is to go on or be repeated: put them back",
            path = .0.display())]
    FolderChanged(PathBuf),
    /// The kernel or its companions do not fit.
    #[error("cannot boot {path}: {source}", path = path.display())]
    Load {
        /// The kernel's name.
        path: PathBuf,
        /// Why.
        source: LoadError,
    },
    /// A disk cannot be saved.
    #[error("cannot save the disk {path}: {source}", path = path.display())]
    DiskSave {
        /// Its name.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A saved state fits no such machine.
    #[error("the snapshot cannot be restored: {0}")]
    Restore(#[from] WrongMachine),
    /// It is to go back, and cannot.
    #[error("the machine cannot go back: {0}")]
    NoHistory(#[from] NoHistory),
    /// It is to go back further than its history does.
    #[error("the machine cannot go back to instruction {0}: its history begins later")]
    NoCheckpoint(u64),
    /// KVM was asked for.
    #[error("KVM cannot be used: {0}")]
    Kvm(#[from] KvmError),
    /// RAM cannot be allocated.
    #[error("cannot allocate {size} of memory for the guest: {source}")]
    Memory {
        /// How much.
        size: super::ByteSize,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The host refused something the machine needs.
    #[error("cannot {what}: {source}")]
    Host {
        /// The operation that failed.
        what: &'static str,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
