//! Boots a case and collects what is seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use guest_images::{GuestFile, Image};
use vmm_base::Width;
use vmm_devices::uart::{Capture, ConsoleSink};
use vmm_files::scratch::ScratchFile;
use vmm_machine::board::Board;
use vmm_machine::{
    Accel, BothSinks, Config, DiskConfig, DmaTesterConfig, Error, GuestKernel, IommuConfig,
    IommuModel, IommuSink, KernelFormat, Limits, Machine, TimeMode, accel,
};

use super::behaviour::is_of_teardown;
use super::evidence::Evidence;
use super::findings;
use super::guest::{self, Disk};
use super::hits::Hits;
use super::host::Host;
use super::judge::{self, Judgement};
use super::load::Case;
use super::mappings::Mappings;
use super::mistakes::{Sanitized, Watch};
use super::undecided::Undecided;
use vmm_introspect::probe::{self, Probe, ProbeResults};
use vmm_introspect::types::vmlinux::TypesFrom;
use vmm_sanitizer::Options;
use vmm_timeline::recording::Recording;
use vmm_timeline::{Mark, Run};

/// A case that was run and judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The case.
    pub case: Case,
    /// The judgement on it.
    pub judgement: Judgement,
    /// The run, ready for a report.
    pub run: Run,
    /// What a sanitizer says, if one looked on.
    pub sanitized: Option<Sanitized>,
    /// Instructions that the guest retired; 0 where nobody counts them.
    pub instructions: u64,
}

/// What a run is looked at with.
#[derive(Clone, Debug, Default)]
pub struct Instruments {
    /// Where the kernel's types come from.
    pub types: TypesFrom,
    /// The mistakes with DMA that are looked for; `None` for none.
    pub sanitize: Option<Options>,
}

impl Judged {
    /// Returns the guest time of the first event that decided and is not as it should be, in
    /// nanoseconds since power-on.
    pub fn decided_ns(&self) -> Option<u64> {
        let mut decisive = self.run.decisive.iter();
        let bad = decisive.find(|decisive| decisive.mark == Mark::Bad)?;
        let event = usize::try_from(bad.event.0).ok()?;
        Some(self.run.timeline.events.get(event)?.at)
    }
}

/// Checks what can be checked of `case` without its kernel, which will be one of `width`.
///
/// # Errors
/// Its machine cannot be made, or `host` cannot execute it.
pub fn check(host: Host, case: &Case, image: &str, width: Width) -> Result<(), Error> {
    // Validation opens no file, so that any name will do.
    let disks = std::iter::repeat(Path::new("disk"));
    let config = config(host, case, (Path::new(image), KernelFormat::Auto), disks);
    config.validate()?;
    accel::choose(&config, width).map(drop)
}

/// Runs `case` on `kernel` and judges it, on the emulated processor.
///
/// # Errors
/// It cannot be judged: the reason.
pub fn run(case: &Case, kernel: &GuestKernel) -> Result<Judged, Undecided> {
    run_on(Host::EMULATED, case, kernel, &Instruments::default())
}

/// Runs `case` on `kernel` and judges it by what these instruments show, too.
///
/// # Errors
/// It cannot be judged: the reason.
pub fn run_on(
    host: Host,
    case: &Case,
    kernel: &GuestKernel,
    instruments: &Instruments,
) -> Result<Judged, Undecided> {
    let setup = |error: &dyn std::fmt::Display| Undecided::Setup(error.to_string());
    let Prepared {
        config,
        board,
        disks,
        initrd: _initrd,
    } = prepare(host, case, kernel)?;
    // The recording is made first, as the machine is built with its sink and console, and connected
    // when it is there.
    let mappings = Arc::new(Mappings::default());
    let recording = Arc::new(Recording::new());
    let console = Capture::default();
    let sink = recording.console(Box::new(console.clone()));
    let sanitize = instruments.sanitize.as_ref();
    let mut watch = sanitize.map(|options| Watch::new(options, &recording));
    let watch_sink = watch.as_ref().map(Watch::sink);
    let iommu_sink = recording.sink_before(Some(mappings.clone()));
    let machine = Machine::builder(&config, sink)
        .iommu_sink(BothSinks::of(Some(iommu_sink), watch_sink))
        .build();
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
    let kept = Hits {
        names: names.clone(),
        recording: Arc::clone(&recording),
        hits: Arc::clone(&hits),
        endpoints: endpoints.collect(),
        mappings: Arc::clone(&mappings),
        leftovers: Arc::clone(&leftovers),
    };
    let outcome = probe::attach_with(
        &mut machine,
        probes.clone(),
        instruments.types.clone(),
        Box::new(move |probe, hit| kept.take(probe, hit)),
    );
    if let Some(watch) = &mut watch {
        watch.attach(&mut machine, instruments.types.clone());
    }
    let exit = machine.run(host.limits(case.machine.seconds));
    // After the run only, as it is the running kernel in which probes find their places.
    attached(case, &outcome, &probes)?;
    let mut leftovers = taken(&leftovers);
    // A page may have been given back more than once, or mapped anew since: what counts is the end.
    leftovers.retain(|left| mappings.find(left.endpoint, left.iova) == Some(left.address));
    let hits = taken(&hits);
    // Before the timeline, which has its reports.
    let sanitized = watch.map(|watch| watch.finish(&machine, &board, &disks));
    let evidence = Evidence {
        case,
        disks: &disks,
        names: &names,
        probes: &probes,
        hits: &hits,
        leftovers: &leftovers,
        sanitized: sanitized.as_ref(),
        timeline: recording.timeline(),
        console: String::from_utf8_lossy(&console.bytes()).into_owned(),
        reason: exit.reason,
        dma_script: machine.summary().dma_script.unwrap_or_default(),
        board: machine.board(),
    };
    evidence.decidable()?;
    let judgement = judge::judge(&evidence).map_err(|error| setup(&error))?;
    let run = findings::run(&evidence, &judgement, &config, kernel);
    Ok(Judged {
        case: case.clone(),
        judgement,
        run,
        sanitized,
        instructions: machine.summary().instructions,
    })
}

/// The machine of a case, for a debugger.
pub struct Debuggee {
    /// It has not run.
    pub machine: Machine,
    /// As long as a run of the case may take.
    pub limits: Limits,
    /// Its files, which are gone with it.
    _files: (Vec<Disk>, ScratchFile),
}

/// Returns the machine of `case` on `kernel`, on the emulated processor, which does what it does in
/// [`run`]. Nothing is judged and its disks are left as they are, so that it can go back.
///
/// # Errors
/// It cannot be made, or the behaviour of the case is that of probes, which a machine that goes
/// back does without.
pub fn debuggee(
    case: &Case,
    kernel: &GuestKernel,
    console: Box<dyn ConsoleSink>,
    iommu_sink: Option<Arc<dyn IommuSink>>,
) -> Result<Debuggee, Undecided> {
    if !is_debuggable(case) {
        return Err(Undecided::Probed(case.behaviour_name.clone()));
    }
    let Prepared {
        mut config,
        disks,
        initrd,
        ..
    } = prepare(Host::EMULATED, case, kernel)?;
    for disk in &mut config.disks {
        disk.overlay = true;
    }
    let machine = Machine::builder(&config, console)
        .iommu_sink(iommu_sink)
        .build();
    Ok(Debuggee {
        machine: machine.map_err(|error| Undecided::Setup(error.to_string()))?,
        limits: Limits {
            // A person takes their time.
            wall: None,
            ..Host::EMULATED.limits(case.machine.seconds)
        },
        _files: (disks, initrd),
    })
}

/// Returns whether a [`debuggee`] can be made of `case`: no probe changes its guest.
pub fn is_debuggable(case: &Case) -> bool {
    case.behaviour.probes.is_empty()
}

/// What a machine is made from.
struct Prepared {
    config: Config,
    board: Board,
    disks: Vec<Disk>,
    /// The file of the initial file system, which is there as long as this lives.
    initrd: ScratchFile,
}

fn prepare(host: Host, case: &Case, kernel: &GuestKernel) -> Result<Prepared, Undecided> {
    // A kernel of the user's own does not take the image's module: the clocks would never come.
    if !kernel.has_clocks && !case.trigger.clocks.is_empty() {
        return Err(Undecided::NoClocks);
    }
    let disks = disks(case);
    let mut disks = disks.map_err(|error| Undecided::Setup(error.to_string()))?;
    let paths = disks.iter().map(Disk::path);
    let mut config = config(host, case, (&kernel.path, kernel.format), paths);
    let files = kernel.board_files(case.topology.board);
    config.dtb = files.map(|files| files.dtb.clone());
    // Made before the machine: the guest's script needs the kernel's names of the devices.
    let board = Board::new(&config);
    let entries = board.devices.iter();
    let entries = entries.filter(|entry| entry.disk_index().is_some());
    // The board has its disks in the order of the configuration, which is that of the topology.
    for (entry, disk) in entries.zip(&mut disks) {
        disk.device = entry.linux_name();
    }
    let mut image = kernel.image.clone();
    if let Some(files) = files {
        // With the board's drivers.
        image.initramfs.clone_from(&files.initramfs);
    }
    let files = guest::files(host.patience, case, &board, &disks, kernel);
    let initrd = initrd(&image, &files);
    let initrd = initrd.map_err(|error| Undecided::Setup(error.to_string()))?;
    config.initrd = Some(initrd.path().into());
    Ok(Prepared {
        config,
        board,
        disks,
        initrd,
    })
}

/// Takes what was collected.
fn taken<T: Default>(collected: &Mutex<T>) -> T {
    std::mem::take(&mut *collected.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Returns the disks of the devices of `case`.
fn disks(case: &Case) -> std::io::Result<Vec<Disk>> {
    let roles = case.topology.device.iter().map(|device| device.role);
    roles.map(Disk::new).collect()
}

/// Checks that probes were set: with one missing, what was not seen proves nothing.
fn attached(case: &Case, outcome: &Mutex<ProbeResults>, probes: &[Probe]) -> Result<(), Undecided> {
    let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
    // What a stock kernel does to its IOMMU is seen without them, if no teardowns are counted.
    let needs_types = case.trigger.teardowns > 0 || !case.behaviour.probes.is_empty();
    // First: that a probe does not fit would only follow from it.
    if needs_types && outcome.no_types.is_some() {
        return Err(Undecided::NoTypes);
    }
    if let Some(error) = &outcome.error {
        return Err(Undecided::Probes(error.to_string()));
    }
    if !outcome.armed {
        return Err(Undecided::NoKernel);
    }
    // They are optional, as not every scenario is about teardowns, and one is enough.
    if case.trigger.teardowns == 0 {
        return Ok(());
    }
    let counting = (0..).zip(probes).filter(|(_, probe)| is_of_teardown(probe));
    let missing: Option<Vec<_>> = counting
        .map(|(index, _)| outcome.left_out.get(&index))
        .collect();
    match missing.as_deref() {
        Some([.., why]) => Err(Undecided::Unseen((*why).clone())),
        _ => Ok(()),
    }
}

/// Returns the kernel's names of the devices, with those that reports use.
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

/// Returns the machine of a case.
fn config<'p>(
    host: Host,
    case: &Case,
    (kernel, kernel_format): (&Path, KernelFormat),
    disks: impl Iterator<Item = &'p Path>,
) -> Config {
    let spec = &case.machine;
    let devices = case.topology.device.iter().zip(disks);
    let disk = |(device, path): (&super::spec::DeviceSpec, &Path)| DiskConfig {
        iommu: device.port.clone(),
        clocks: if device.subject {
            case.trigger.clocks.clone()
        } else {
            Vec::new()
        },
        broken: device.subject && case.trigger.broken,
        coherent: device.coherent,
        ..DiskConfig::new(path)
    };
    let tester = !case.topology.dma_tester.is_empty();
    let board = case.topology.board.facts();
    // A crash ends the run, so that it is seen where it happens, and not by what it leads to.
    let mut cmdline = format!(
        "console={} earlycon panic=-1 oops=panic fw_devlink={} {}",
        board.console, case.fw_devlink, spec.cmdline
    );
    if host.patience > 1 {
        // The kernel's own patience is 10 s, counted from when it has no more drivers of its own to
        // start.
        cmdline = format!("deferred_probe_timeout={} {cmdline}", 10 * host.patience);
    }
    Config {
        board: case.topology.board,
        // By its name, until the kernel is there whose package has it.
        dtb: board.tree.map(PathBuf::from),
        kernel: kernel.into(),
        kernel_format,
        cmdline: cmdline.trim_end().into(),
        memory: spec.memory,
        memory_base: spec.memory_base,
        cpus: spec.cpus,
        disks: devices.map(disk).collect(),
        rng: false,
        accel: host.accel,
        // KVM does not count instructions, of which virtual time is made.
        time: match host.accel {
            Accel::Emulated => TimeMode::Virtual,
            Accel::Auto | Accel::Kvm => TimeMode::Host,
        },
        dma_tester: tester.then(|| DmaTesterConfig {
            iommu: case.topology.dma_tester.clone(),
            script: case.trigger.dma_script.clone(),
        }),
        iommus: match case.topology.iommu {
            IommuModel::None => Vec::new(),
            model => vec![IommuConfig::new(model); case.topology.instances.into()],
        },
        ..Config::default()
    }
}

/// Makes the initial file system of `image` with a case's files.
fn initrd(image: &Image, files: &[GuestFile]) -> Result<ScratchFile, Box<dyn std::error::Error>> {
    let bytes = image.initramfs_with(files)?;
    Ok(ScratchFile::new(&[&bytes])?)
}
