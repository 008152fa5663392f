//! What tests that boot guests share: a guest in one expression, and disks to give it.
//!
//! ```no_run
//! use integration::{Guest, disk};
//!
//! let disk = disk::noise(1 << 20, 7);
//! let run = Guest::image("ipmmu").cpus(4).disk(&disk).run("sha256sum /dev/vda").boot();
//! run.assert_good();
//! assert!(run.output(1).starts_with(&disk.sha256()));
//! ```
//!
//! Images are obtained on first use, into the ordinary cache. Everything here panics when something
//! fails, since a test is all that calls it.

pub mod backend;
pub mod capture;
pub mod disk;
mod live;
mod module;
pub mod vhost_disk;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use guest_images::{Cache, Image, Terminal};
use vmm::devices::uart::Capture;
use vmm::{
    BoardModel, ByteSize, Config, DiskConfig, IommuConfig, IommuSink, KernelFormat, Machine,
    Reason, Summary, TimeMode,
};

pub use disk::Disk;
pub use live::Live;
pub use module::module;

use live::{Marker, Watched};

/// Guest time after which a guest hangs: a stock kernel takes some five seconds, all the commands
/// of a test fewer.
const GUEST_LIMIT_NS: u64 = 180_000_000_000;
/// Host time after which a guest hangs, on a slow machine that does other things too.
const WALL_LIMIT: Duration = Duration::from_secs(900);

/// A guest to be booted.
#[derive(Clone, Debug)]
pub struct Guest {
    config: Config,
    commands: Vec<String>,
}

impl Guest {
    /// Creates a guest with the kernel and initial file system of an image, which is obtained first
    /// if need be.
    pub fn image(name: &str) -> Self {
        let image = obtain(name);
        // The bare Image where there is one: it starts without uncompressing itself.
        let (kernel, kernel_format) = match image.raw_kernel {
            Some(raw) => (raw, KernelFormat::Image),
            None => (image.kernel, KernelFormat::Zimage),
        };
        let config = Config {
            kernel,
            kernel_format,
            initrd: Some(image.initramfs),
            cmdline: "console=ttyS0 earlycon panic=-1".into(),
            ..Config::default()
        };
        Self {
            config,
            commands: Vec::new(),
        }
    }

    /// Creates a guest of Calxeda's ECX-2000 with the kernel, and that kernel's device tree of the
    /// board, of a stock image.
    ///
    /// # Panics
    /// If they cannot be obtained.
    pub fn ecx2000(name: &str) -> Self {
        Self::with_tree(BoardModel::Ecx2000, name)
    }

    /// Creates a guest of R-Car M2-W's board with the kernel, and that kernel's device tree of the
    /// board, of the image `ipmmu`.
    ///
    /// # Panics
    /// If they cannot be obtained.
    pub fn koelsch() -> Self {
        Self::with_tree(BoardModel::Koelsch, "ipmmu")
    }

    /// Creates a guest of a board that has a device tree of its own.
    fn with_tree(model: BoardModel, name: &str) -> Self {
        let board = model.facts();
        let cache = Cache::open().expect("there should be a place for the cache");
        let tree = board.tree.unwrap_or_default();
        let files = match cache.obtain_board(name, tree, &mut Terminal::plain()) {
            Ok(files) => files,
            Err(error) => panic!("the image {name} cannot be obtained: {error}"),
        };
        let mut guest = Self::image(name).board(model);
        guest.config.dtb = Some(files.dtb);
        guest.config.initrd = Some(files.initramfs);
        guest.config.cmdline = format!("console={} earlycon panic=-1", board.console);
        guest
    }

    /// Sets the board.
    #[must_use]
    pub fn board(mut self, board: BoardModel) -> Self {
        self.config.board = board;
        self
    }

    /// Sets the number of cores.
    #[must_use]
    pub fn cpus(mut self, cpus: u8) -> Self {
        self.config.cpus = cpus;
        self
    }

    /// Sets the size of memory.
    #[must_use]
    pub fn memory(mut self, size: ByteSize) -> Self {
        self.config.memory = size;
        self
    }

    /// Sets the physical address of memory.
    #[must_use]
    pub fn memory_base(mut self, base: ByteSize) -> Self {
        self.config.memory_base = Some(base);
        self
    }

    /// Sets the seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// Takes the clock of the host.
    #[must_use]
    pub fn host_time(mut self) -> Self {
        self.config.time = TimeMode::Host;
        self
    }

    /// Makes virtio devices ask their drivers to use the DMA API.
    #[must_use]
    pub fn access_platform(mut self) -> Self {
        self.config.access_platform = true;
        self
    }

    /// Adds an IOMMU, in the notation of the command line.
    ///
    /// # Panics
    /// If the notation is wrong.
    #[must_use]
    pub fn iommu(self, iommu: &str) -> Self {
        self.iommu_config(iommu.parse().expect("an IOMMU"))
    }

    /// Adds an IOMMU.
    #[must_use]
    pub fn iommu_config(mut self, iommu: IommuConfig) -> Self {
        self.config.iommus.push(iommu);
        self
    }

    /// Sets the port of the entropy device, in the notation of the command line.
    ///
    /// # Panics
    /// If the notation is wrong.
    #[must_use]
    pub fn rng_at(mut self, port: &str) -> Self {
        self.config.rng_iommu = Some(port.parse().expect("a port of an IOMMU"));
        self
    }

    /// Adds a writable disk at a port, in the notation of the command line.
    ///
    /// # Panics
    /// If the notation is wrong.
    #[must_use]
    pub fn disk_at(self, disk: &Disk, port: &str) -> Self {
        let iommu = Some(port.parse().expect("a port of an IOMMU"));
        self.disk_config(DiskConfig {
            iommu,
            ..DiskConfig::new(disk.path())
        })
    }

    /// Adds a writable disk.
    #[must_use]
    pub fn disk(self, disk: &Disk) -> Self {
        self.disk_config(DiskConfig::new(disk.path()))
    }

    /// Adds a read-only disk.
    #[must_use]
    pub fn read_only_disk(self, disk: &Disk) -> Self {
        self.disk_config(DiskConfig {
            read_only: true,
            ..DiskConfig::new(disk.path())
        })
    }

    /// Adds a disk.
    #[must_use]
    pub fn disk_config(mut self, disk: DiskConfig) -> Self {
        self.config.disks.push(disk);
        self
    }

    /// Adds a device that is another process, in the notation of the command line, and takes the
    /// clock of the host.
    ///
    /// # Panics
    /// If the notation is wrong.
    #[must_use]
    pub fn vhost_user(mut self, device: &str) -> Self {
        let device = device.parse().expect("a vhost-user device");
        self.config.vhost_user.push(device);
        self.host_time()
    }

    /// Has a network interface, as `--net` says it, with an address.
    ///
    /// # Panics
    /// If the notation is wrong.
    #[must_use]
    pub fn net(mut self, net: &str) -> Self {
        let net = net.parse().expect("a network interface");
        self.config.nets.push(net);
        self.cmdline(guest_images::NET_WORD)
    }

    /// Takes the kernel as the package has it, compressed, even where there is a bare one.
    #[must_use]
    pub fn zimage(mut self, name: &str) -> Self {
        self.config.kernel = obtain(name).kernel;
        self.config.kernel_format = KernelFormat::Zimage;
        self
    }

    /// Adds words to the kernel command line.
    #[must_use]
    pub fn cmdline(mut self, words: &str) -> Self {
        self.config.cmdline = format!("{} {words}", self.config.cmdline);
        self
    }

    /// Runs this shell command, after those named before.
    #[must_use]
    pub fn run(mut self, command: &str) -> Self {
        self.commands.push(command.to_owned());
        self.cmdline(&guest_images::encode_command(command))
    }

    /// Returns the machine's configuration so far.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Boots the guest and runs it to its end.
    pub fn boot(self) -> Run {
        self.start().finish()
    }

    /// Returns the guest at its first instruction, to be run in steps.
    ///
    /// # Panics
    /// If there cannot be such a machine.
    pub fn start(self) -> Live {
        self.start_watched(None)
    }

    /// Returns the same, with `sink` told of what happens at the IOMMUs.
    ///
    /// # Panics
    /// If there cannot be such a machine.
    pub fn start_watched(self, sink: Option<Arc<dyn IommuSink>>) -> Live {
        let (console, marker) = (Capture::default(), Marker::default());
        let console_sink = Watched(console.clone(), marker.clone());
        let machine = match Machine::builder(&self.config, Box::new(console_sink))
            .iommu_sink(sink)
            .build()
        {
            Ok(machine) => machine,
            Err(error) => panic!("the machine cannot be made: {error}"),
        };
        Live {
            machine,
            console,
            marker,
            commands: self.commands.len(),
        }
    }
}

/// Returns an image, obtained if it is not in the cache.
pub fn obtain(name: &str) -> Image {
    let cache = Cache::open().expect("there should be a place for the cache");
    match cache.obtain(name, &mut Terminal::plain()) {
        Ok(image) => image,
        Err(error) => panic!("the image {name} cannot be obtained: {error}"),
    }
}

/// Returns a directory with these packages of Debian bookworm for armhf unpacked in it, fetched if
/// it is not in the cache.
pub fn packages(names: &[&str]) -> PathBuf {
    let cache = Cache::open().expect("there should be a place for the cache");
    let armhf = guest_images::Architecture::Armhf;
    match cache.tree("bookworm", &[(armhf, names)], &mut Terminal::plain()) {
        Ok(tree) => tree,
        Err(error) => panic!("packages for guests cannot be obtained: {error}"),
    }
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Run {
    commands: usize,
    /// Why it ended.
    pub reason: Reason,
    /// The run in numbers.
    pub summary: Summary,
    /// Everything on the console.
    pub console: Vec<u8>,
}

impl Run {
    /// Returns the console as text, with plain line ends.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.console).replace('\r', "")
    }

    /// Returns what the `n`-th command printed, counted from 1, without the kernel's messages.
    pub fn output(&self, n: usize) -> String {
        let text = self.text();
        let start = match n {
            1 => "guest: ready\n".to_owned(),
            _ => format!("guest: command {} exited with ", n - 1),
        };
        let end = format!("guest: command {n} exited with ");
        let between = text
            .split_once(&start)
            .and_then(|(_, rest)| rest.split_once(&end));
        let Some((output, _)) = between else {
            panic!(
                "command {n} did not end; the console's end:\n{}",
                self.tail()
            )
        };
        // After the first, the rest of the line with the status of the one before.
        let output = if n == 1 {
            output
        } else {
            output.split_once('\n').map_or("", |(_, rest)| rest)
        };
        output
            .lines()
            .filter(|line| !line.starts_with('['))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Asserts that the guest came up, each command succeeded, and the guest powered off.
    ///
    /// # Panics
    /// If not.
    pub fn assert_good(&self) {
        let text = self.text();
        let good = self.reason == Reason::PowerOff
            && text.contains("guest: ready\n")
            && (1..=self.commands)
                .all(|n| text.contains(&format!("guest: command {n} exited with 0\n")));
        assert!(
            good,
            "the guest {}; the console's end:\n{}",
            self.reason.sentence(),
            self.tail()
        );
    }

    /// Asserts that all of these words were on the console.
    ///
    /// # Panics
    /// If not.
    pub fn assert_text(&self, all: &[&str]) {
        let text = self.text();
        for words in all {
            assert!(text.contains(words), "{words:?} not in\n{text}");
        }
    }

    /// Asserts that both runs were the same in all that is said to repeat.
    ///
    /// # Panics
    /// If not.
    pub fn assert_same(&self, other: &Self) {
        let differs = self
            .console
            .iter()
            .zip(&other.console)
            .position(|(a, b)| a != b);
        if let Some(at) = differs {
            let around = |run: &Self| {
                String::from_utf8_lossy(&run.console[at.saturating_sub(200)..][..200]).into_owned()
            };
            panic!(
                "the consoles differ at byte {at}:\n{}\n--- and\n{}",
                around(self),
                around(other)
            );
        }
        assert_eq!(
            self.console.len(),
            other.console.len(),
            "one console has more on it"
        );
        // The host's time is no part of what repeats.
        let timeless = |summary: &Summary| Summary {
            wall_ns: 0,
            mips: 0.0,
            ..summary.clone()
        };
        assert_eq!(timeless(&self.summary), timeless(&other.summary));
    }

    /// Returns the last lines of the console.
    fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}
