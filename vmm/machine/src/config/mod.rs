//! What a user may say about a machine.

mod accel;
mod board;
mod clock;
mod disk;
mod dma_tester;
mod iommu;
mod net;
mod ports;
mod vhost_user;
mod virtio_iommu;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use vmm_base::{ByteSize, TextError};

use super::layout::Range;

pub use accel::Accel;
pub use board::{BoardFacts, BoardMismatch, BoardModel};
pub use clock::{MAX_CLOCK_NAME, MAX_CLOCKS};
pub use disk::DiskConfig;
pub use dma_tester::DmaTesterConfig;
pub use iommu::{
    IommuConfig, IommuModel, MAX_IOMMU_NAME, MAX_IOMMUS, PortConfig, VIRTIO_IOMMU_ENDPOINTS,
};
pub use net::{MacAddress, NetConfig, NetKind};
pub use ports::Port;
pub use vhost_user::{
    MAX_VHOST_QUEUES, VHOST_QUEUE_SIZES, VhostUserConfig, VhostUserFacts, VhostUserKind,
};
pub use virtio_iommu::{ReservedMemory, VirtioIommuFeature, VirtioIommuOptions};

/// The most cores a machine may have: GICv2 serves eight, the CPU cluster four.
pub const MAX_CPUS: u8 = 4;
/// The least memory a machine may have: less holds no kernel and its decompressor.
pub const MIN_MEMORY: u64 = 16 << 20;
/// The most request queues one disk may have; more than one a core has no use.
pub const MAX_DISK_QUEUES: u16 = 8;
/// Base and size of RAM are multiples of this: ARM Linux patches its physical offset in steps of 2
/// MiB (`ARM_PATCH_PHYS_VIRT`).
pub const RAM_ALIGN: u64 = 2 << 20;
/// A base of RAM that the machine chooses is a multiple of this: a zImage takes the address at
/// which it runs, rounded down to 128 MiB, for the start of RAM (arch/arm/boot/compressed/head.S,
/// AUTO_ZRELADDR).
const RAM_BASE_ALIGN: u64 = 128 << 20;
/// The longest kernel command line: ARM Linux truncates at 1024 bytes (`COMMAND_LINE_SIZE`), with
/// the final NUL.
pub const MAX_CMDLINE: usize = 1024;

/// 2020-01-01 00:00 UTC.
const VIRTUAL_EPOCH: u32 = 1_577_836_800;

/// Returns the host's date as a real-time clock shows it, in seconds since 1970-01-01 00:00 UTC.
/// Like the clock it wraps, in 2106.
#[expect(
    clippy::cast_possible_truncation,
    reason = "it wraps, as the clock does"
)]
pub fn host_date() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // The counter has no value for a date before 1970, which a host without a clock may show.
    since.map_or(0, |since| since.as_secs() as u32)
}

/// A machine, as its user describes it; the keys of a `machine.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The name of the guest image that kernel and initial file system come from, if any: it says
    /// where they can be had again, and has no influence on the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The board.
    #[serde(skip_serializing_if = "BoardModel::is_default")]
    pub board: BoardModel,
    /// The kernel: a zImage or a raw Image.
    pub kernel: PathBuf,
    /// What the kernel file is.
    pub kernel_format: KernelFormat,
    /// The initial RAM file system, if any.
    pub initrd: Option<PathBuf>,
    /// The board's device tree, in the form that kernels take it (DTB), if it does not generate
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtb: Option<PathBuf>,
    /// The kernel command line.
    pub cmdline: String,
    /// Size of RAM.
    pub memory: ByteSize,
    /// Physical address of the first byte of RAM; see [`Config::ram`] for the default.
    pub memory_base: Option<ByteSize>,
    /// Number of cores, 1 to [`MAX_CPUS`].
    pub cpus: u8,
    /// Disks, in the order of their device nodes.
    pub disks: Vec<DiskConfig>,
    /// Devices that are other processes, behind the disks in the order of device nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vhost_user: Vec<VhostUserConfig>,
    /// Network interfaces, behind those in the order of device nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<NetConfig>,
    /// Whether there is a virtio entropy device (seeded: it repeats).
    pub rng: bool,
    /// Where the entropy device stands; see [`Config::ports`] for the default.
    pub rng_iommu: Option<PortConfig>,
    /// IOMMUs, in the order of their device nodes; all of one model.
    pub iommus: Vec<IommuConfig>,
    /// Who executes the guest.
    pub accel: Accel,
    /// Which clock the guest sees.
    pub time: TimeMode,
    /// Seed of everything that looks random to the guest.
    pub seed: u64,
    /// What the real-time clock shows at power-on, in seconds since 1970-01-01 00:00 UTC; see
    /// [`Config::epoch_now`] for the default.
    pub epoch: Option<u32>,
    /// Whether virtio devices offer VIRTIO_F_ACCESS_PLATFORM, which makes a guest use its DMA API
    /// for them. Devices behind an IOMMU always do.
    pub access_platform: bool,
    /// The DMA tester, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dma_tester: Option<DmaTesterConfig>,
    /// Where the console goes. The machine does not open it: its caller hands it a sink.
    pub console: ConsoleConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            image: None,
            board: BoardModel::default(),
            kernel: PathBuf::new(),
            kernel_format: KernelFormat::default(),
            initrd: None,
            dtb: None,
            cmdline: String::new(),
            memory: ByteSize(256 << 20),
            memory_base: None,
            cpus: 1,
            disks: Vec::new(),
            vhost_user: Vec::new(),
            nets: Vec::new(),
            rng: true,
            rng_iommu: None,
            iommus: Vec::new(),
            accel: Accel::default(),
            time: TimeMode::default(),
            seed: 0,
            epoch: None,
            access_platform: false,
            dma_tester: None,
            console: ConsoleConfig::default(),
        }
    }
}

impl Config {
    /// Returns what the real-time clock of a machine shows that is powered on now, unless the
    /// configuration says: in virtual time always the same, in host time the host's date.
    pub fn epoch_now(&self) -> u32 {
        self.epoch.unwrap_or_else(|| match self.time {
            TimeMode::Virtual => VIRTUAL_EPOCH,
            TimeMode::Host => host_date(),
        })
    }

    /// Returns the range of RAM.
    ///
    /// Unless `memory_base` says otherwise it begins as low as the board allows, and in a machine
    /// with an IOMMU at [`BoardFacts::ram_with_iommu`], or as little below as its size demands.
    pub fn ram(&self) -> Range {
        let (size, board) = (self.memory.0, self.board.facts());
        let base = match self.memory_base {
            Some(base) => base.0,
            None if self.iommu_list().is_empty() => board.ram_min,
            None => {
                // Saturating: `validate_ram` asks for the range before it has checked the size.
                let highest = board.ram_max.saturating_sub(size) / RAM_BASE_ALIGN * RAM_BASE_ALIGN;
                // The bounds are in order, as `clamp` demands: both are facts of the board.
                highest.clamp(board.ram_min, board.ram_with_iommu)
            }
        };
        Range::new(base, size)
    }
}

/// A mistake in a [`Config`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No kernel was named.
    #[error("no kernel is named: say which one to boot")]
    NoKernel,
    /// The board has not what is asked of it.
    #[error(transparent)]
    Board(#[from] BoardMismatch),
    /// An initial file system without a file.
    #[error("the initial file system needs a file name")]
    InitrdUnnamed,
    /// A console that is logged to a file of an empty name.
    #[error("the console's log needs a file name")]
    ConsoleUnnamed,
    /// Number of cores out of range.
    #[error("a machine has 1 to {MAX_CPUS} CPUs, not {0}")]
    Cpus(u8),
    /// RAM base not aligned.
    #[error("the memory base {0:#} is not a multiple of 2M")]
    MemoryBaseAlign(ByteSize),
    /// RAM size not aligned.
    #[error("the memory size {0} is not a multiple of 2M")]
    MemoryAlign(ByteSize),
    /// Too little RAM.
    #[error("{0} of memory is too little: a kernel needs at least {min}", min = ByteSize(MIN_MEMORY))]
    MemorySmall(ByteSize),
    /// RAM would lie over the devices.
    #[error("the memory base {base:#} is too low: devices lie below {min:#}")]
    MemoryBaseLow {
        /// RAM base.
        base: ByteSize,
        /// The lowest that the board allows.
        min: ByteSize,
    },
    /// RAM would leave the 32-bit physical address space.
    #[error("{size} of memory at {base:#} ends above {max:#}: {advice}", max = ByteSize(board.facts().ram_max),
            advice = room(*base, &board.facts()))]
    MemoryLarge {
        /// RAM base.
        base: ByteSize,
        /// RAM size.
        size: ByteSize,
        /// The board.
        board: BoardModel,
    },
    /// Command line too long.
    #[error("the kernel command line has {0} bytes, and ARM Linux takes at most {max}", max = MAX_CMDLINE - 1)]
    CmdlineLong(usize),
    /// Command line with a control or non-ASCII character.
    #[error("the kernel command line holds a character that is not printable ASCII")]
    CmdlineCharacter,
    /// Acceleration with a clock that counts instructions.
    #[error("virtual time is the emulated processor's alone: with --accel kvm say --time host")]
    KvmVirtualTime,
    /// Too many disks.
    #[error("a machine takes at most {}, not {found}", disks_words(*most))]
    TooManyDisks {
        /// How many there are.
        found: usize,
        /// How many the board takes.
        most: usize,
    },
    /// Number of queues of a disk out of range.
    #[error("the disk {path} may have 1 to {MAX_DISK_QUEUES} queues, not {1}", path = .0.display())]
    DiskQueues(PathBuf, u16),
    /// A disk without a file.
    #[error("a disk needs a file name")]
    DiskUnnamed,
    /// A disk that may and may not be written.
    #[error("the disk {path} cannot be both read-only and an overlay, which the guest may write: say one of ro and \
         overlay",
            path = .0.display())]
    DiskOverlayReadOnly(PathBuf),
    /// A network interface that cannot be.
    #[error("the network interface net{index} cannot be: {why}")]
    Net {
        /// Which.
        index: usize,
        /// Why, with what to do.
        why: &'static str,
    },
    /// Another process with a clock that it does not know.
    #[error(
        "a vhost-user device is another process, for which virtual time has no meaning: say --time host"
    )]
    VhostUserVirtualTime,
    /// A vhost-user device without a socket.
    #[error("a vhost-user device needs the name of its socket")]
    VhostUserUnnamed,
    /// Number of queues of a vhost-user device out of range.
    #[error("the vhost-user device {socket} of type {kind} has {range} queues, not {found}",
            socket = socket.display(), range = range_words(*range))]
    VhostUserQueues {
        /// Its socket.
        socket: PathBuf,
        /// What it is.
        kind: &'static str,
        /// The least and the most.
        range: (u16, u16),
        /// The number that was asked for.
        found: u16,
    },
    /// Size of its queues out of range.
    #[error("the queues of the vhost-user device {socket} cannot have {1} entries: use a power of two from {least} to \
         {most}", socket = .0.display(), least = VHOST_QUEUE_SIZES.0, most = VHOST_QUEUE_SIZES.1)]
    VhostUserQueueSize(PathBuf, u16),
    /// There is no such DMA tester.
    #[error("the DMA tester cannot be so: {0}")]
    DmaTester(TextError),
    /// Too many clock generators.
    #[error("a machine takes at most {MAX_CLOCKS} clock generators, not {0}")]
    TooManyClocks(usize),
    /// A clock generator's name cannot be used.
    #[error(
        "{0:?} cannot be the name of a clock generator: use up to {MAX_CLOCK_NAME} letters, digits, - and _"
    )]
    ClockName(String),
    /// A disk names a clock generator twice.
    #[error("the disk {path} names the clock generator {1:?} twice", path = .0.display())]
    ClockTwice(PathBuf, String),
    /// Too many IOMMUs.
    #[error("a machine takes at most {MAX_IOMMUS} IOMMUs, not {0}")]
    TooManyIommus(usize),
    /// No IOMMU, and IOMMUs.
    #[error("a machine has no IOMMU or some: use \"none\" alone")]
    IommuNoneAmongOthers,
    /// No IOMMU, with a name.
    #[error("no IOMMU cannot be named {0:?}: leave the name out, or name a model")]
    IommuNoneNamed(String),
    /// IOMMUs of two models.
    #[error(
        "all IOMMUs of a machine are of one model, because Linux takes one IOMMU driver for all its platform devices, \
         and the IPMMU's tells the main instances of generations apart by the order of their discovery only"
    )]
    IommuModelsMixed,
    /// An IOMMU's name cannot be used.
    #[error(
        "{0:?} cannot be the name of an IOMMU: use up to {MAX_IOMMU_NAME} letters, digits, - and _, but not \"none\""
    )]
    IommuName(String),
    /// Two IOMMUs of one name.
    #[error("two IOMMUs are named {0:?}: give them different names")]
    IommuNameTwice(String),
    /// Two devices of one name.
    #[error("two devices would be named {0:?}: choose another name")]
    NameTwice(String),
    /// A device names an IOMMU, and there are none.
    #[error(
        "{device} names the IOMMU {iommu:?}, but the machine has no IOMMU: add one with --iommu ipmmu, or iommu = \
         \"ipmmu\" in a file"
    )]
    NoIommus {
        /// The device.
        device: String,
        /// The name.
        iommu: String,
    },
    /// A device names an IOMMU that does not exist.
    #[error("{device} cannot be put behind an IOMMU: there is no IOMMU {iommu:?}: there is {have}")]
    UnknownIommu {
        /// The device.
        device: String,
        /// The name.
        iommu: String,
        /// The names that exist.
        have: String,
    },
    /// A device names a micro-TLB that does not exist.
    #[error("{device} cannot use {what} {utlb} of {iommu}, which has {what}s 0 to {last}")]
    NoUtlb {
        /// The device.
        device: String,
        /// The IOMMU.
        iommu: String,
        /// The number.
        utlb: u32,
        /// The last one that exists.
        last: u32,
        /// What the IOMMU calls it.
        what: &'static str,
    },
    /// No micro-TLB is left.
    #[error(
        "{device} finds every {what} of {iommu} taken: name one that it may share, or add an IOMMU"
    )]
    UtlbsTaken {
        /// The device.
        device: String,
        /// The IOMMU.
        iommu: String,
        /// What the IOMMU calls it.
        what: &'static str,
    },
    /// There is no such virtio-iommu.
    #[error("there cannot be such a virtio-iommu {name}: {why}")]
    VirtioIommu {
        /// The IOMMU.
        name: String,
        /// What is wrong.
        why: TextError,
    },
    /// An IOMMU that is no virtio-iommu is described like one.
    #[error("the IOMMU {0} has options of a virtio-iommu, but is none")]
    VirtioOptions(String),
}

/// Returns the advice for memory that would end too high from `base` on.
fn room(base: ByteSize, board: &BoardFacts) -> String {
    let (here, most) = (
        ByteSize(board.ram_max.saturating_sub(base.0)),
        ByteSize(board.ram_max - board.ram_min),
    );
    match here {
        // No lower base is allowed, so that only the size can be changed.
        _ if base.0 <= board.ram_min => format!("use {most} at most"),
        // Too little for any kernel: that size is no advice.
        ByteSize(..MIN_MEMORY) => format!(
            "use a lower base; from {:#} on there is room for {most}",
            ByteSize(board.ram_min)
        ),
        _ => format!("use {here} at most, or a lower base and up to {most}"),
    }
}

/// Returns the words for the most disks that a board takes.
fn disks_words(most: usize) -> String {
    match most {
        1 => "1 disk on this board".into(),
        most => format!("{most} disks, network interfaces and vhost-user devices"),
    }
}

/// Returns the words for a range that may be one number.
fn range_words((least, most): (u16, u16)) -> String {
    match least == most {
        true => least.to_string(),
        false => format!("{least} to {most}"),
    }
}

/// The form of a kernel file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelFormat {
    /// Found out from the file.
    #[default]
    Auto,
    /// A compressed, self-extracting zImage.
    Zimage,
    /// A raw ARM Image, which has no magic number.
    Image,
}

/// Which clock the guest sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeMode {
    /// One instruction takes one nanosecond and idling takes none of the host's: runs repeat
    /// exactly.
    #[default]
    Virtual,
    /// The host's monotonic clock.
    Host,
}

/// Where the console goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleConfig {
    /// The terminal that started the machine.
    #[default]
    Stdio,
    /// A file; the guest gets no input.
    File(PathBuf),
    /// Nowhere.
    None,
}

#[cfg(test)]
mod tests;
