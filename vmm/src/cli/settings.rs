//! What a user can say about a run: the same keys as flags and in a `machine.toml`.

mod cmdline;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vmm::devices::dma_tester::script::Step;
use vmm::sanitizer::Options;
use vmm::{
    Accel, BoardModel, ByteSize, Config, ConsoleConfig, DmaTesterConfig, IommuModel, KernelFormat,
    NetKind, TimeMode, VhostUserKind,
};
use vmm_files::toml_file;

pub use cmdline::default_cmdline;

use super::UserError;
use super::console::Destination;
use super::gdb::GdbAddress;
use super::values::{
    Address, Cpus, Disk, DmaTester, Epoch, Idle, Iommu, Net, RngSetting, Rootfs, Seconds, Trace,
    VhostUser, one_or_more, word,
};

/// Everything that flags and a `machine.toml` can say. What is not said is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The guest image to boot, obtained first if need be (see `vmm images list`)
    #[arg(long, value_name = "NAME", help_heading = "Guest")]
    pub image: Option<String>,
    /// The kernel to boot: a zImage, a raw Image or a vmlinux, also compressed or in a uImage or
    /// FIT image; with --image, instead of the image's own
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    pub kernel: Option<PathBuf>,
    /// The initial RAM file system; with --image, instead of the image's own
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    pub initrd: Option<PathBuf>,
    /// The device tree of a board that has one of its own, such as ecx2000; with --image, instead
    /// of that of the kernel's package. The kernel gets it with /chosen and /memory filled in
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    pub dtb: Option<PathBuf>,
    /// A root disk, made first if need be, which the guest boots from with the stock kernel of its
    /// release, or --image's: debian:bookworm or debian:trixie, a Debian system, or either with
    /// +tools for compilers. What the guest writes is forgotten. With --run the commands run in it
    /// and nothing of it is started
    #[arg(long, value_name = "NAME", help_heading = "Guest")]
    pub rootfs: Option<Rootfs>,
    /// With --rootfs: keep the root disk in this file, which is made the first time and written by
    /// the guest
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    pub rootfs_disk: Option<PathBuf>,
    /// What the kernel file is: auto, zimage or image
    #[arg(long, value_name = "FORMAT", value_parser = word::<KernelFormat>, help_heading = "Guest")]
    pub kernel_format: Option<KernelFormat>,
    /// Words for the kernel command line, after its base
    #[arg(
        long,
        value_name = "WORDS",
        allow_hyphen_values = true,
        help_heading = "Guest"
    )]
    pub cmdline: Option<String>,
    /// The start of the kernel command line, in place of "console=ttyS0 earlycon panic=-1" (ttyAMA0
    /// on ecx2000)
    #[arg(
        long,
        value_name = "WORDS",
        allow_hyphen_values = true,
        help_heading = "Guest"
    )]
    pub cmdline_base: Option<String>,
    /// A shell command for the guest of an image; may be given more than once
    #[arg(
        long,
        value_name = "COMMAND",
        allow_hyphen_values = true,
        help_heading = "Guest"
    )]
    #[serde(deserialize_with = "one_or_more")]
    pub run: Vec<String>,
    /// Have the guest of an image give you a shell on the console, after its commands
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", require_equals = true,
          help_heading = "Guest")]
    pub shell: Option<bool>,

    #[arg(long, value_name = "BOARD", value_parser = word::<BoardModel>, help_heading = "Machine", help = board_help())]
    pub board: Option<BoardModel>,
    /// Size of RAM, such as 256M or 1G [default: 256M]
    #[arg(long, value_name = "SIZE", help_heading = "Machine")]
    pub memory: Option<ByteSize>,
    /// Physical address of RAM [default: 0x40000000; with an IOMMU 0xc0000000, or as little below
    /// as its size demands]
    #[arg(long, value_name = "ADDRESS", help_heading = "Machine")]
    pub memory_base: Option<Address>,
    /// Number of cores, 1 to 4 [default: 1]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub cpus: Option<Cpus>,
    /// A virtio disk with the raw contents of a file; `,ro` makes it read-only, `,overlay` keeps
    /// what is written in memory and the file as it is, `,queues=N` gives it N queues,
    /// `,iommu=NAME:N` puts it behind micro-TLB N of an IOMMU, which devices may share, and
    /// `,iommu=none` behind none
    #[arg(long, value_name = "FILE[,ro]", help_heading = "Machine")]
    #[serde(alias = "disks", deserialize_with = "one_or_more")]
    pub disk: Vec<Disk>,
    #[arg(long, value_name = "SOCKET,type=TYPE", help_heading = "Machine", help = vhost_user_help())]
    #[serde(deserialize_with = "one_or_more")]
    pub vhost_user: Vec<VhostUser>,
    #[arg(long, value_name = "TYPE[,folder=DIR]", help_heading = "Machine", help = net_help())]
    #[serde(alias = "nets", deserialize_with = "one_or_more")]
    pub net: Vec<Net>,
    /// Whether there is a virtio entropy device, whose bytes follow from the seed, or, as for a
    /// disk, behind which IOMMU [default: true]
    #[arg(long, value_name = "BOOL|iommu=NAME:N", help_heading = "Machine")]
    pub rng: Option<RngSetting>,
    #[arg(long, value_name = "MODEL[,name=NAME]", help_heading = "Machine", help = iommu_help())]
    #[serde(alias = "iommus", deserialize_with = "one_or_more")]
    pub iommu: Vec<Iommu>,
    /// A bus master that accesses any memory at any time, as its registers or --dma-script say;
    /// with `iommu=NAME:N` for each requester that it has; see docs/dma-tester.md
    #[arg(long, value_name = "iommu=NAME:N,...", num_args = 0..=1, default_missing_value = "true",
          require_equals = true, help_heading = "Machine")]
    pub dma_tester: Option<DmaTester>,
    /// What the DMA tester does without a driver of the guest's, and what is expected of it: steps
    /// in TOML. If one does not meet what it expects the exit code is 1
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub dma_script: Option<PathBuf>,
    /// What that file says.
    #[arg(skip)]
    #[serde(skip)]
    pub dma_steps: Vec<Step>,
    /// Whether virtio devices offer VIRTIO_F_ACCESS_PLATFORM [default: false; true behind an IOMMU,
    /// always]
    #[arg(long, value_name = "BOOL", help_heading = "Machine")]
    pub access_platform: Option<bool>,

    /// Who executes the guest: emulated (the emulated processor), kvm (the host's, on a 64-bit ARM
    /// host, in the host's time), or auto (kvm where that can be) [default: emulated]
    #[arg(long, value_name = "auto|emulated|kvm", value_parser = word::<Accel>, help_heading = "Run")]
    pub accel: Option<Accel>,
    /// The guest's clock: virtual (one nanosecond an instruction, idling is skipped, runs repeat
    /// exactly) or host [default: virtual; with --accel kvm host]
    #[arg(long, value_name = "virtual|host", value_parser = word::<TimeMode>, help_heading = "Run")]
    pub time: Option<TimeMode>,
    /// Seed of all that looks random to the guest [default: 0]
    #[arg(long, value_name = "NUMBER", help_heading = "Run")]
    pub seed: Option<u64>,
    /// What the real-time clock shows at power-on, in seconds since 1970, or now for the host's
    /// date [default: 2020-01-01 in virtual time, now in host time]
    #[arg(long, value_name = "SECONDS|now", help_heading = "Run")]
    pub epoch: Option<Epoch>,
    /// What happens in virtual time while the guest idles: time is skipped, or passes as the
    /// host's, to wait for someone to type; auto waits while stdin is open to a guest that reads
    /// its console [default: auto]
    #[arg(long, value_name = "auto|skip|wait", value_parser = word::<Idle>, help_heading = "Run")]
    pub idle: Option<Idle>,
    /// End the run, with exit code 124, after so many seconds of the guest's clock: in virtual time
    /// a deterministic point, in host time so many real seconds
    #[arg(long, value_name = "SECONDS", help_heading = "Run")]
    pub timeout: Option<Seconds>,
    /// End the run, with exit code 124, after so many real seconds, whatever the guest's clock
    #[arg(long, value_name = "SECONDS", help_heading = "Run")]
    pub wall_timeout: Option<Seconds>,
    /// End the run, with exit code 0, when the console shows this; any other end has another code
    #[arg(
        long,
        value_name = "REGEX",
        allow_hyphen_values = true,
        help_heading = "Run"
    )]
    pub expect: Option<String>,
    /// Wait for a debugger (GDB) at this port before the first instruction; of 127.0.0.1 unless an
    /// address is given
    #[arg(long, value_name = "[ADDRESS:]PORT", help_heading = "Run")]
    pub gdb: Option<GdbAddress>,
    /// Where the console goes: stdio, none or a file [default: stdio]
    #[arg(long, value_name = "stdio|none|FILE", help_heading = "Run")]
    pub console: Option<Destination>,
    /// Print on stderr what happens, as it happens: iommu
    #[arg(long, value_name = "WHAT", value_parser = word::<Trace>, help_heading = "Run")]
    #[serde(deserialize_with = "one_or_more")]
    pub trace: Vec<Trace>,
    /// Look into the guest's kernel: `FUNCTION { print(VALUE, ...) }` prints a line on stderr at
    /// each call; see docs/probes.md for conditions and actions. May be given more than once
    #[arg(long, value_name = "PROBE", help_heading = "Run")]
    #[serde(alias = "probes", deserialize_with = "one_or_more")]
    pub probe: Vec<String>,
    /// The vmlinux of this very kernel, from the directory in which it was built: the structures
    /// that probes name are read from its debug information, for kernels without types in their
    /// images. Or the name of an image, after `vmm images fetch --debug-info NAME`
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub vmlinux: Option<PathBuf>,
    /// Look for mistakes that the guest makes with DMA, and report each on stderr: dma for all
    /// kinds, or dma=KIND,...; with stale among the kinds, IOMMUs keep translations as long as
    /// hardware may. If there are any, the exit code is 4; see docs/sanitizer.md
    #[arg(long, value_name = "dma[=KIND,...]", help_heading = "Run")]
    pub sanitize: Option<Options>,
    /// Write what happened at IOMMUs, devices, interrupts, probes and on the console to this file,
    /// in one timeline: .html is a page, .txt text, .trace.json for Perfetto, .json all of it as
    /// data
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub timeline: Option<PathBuf>,
    /// Write a summary of the run to this file
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub json: Option<PathBuf>,
    /// Do not say on stderr how the run ended
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", require_equals = true,
          help_heading = "Run")]
    pub quiet: Option<bool>,
}

impl Settings {
    /// Reads a `machine.toml`. Relative paths in it start at its own directory.
    pub fn read(path: &Path) -> Result<Self, UserError> {
        let fail = |why: String| UserError::new(format!("cannot use {}: {why}", path.display()));
        let text = toml_file::read(path).map_err(|error| fail(error.to_string()))?;
        let mut settings: Self =
            toml_file::parse(&text).map_err(|mistake| fail(mistake.to_string()))?;
        if let Some(key) = settings.nameless() {
            return Err(fail(format!(
                "{key} is empty, and it is the name of a file"
            )));
        }
        settings.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(settings)
    }

    /// Returns these settings, and where they say nothing those of the file, if any, with the
    /// script that they name.
    pub fn with_file(self, file: Option<&Path>) -> Result<Self, UserError> {
        let mut settings = match file {
            Some(path) => self.or(Self::read(path)?),
            None => self,
        };
        if let Some(path) = &settings.dma_script {
            settings.dma_steps = DmaTesterConfig::read_script(path)?;
        }
        Ok(settings)
    }

    /// Returns the key of a file without a name, which as a path would be the directory of the
    /// others.
    fn nameless(&self) -> Option<&'static str> {
        let files = [
            ("kernel", &self.kernel),
            ("initrd", &self.initrd),
            ("dtb", &self.dtb),
            ("dma-script", &self.dma_script),
            ("vmlinux", &self.vmlinux),
            ("rootfs-disk", &self.rootfs_disk),
            ("json", &self.json),
            ("timeline", &self.timeline),
        ];
        let empty = |path: &Path| path.as_os_str().is_empty();
        let disk = self.disk.iter().any(|Disk(disk)| empty(&disk.path));
        let mut others = self.vhost_user.iter();
        let socket = others.any(|VhostUser(device)| empty(&device.socket));
        let mut nets = self.net.iter();
        let folder = nets.any(|Net(net)| net.folder.as_deref().is_some_and(empty));
        files
            .into_iter()
            .find(|(_, path)| path.as_deref().is_some_and(empty))
            .map(|(key, _)| key)
            .or_else(|| disk.then_some("disk"))
            .or_else(|| socket.then_some("vhost-user"))
            .or_else(|| folder.then_some("folder"))
    }

    fn resolve(&mut self, directory: &Path) {
        let Self {
            kernel,
            initrd,
            dtb,
            rootfs_disk,
            vmlinux,
            dma_script,
            json,
            timeline,
            disk,
            vhost_user,
            net,
            console,
            ..
        } = self;
        // `join` leaves an absolute path as it is.
        let files = [
            kernel,
            initrd,
            dtb,
            rootfs_disk,
            vmlinux,
            dma_script,
            json,
            timeline,
        ];
        for path in files.into_iter().flatten() {
            *path = directory.join(&*path);
        }
        for Disk(disk) in disk {
            disk.path = directory.join(&disk.path);
        }
        for VhostUser(device) in vhost_user {
            device.socket = directory.join(&device.socket);
        }
        for Net(net) in net {
            net.folder = net.folder.take().map(|folder| directory.join(folder));
        }
        if let Some(Destination::File(path)) = console {
            *path = directory.join(&*path);
        }
    }

    /// Returns these settings, and where they say nothing those of `other`. A list is taken as a
    /// whole.
    pub fn or(self, mut other: Self) -> Self {
        // Files take the place of an image's: another image comes without those that were named
        // before.
        if self.image.is_some() || self.kernel.is_some() {
            other.vmlinux = None;
        }
        if self.image.is_some() {
            other.kernel = None;
            other.initrd = None;
            other.dtb = None;
            other.kernel_format = None;
        }
        Self {
            image: self.image.or(other.image),
            kernel: self.kernel.or(other.kernel),
            initrd: self.initrd.or(other.initrd),
            dtb: self.dtb.or(other.dtb),
            rootfs: self.rootfs.or(other.rootfs),
            rootfs_disk: self.rootfs_disk.or(other.rootfs_disk),
            kernel_format: self.kernel_format.or(other.kernel_format),
            cmdline: self.cmdline.or(other.cmdline),
            cmdline_base: self.cmdline_base.or(other.cmdline_base),
            run: list(self.run, other.run),
            shell: self.shell.or(other.shell),
            board: self.board.or(other.board),
            memory: self.memory.or(other.memory),
            memory_base: self.memory_base.or(other.memory_base),
            cpus: self.cpus.or(other.cpus),
            disk: list(self.disk, other.disk),
            vhost_user: list(self.vhost_user, other.vhost_user),
            net: list(self.net, other.net),
            rng: self.rng.or(other.rng),
            iommu: list(self.iommu, other.iommu),
            dma_tester: self.dma_tester.or(other.dma_tester),
            dma_script: self.dma_script.or(other.dma_script),
            // Read when both are known.
            dma_steps: Vec::new(),
            access_platform: self.access_platform.or(other.access_platform),
            accel: self.accel.or(other.accel),
            time: self.time.or(other.time),
            seed: self.seed.or(other.seed),
            epoch: self.epoch.or(other.epoch),
            idle: self.idle.or(other.idle),
            timeout: self.timeout.or(other.timeout),
            wall_timeout: self.wall_timeout.or(other.wall_timeout),
            gdb: self.gdb.or(other.gdb),
            expect: self.expect.or(other.expect),
            console: self.console.or(other.console),
            trace: list(self.trace, other.trace),
            probe: list(self.probe, other.probe),
            vmlinux: self.vmlinux.or(other.vmlinux),
            sanitize: self.sanitize.or(other.sanitize),
            timeline: self.timeline.or(other.timeline),
            json: self.json.or(other.json),
            quiet: self.quiet.or(other.quiet),
        }
    }

    /// Returns the machine described. Its kernel is empty where an image has still to give it.
    pub fn config(&self) -> Config {
        let default = Config::default();
        Config {
            image: None,
            kernel: self.kernel.clone().unwrap_or_default(),
            kernel_format: self.kernel_format.unwrap_or_default(),
            initrd: self.initrd.clone(),
            dtb: self.dtb.clone(),
            cmdline: self.whole_cmdline(),
            board: self.board.unwrap_or_default(),
            memory: self.memory.unwrap_or(default.memory),
            memory_base: self.memory_base.map(|Address(base)| base),
            cpus: self.cpus.map_or(default.cpus, |Cpus(cpus)| cpus),
            disks: self.disk.iter().map(|Disk(disk)| disk.clone()).collect(),
            vhost_user: self
                .vhost_user
                .iter()
                .map(|VhostUser(device)| device.clone())
                .collect(),
            nets: self.net.iter().map(|Net(net)| net.clone()).collect(),
            rng: self.rng.as_ref().is_none_or(|rng| rng.present),
            rng_iommu: self.rng.as_ref().and_then(|rng| rng.iommu.clone()),
            iommus: self
                .iommu
                .iter()
                .map(|Iommu(iommu)| iommu.clone())
                .collect(),
            accel: self.accel.unwrap_or(default.accel),
            // KVM's cores run in the host's time only.
            time: self.time.unwrap_or(match self.accel {
                Some(Accel::Kvm) => TimeMode::Host,
                _ => default.time,
            }),
            seed: self.seed.unwrap_or(default.seed),
            epoch: self.epoch.map(|Epoch(seconds)| seconds),
            access_platform: self.access_platform.unwrap_or(default.access_platform),
            dma_tester: self.tester(),
            // The machine's builder is given a sink instead, which also watches the console.
            console: ConsoleConfig::None,
        }
    }

    /// Returns the DMA tester, which there also is where it has a script.
    fn tester(&self) -> Option<DmaTesterConfig> {
        let tester = self
            .dma_tester
            .as_ref()
            .map(|DmaTester(tester)| tester.clone());
        let tester =
            tester.or_else(|| self.dma_script.as_ref().map(|_| DmaTesterConfig::default()));
        tester.map(|tester| DmaTesterConfig {
            script: self.dma_steps.clone(),
            ..tester
        })
    }
}

fn list<T>(ours: Vec<T>, theirs: Vec<T>) -> Vec<T> {
    if ours.is_empty() { theirs } else { ours }
}

/// Returns what `--help` says of `--board`.
fn board_help() -> String {
    let default = BoardModel::default().facts().name;
    format!(
        "What devices there are, and where: {} [default: {default}]",
        BoardModel::described()
    )
}

/// Returns what `--help` says of `--vhost-user`.
fn vhost_user_help() -> String {
    format!(
        "A virtio device that is another process, which listens at a Unix socket (vhost-user), in host time only; TYPE \
         is one of {}; `,queues=N` gives it N queues, `,queue-size=N` N entries in each, and `,iommu=NAME:N` or \
         `,iommu=none` is as for a disk; see docs/vhost-user.md",
        VhostUserKind::names()
    )
}

/// Returns what `--help` says of `--net`.
fn net_help() -> String {
    format!(
        "A virtio network interface, whose cable leads to: {} (a host that answers ping, DHCP, DNS, echo, and with \
         `,folder=DIR` serves the files of a folder by HTTP and TFTP, the same in every run; the other is the host's \
         network, through sockets of this process, in host time only, where `,hostfwd=tcp::PORT-:PORT` has a port of \
         the host lead to one of the guest); `,mac=ADDRESS` gives it \
         an address, and `,iommu=NAME:N` or `,iommu=none` is as for a disk; see docs/network.md",
        NetKind::names()
    )
}

/// Returns what `--help` says of `--iommu`.
fn iommu_help() -> String {
    format!(
        "An IOMMU: {}, with `,name=NAME` in place of ipmmu0, ipmmu1... or viommu0...; may be given more \
            than once. Devices stand \
         behind the first one, each on its own micro-TLB or endpoint, unless they say otherwise",
        IommuModel::described()
    )
}

#[cfg(test)]
mod tests;
