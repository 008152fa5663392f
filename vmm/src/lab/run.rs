//! Boots a case and collects what is seen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vmm_base::Width;
use vmm_devices::uart::Capture;
use vmm_files::scratch::ScratchFile;
use vmm_machine::board::{Board, Device};
use vmm_machine::{
    Accel, Config, DiskConfig, Error, IommuConfig, KernelFormat, Limits, Machine, Reason, TimeMode,
    accel,
};

use super::evidence::Evidence;
use super::findings;
use super::guest::{self, Disk};
use super::judge::{self, Judgement};
use super::kernel::Kernel;
use super::load::Case;
use super::mappings::Mappings;
use crate::observe::probe::{self, Hit, Outcome, Probe};
use crate::observe::recording::Recording;
use crate::observe::timeline::Run;
use crate::observe::types::value::Value;

/// Host time after which a guest hangs, on a slow host that does other things too.
const WALL_LIMIT: Duration = Duration::from_secs(300);
/// Hits that are kept of one run: what a probe in a loop may cost.
const MAX_HITS: usize = 10_000;

/// Who executes the guests of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The emulated processor, in virtual time, or KVM, in the host's.
    pub accel: Accel,
    /// In the host's time, how many times as long as written everything may take: more than 1 where the host is slow, such
    /// as an emulated one.
    pub patience: u32,
}

impl Host {
    /// The emulated processor, on which every run of a case is the same.
    pub const EMULATED: Self = Self {
        accel: Accel::Emulated,
        patience: 1,
    };

    /// Whether it can execute any guest at all.
    ///
    /// # Errors
    /// Why not.
    pub fn check(self) -> Result<(), Error> {
        match self.accel {
            Accel::Kvm => accel::available(),
            Accel::Emulated | Accel::Auto => Ok(()),
        }
    }

    /// How long a run may take that is to last `seconds`.
    fn limits(self, seconds: u32) -> Limits {
        // In the host's time programs that start and end take some, too, and those that wait for what never comes are many.
        let more = match self.accel {
            Accel::Emulated => 1,
            Accel::Auto | Accel::Kvm => 2,
        };
        let seconds = u64::from(seconds) * u64::from(self.patience) * more;
        Limits {
            guest_ns: Some(seconds * 1_000_000_000),
            wall: Some(WALL_LIMIT.max(Duration::from_secs(2 * seconds))),
            ..Limits::default()
        }
    }
}

/// Why a case was not judged: the kernel is not one that it can be asked of, or the host is in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// The machine could not be made.
    #[error("{0}")]
    Setup(String),
    /// The kernel did not come as far as its symbols.
    #[error("the kernel did not start, or nothing was found in memory that looks like one")]
    NoKernel,
    /// A probe could not be set.
    #[error("{0}")]
    Probes(String),
    /// There is no module of the clock generators.
    #[error(
        "the scenario needs the module of the late clocks: give the clk-axi-clkgen.ko that was built with the kernel, as \
         --module FILE, or in a matrix as --kernel KERNEL,MODULE"
    )]
    NoClocks,
    /// The module of the clock generators is not for this kernel.
    #[error(
        "the kernel does not take the module of the late clocks: was it built with this kernel?"
    )]
    ClocksRefused,
    /// It did not come to user space, although nothing was changed in it.
    #[error("the kernel did not come to its first process ({0:?})")]
    NoUserSpace(Reason),
    /// The driver of the IOMMU did not attach a device.
    #[error(
        "no device was attached to an IOMMU: the kernel needs the IOMMU's driver (IPMMU_VMSA; VIRTIO_IOMMU for a \
         virtio-iommu) and VIRTIO_MMIO"
    )]
    NoAttach,
    /// What the scenario is about did not happen.
    #[error(
        "the probe of {role} was torn down {seen} times, and the scenario is about {wanted} or more"
    )]
    NoTrigger {
        /// The device.
        role: char,
        /// How often it happened.
        seen: u32,
        /// How often it had to.
        wanted: u32,
    },
}

/// A case that was run and judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The case.
    pub case: Case,
    /// What it comes to.
    pub judgement: Judgement,
    /// The run, ready for a report.
    pub run: Run,
    /// Instructions that the guest retired; 0 where nobody counts them.
    pub instructions: u64,
}

/// Checks what can be checked of `case` without its kernel, which will be one of `width`.
///
/// # Errors
/// What is wrong with its machine, or why `host` cannot execute it.
pub fn check(host: Host, case: &Case, image: &str, width: Width) -> Result<(), Error> {
    let disks = std::iter::repeat(Path::new("disk"));
    let config = config(host, case, (Path::new(image), KernelFormat::Auto), disks);
    config.validate()?;
    accel::choose(&config, width).map(drop)
}

/// Runs `case` on `kernel` and judges it; on the emulated processor.
///
/// # Errors
/// Why it cannot be judged.
pub fn run(case: &Case, kernel: &Kernel) -> Result<Judged, Undecided> {
    run_on(Host::EMULATED, case, kernel)
}

/// Runs `case` on `kernel` and judges it.
///
/// # Errors
/// Why it cannot be judged.
pub fn run_on(host: Host, case: &Case, kernel: &Kernel) -> Result<Judged, Undecided> {
    let setup = |error: &dyn std::fmt::Display| Undecided::Setup(error.to_string());
    if !kernel.has_clocks && !case.trigger.clocks.is_empty() {
        return Err(Undecided::NoClocks);
    }
    let roles = case.topology.device.iter().map(|device| device.role);
    let disks: Result<Vec<Disk>, _> = roles.map(Disk::new).collect();
    let mut disks = disks.map_err(|error| setup(&error))?;
    let paths = disks.iter().map(Disk::path);
    let mut config = config(host, case, (&kernel.path, kernel.format), paths);
    let board = Board::new(&config);
    for (entry, disk) in board
        .devices
        .iter()
        .filter(|entry| matches!(entry.device, Device::Disk(_)))
        .zip(&mut disks)
    {
        disk.device = entry.linux_name();
    }
    let initrd = initrd(host, case, &board, &disks, kernel)?;
    config.initrd = Some(initrd.path().into());

    let mappings = Arc::new(Mappings::default());
    let recording = Arc::new(Recording::new());
    let console = Capture::default();
    let sink = recording.console(Box::new(console.clone()));
    let iommu_sink = recording.sink_before(Some(mappings.clone()));
    let machine = Machine::with_iommu_sink(&config, sink, Some(iommu_sink));
    let mut machine = machine.map_err(|error| setup(&error))?;
    let names: BTreeMap<String, String> = names(case, &disks);
    recording.connect(&machine, |entry| {
        names
            .get(&entry.linux_name())
            .cloned()
            .unwrap_or_else(|| entry.name.clone())
    });
    let probes = case.behaviour.probes(case.topology.iommu);
    let endpoints = board
        .devices
        .iter()
        .filter_map(|entry| Some((entry.linux_name(), entry.iommu?.utlb)));
    let leftovers = Arc::default();
    let hits = Arc::new(Mutex::new(Vec::new()));
    let sink = Sink {
        names: names.clone(),
        recording: Arc::clone(&recording),
        hits: Arc::clone(&hits),
        endpoints: endpoints.collect(),
        mappings: Arc::clone(&mappings),
        leftovers: Arc::clone(&leftovers),
    };
    let outcome = probe::attach(
        &mut machine,
        probes.clone(),
        Box::new(move |probe, hit| sink.hit(probe, hit)),
    );
    let exit = machine.run(host.limits(case.machine.seconds));
    let outcome: Outcome = outcome
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let Some(error) = outcome.error {
        return Err(Undecided::Probes(error.to_string()));
    }
    if !outcome.armed {
        return Err(Undecided::NoKernel);
    }
    let mut leftovers =
        std::mem::take(&mut *leftovers.lock().unwrap_or_else(PoisonError::into_inner));
    leftovers.retain(|left| mappings.find(left.endpoint, left.iova) == Some(left.address));
    let hits = std::mem::take(&mut *hits.lock().unwrap_or_else(PoisonError::into_inner));
    let evidence = Evidence {
        case,
        disks: &disks,
        names: &names,
        probes: &probes,
        hits: &hits,
        leftovers: &leftovers,
        timeline: recording.timeline(),
        console: String::from_utf8_lossy(&console.bytes()).into_owned(),
        reason: exit.reason,
        board: machine.board(),
    };
    evidence.decidable()?;
    let judgement = judge::judge(&evidence).map_err(|error| setup(&error))?;
    let run = findings::run(&evidence, &judgement, &config, kernel);
    Ok(Judged {
        case: case.clone(),
        judgement,
        run,
        instructions: machine.summary().instructions,
    })
}

/// What the kernel calls the devices, and what they are called in a report.
fn names(case: &Case, disks: &[Disk]) -> BTreeMap<String, String> {
    let devices = disks.iter().zip(&case.topology.device);
    devices
        .map(|(disk, device)| {
            (
                disk.device.clone(),
                format!("{} {}", device.role, disk.device),
            )
        })
        .collect()
}

/// The machine of a case.
fn config<'p>(
    host: Host,
    case: &Case,
    (kernel, kernel_format): (&Path, KernelFormat),
    disks: impl Iterator<Item = &'p Path>,
) -> Config {
    let spec = &case.machine;
    let devices = case.topology.device.iter().zip(disks);
    let disk = |(device, path): (&super::spec::DeviceSpec, &Path)| DiskConfig {
        iommu: Some(device.port.clone()),
        clocks: if device.subject {
            case.trigger.clocks.clone()
        } else {
            Vec::new()
        },
        broken: device.subject && case.trigger.broken,
        coherent: device.coherent,
        ..DiskConfig::new(path)
    };
    // A crash ends the run, so that it is seen where it happens, and not by what it leads to.
    let mut cmdline = format!(
        "console=ttyS0 earlycon panic=-1 oops=panic fw_devlink={} {}",
        case.fw_devlink, spec.cmdline
    );
    if host.patience > 1 {
        // The kernel's own patience is 10 s, counted from when it has no more drivers of its own to start.
        cmdline = format!("deferred_probe_timeout={} {cmdline}", 10 * host.patience);
    }
    Config {
        kernel: kernel.into(),
        kernel_format,
        cmdline: cmdline.trim_end().into(),
        memory: spec.memory,
        memory_base: spec.memory_base,
        cpus: spec.cpus,
        disks: devices.map(disk).collect(),
        rng: false,
        accel: host.accel,
        time: match host.accel {
            Accel::Emulated => TimeMode::Virtual,
            Accel::Auto | Accel::Kvm => TimeMode::Host,
        },
        iommus: vec![IommuConfig::new(case.topology.iommu); usize::from(case.topology.instances)],
        ..Config::default()
    }
}

/// The initial file system with the case's script.
fn initrd(
    host: Host,
    case: &Case,
    board: &Board,
    disks: &[Disk],
    kernel: &Kernel,
) -> Result<ScratchFile, Undecided> {
    let setup = |error: &dyn std::fmt::Display| Undecided::Setup(error.to_string());
    let files = guest::files(host.patience, case, board, disks, kernel);
    let bytes = kernel
        .image
        .initramfs_with(&files)
        .map_err(|error| setup(&error))?;
    ScratchFile::new(&[&bytes]).map_err(|error| setup(&error))
}

/// Takes hits of probes: those that concern a device of the scenario, or changed something.
struct Sink {
    names: BTreeMap<String, String>,
    recording: Arc<Recording>,
    hits: Arc<Mutex<Vec<Hit>>>,
    /// Where devices stand, by what the kernel calls them.
    endpoints: BTreeMap<String, u32>,
    mappings: Arc<Mappings>,
    leftovers: Arc<Mutex<Vec<Leftover>>>,
}

/// A page that the kernel has given back, and that stayed mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leftover {
    /// What the kernel calls the device.
    pub device: String,
    /// Where it stands.
    pub endpoint: u32,
    /// Its address for the device.
    pub iova: u64,
    /// The physical address that this leads to.
    pub address: u64,
}

impl Sink {
    /// The page that `hit`, the return of `arm_iommu_unmap_page`, should have unmapped, if it is mapped still.
    fn leftover(&self, hit: &Hit) -> Option<Leftover> {
        /// Of the kernel's pages.
        const PAGE: u64 = 0x1000;
        let device = device(hit)?;
        let endpoint = *self.endpoints.get(device)?;
        let handle = hit.values.iter().find(|(name, _)| name == "handle")?;
        let iova = u64::try_from(handle.1.as_ref().ok()?.number()?).ok()? & !(PAGE - 1);
        Some(Leftover {
            device: device.to_owned(),
            endpoint,
            iova,
            address: self.mappings.find(endpoint, iova)?,
        })
    }

    fn hit(&self, probe: &Probe, hit: &Hit) {
        if probe.site.symbol == "arm_iommu_unmap_page" {
            let Some(left) = self.leftover(hit) else {
                // As it should be; there are many.
                return;
            };
            let leftovers = self.leftovers.lock();
            leftovers.unwrap_or_else(PoisonError::into_inner).push(left);
        }
        let device = device(hit);
        let known = device.and_then(|device| self.names.get(device));
        let concerns = known.is_some() || device.is_none() || !hit.changes.is_empty();
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        if !concerns || hits.len() >= MAX_HITS {
            return;
        }
        self.recording.hit(probe, hit);
        if let Some(name) = known {
            match probe.site.symbol.as_str() {
                "driver_bound" => self.recording.binding(name, driver(hit)),
                "device_unbind_cleanup" => self.recording.binding(name, None),
                _ => {}
            }
        }
        hits.push(hit.clone());
    }
}

/// The name of the device that a hit is about, if its probe printed it.
pub fn device(hit: &Hit) -> Option<&str> {
    text(hit, "dev.name")
}

fn driver(hit: &Hit) -> Option<String> {
    text(hit, "dev.driver.name").map(str::to_owned)
}

fn text<'h>(hit: &'h Hit, name: &str) -> Option<&'h str> {
    let value = hit.values.iter().find(|(printed, _)| printed == name);
    match value {
        Some((_, Ok(Value::Text { text, .. }))) => Some(text),
        _ => None,
    }
}
