//! `vmm boot`.

mod both;
mod observers;
mod stream;

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guest_images::catalog;
use vmm::inspect::Expect;
use vmm::introspect::probe::Probe;
use vmm::{Config, DiskConfig, Error, IommuSink, Limits};
use vmm_files::input;
use vmm_machine::{Recording, RunFaults, Snapshot, check, kernel_width};

use super::console::{Destination, Watched};
use super::ending::Ending;
use super::faults::{self, FaultArgs};
use super::files::Files;
use super::gdb::GdbAddress;
use super::guest::{self, width};
use super::install::Install;
use super::origin::{Moment, Origin};
use super::output::Output;
use super::probes;
use super::sandbox::{self, Policy, SandboxArgs};
use super::session::Session;
use super::settings::Settings;
use super::signals::{self, Stopper};
use super::tier::{BootTierArgs, Both};
use super::trace::{self, IommuTrace};
use super::travel::{Travel, TravelArgs};
use super::values::Trace;
use super::vmlinux::VmlinuxFiles;
use super::{CommandExit, UserError, gdb, moved, patience, sanitize};
use observers::{introduce, look_on, note, tell_of_tree};
use stream::{Console, publish, stream};

/// Boot a guest and show its console, until it powers off, shows what is expected, or runs out of
/// time.
///
/// The console is a terminal's as far as the guest is concerned: Ctrl-C goes to the guest, Ctrl-A x
/// ends the run, Ctrl-A h shows help.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Read settings from a file with the same keys; flags override it
    #[arg(long, value_name = "machine.toml")]
    config: Option<PathBuf>,
    /// Write all that reaches the guest from outside to this file, to have the same run again
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Run",
        conflicts_with = "gdb"
    )]
    record: Option<PathBuf>,
    /// Have the run of a recording again: its machine, its input, its time. Only what looks on or
    /// ends the run sooner may be named beside, and where files are now: --kernel FILE, --initrd
    /// FILE, --disk diskN=FILE, --snapshot FILE
    #[arg(long, value_name = "FILE", help_heading = "Run", conflicts_with_all = ["config", "record", "faults"])]
    replay: Option<PathBuf>,
    /// With --replay: where the snapshot is now that the recorded run went on from
    #[arg(long, value_name = "FILE", help_heading = "Run", requires = "replay")]
    snapshot: Option<PathBuf>,
    #[command(flatten)]
    faults: FaultArgs,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    travel: TravelArgs,
    #[command(flatten)]
    install: Install,
    #[command(flatten)]
    tier: BootTierArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

const AFTER_HELP: &str = "\
Examples:
  vmm boot --image debian-armmp --run 'cat /proc/cpuinfo'
  vmm boot --image ipmmu --disk disk.img,ro --run 'sha256sum /dev/vda' --json run.json
  vmm boot --image ipmmu --shell --time host
  vmm boot --rootfs debian:bookworm
  vmm boot --kernel zImage --initrd initrd.cpio --cmdline 'loglevel=8' --expect 'login: ' --timeout 60
  vmm boot --config machine.toml --seed 7
  vmm boot --image ipmmu --shell --time host --record run.rec; vmm boot --replay run.rec

Exit codes:
  0    the guest powered off, its --run commands succeeded; or it showed what --expect names; or Ctrl-A x
  1    the guest asked for a reset (a kernel panic does), can never wake up, a command failed, or --expect was not met;
       or the tiers of --tier both differ
  2    a mistake in the flags, the configuration or the files, told in one sentence; or an output could
       not be written to its end
  3    the run differs from the recording of --replay
  4    --sanitize found mistakes: in place of 0, 1 and 124
  124  --timeout or --wall-timeout was reached
  130  ended by SIGINT (131: SIGQUIT, 143: SIGTERM, 129: a shell's terminal is gone); the summary and --json
       are written all the same";

/// Runs the subcommand.
pub fn run(args: Args) -> Result<CommandExit, UserError> {
    args.install.apply();
    args.sandbox.apply();
    let both = args.tier.apply()?;
    if let Some(path) = &args.replay {
        return replay(path, args.settings, args.snapshot, (args.travel, both));
    }
    let mut files = Files::default();
    let settings = args.settings.with_file(args.config.as_deref())?;
    files.inputs("configuration", &args.config);
    files.settings(&settings);
    args.faults.name(&mut files);
    files.output("--record", args.record.as_deref());
    files.check()?;
    let faults = args.faults.read()?;
    let mut boot = Boot::prepare(settings)?.with_faults(faults);
    if let Some(path) = &args.record {
        boot.can_be("recorded")?;
        boot.record = Some(Output::at(path, "recording")?);
    }
    boot.travelling(args.travel)?.by_both(both)?.run()
}

/// Repeats the run of a recording; its files must be what they were.
fn replay(
    path: &Path,
    mut settings: Settings,
    snapshot: Option<PathBuf>,
    (travel, both): (TravelArgs, Option<Both>),
) -> Result<CommandExit, UserError> {
    let unusable = |why: &dyn std::fmt::Display| {
        UserError::new(format!(
            "cannot use the recording {}: {why}",
            path.display()
        ))
    };
    // Before the machines are compared: these flags say where files are, not which machine.
    let moved = moved::take(&mut settings, snapshot)?;
    let image = settings.image.is_some() || settings.rootfs.is_some();
    if image || settings.config() != Settings::default().config() {
        return Err(UserError::new(
            "a recording has a machine of its own: name only what looks on or ends the run sooner beside --replay",
        ));
    }
    if let Some(at) = settings.gdb {
        gdb::check(at)?;
    }
    // Before the recording is opened: no output may take its place.
    let mut files = Files::default();
    files.input("recording", path);
    files.inputs("vmlinux", &settings.vmlinux);
    files.outputs_of(&settings);
    files.check()?;
    let file = input::open_stream(path).map_err(|why| unusable(&why))?;
    let mut recording = Recording::read(BufReader::new(file)).map_err(|why| unusable(&why))?;
    recording.find_files(&moved).map_err(|why| unusable(&why))?;
    let header = recording.header();
    files.inputs(
        "snapshot",
        header.snapshot.iter().map(|start| &start.file.path),
    );
    // Checked again: only the recording tells which files the machine has.
    files.machine(&header.config);
    files.check()?;
    let boot = Boot::outputs(settings, Origin::Recording(Box::new(recording)))?;
    boot.travelling(travel)?.by_both(both)?.run()
}

/// A run whose settings make sense.
pub struct Boot {
    settings: Settings,
    origin: Origin,
    save: Option<Moment>,
    record: Option<Output>,
    faults: Option<RunFaults>,
    expect: Option<Expect>,
    json: Option<Output>,
    probes: Vec<Probe>,
    vmlinux: VmlinuxFiles,
    timeline: Option<probes::Timeline>,
    console: Console,
    /// Whether two machines run, each by a tier of its own.
    both: Option<Both>,
    /// Where a debugger can go.
    travel: Travel,
}

impl Boot {
    /// Finds every mistake that can be found before anything is fetched, created or run.
    pub fn prepare(mut settings: Settings) -> Result<Self, UserError> {
        guest::check_root_disk(&mut settings)?;
        let config = settings.config();
        // The tree comes with the image, and need not be known for everything else to be looked at.
        let named = |mut config: Config| {
            if let Some(tree) = config.board.facts().tree {
                config.dtb.get_or_insert(tree.into());
            }
            config
        };
        let image = settings
            .image
            .as_deref()
            .map(catalog::find)
            .transpose()?
            .map(|spec| spec.name);
        match (&settings.kernel, image) {
            (None, None) => {
                return Err(UserError::new(
                    "no guest is named: say --image NAME (see vmm images list) or --kernel FILE",
                ));
            }
            (Some(_), None) => config.validate()?,
            (Some(kernel), Some(name)) => {
                let config = named(config.clone());
                config.validate()?;
                let (file, of_image) = (kernel_width(&config)?, width(name)?);
                if file != of_image {
                    return Err(UserError::new(format!(
                        "{} is a kernel of {} bits, and {name} is an image for {} bits: name another image, or an \
                         --initrd instead of one",
                        kernel.display(),
                        8 * file.bytes(),
                        8 * of_image.bytes()
                    )));
                }
                check(&config, file)?;
            }
            // An image's kernel is not known yet, and need not be for everything else to be looked
            // at.
            (None, Some(name)) => {
                let mut config = Config {
                    kernel: name.into(),
                    ..named(config.clone())
                };
                // One that is not there yet becomes a copy of a disk that is in order.
                let root = settings.rootfs_disk.as_ref().filter(|root| root.exists());
                config.disks.splice(0..0, root.map(DiskConfig::new));
                check(&config, width(name)?)?;
            }
        }
        guest::check_tree(&settings)?;
        if settings.trace.contains(&Trace::Iommu) && config.iommu_list().is_empty() {
            return Err(UserError::new(
                "there is nothing to trace: the machine has no IOMMU; add one with --iommu",
            ));
        }
        if let Some(at) = settings.gdb {
            gdb::check(at)?;
        }
        Self::outputs(settings, Origin::Power(Box::new(config)))
    }

    /// Prepares a run that goes on from `snapshot`, which was read from the file `path`, and is
    /// recorded if `record` says where.
    pub fn resume(
        settings: Settings,
        snapshot: Snapshot,
        path: PathBuf,
        record: Option<&Path>,
    ) -> Result<Self, UserError> {
        let record = record.map(|path| Output::at(path, "recording"));
        let mut boot = Self::outputs(settings, Origin::Snapshot(snapshot, path))?;
        boot.record = record.transpose()?;
        Ok(boot)
    }

    /// Finds out whether the machine can be `saved` or recorded.
    ///
    /// # Errors
    /// A device of it is in another process.
    pub fn can_be(&self, saved: &'static str) -> Result<(), UserError> {
        let config = self.origin.config();
        if saved == "recorded" && config.has_user_network() {
            return Err(UserError::new(Error::NetRecorded.to_string()));
        }
        match config.vhost_user.is_empty() {
            true => Ok(()),
            false => Err(UserError::new(Error::VhostUserState(saved).to_string())),
        }
    }

    /// Returns the same run, with faults.
    pub fn with_faults(mut self, faults: Option<RunFaults>) -> Self {
        self.faults = faults;
        self
    }

    /// Returns the same run, to be saved at a moment.
    pub fn saving(mut self, moment: Moment) -> Self {
        self.save = Some(moment);
        self
    }

    /// Finds out whether everything that is to be written can be.
    fn outputs(settings: Settings, origin: Origin) -> Result<Self, UserError> {
        let expect = settings.expect.as_deref().map(Expect::new).transpose()?;
        // Nothing appears yet: an output is only begun, so that what would fail at the end fails
        // now.
        let json = settings
            .json
            .as_deref()
            .map(|path| Output::at(path, "summary"))
            .transpose()?;
        let probes = probes::parse(&settings.probe)?;
        if settings.vmlinux.is_some() && probes.is_empty() && settings.sanitize.is_none() {
            return Err(UserError::new(
                "--vmlinux tells probes what the kernel's structures are, and there is no probe: add --probe or \
                 --sanitize",
            ));
        }
        let vmlinux = VmlinuxFiles::read(&settings.vmlinux)?;
        let timeline = settings
            .timeline
            .as_deref()
            .map(probes::Timeline::at)
            .transpose()?;
        let console = match settings.console.clone().unwrap_or_default() {
            Destination::Stdio => Console::Stdio,
            Destination::None => Console::None,
            Destination::File(path) => Console::File(Output::at(&path, "console's file")?),
        };
        Ok(Self {
            settings,
            origin,
            save: None,
            record: None,
            faults: None,
            expect,
            json,
            probes,
            vmlinux,
            timeline,
            console,
            both: None,
            travel: Travel::default(),
        })
    }

    /// Returns the same run, with a debugger that can go where `args` say.
    fn travelling(mut self, args: TravelArgs) -> Result<Self, UserError> {
        self.travel = Travel::new(args, &self.settings, &self.origin)?;
        Ok(self)
    }

    /// Obtains what the machine takes, and runs it to its end.
    pub fn run(mut self) -> Result<CommandExit, UserError> {
        self.obtain()?;
        // From here on this process opens only what the run takes.
        self.policy().enter()?;
        if let Some(both) = self.both {
            return self.run_both(both);
        }
        let Self {
            settings,
            origin,
            save,
            record,
            faults,
            expect,
            json,
            probes,
            vmlinux,
            timeline,
            console,
            both: _,
            travel,
        } = self;
        let interactive = matches!(console, Console::Stdio);
        let (later, stream) = stream(console);
        let (sink, watcher) = Watched::new(stream, expect);
        let tracing = settings.trace.contains(&Trace::Iommu);
        let iommu_sink = tracing.then(|| Arc::new(IommuTrace) as Arc<dyn IommuSink>);
        let recording = timeline.as_ref().map(|of| Arc::clone(of.recording()));
        let sanitizer = sanitize::sanitizer(settings.sanitize.as_ref(), recording.as_ref());
        let iommu_sink = sanitize::sink(sanitizer.as_ref(), iommu_sink);
        let (sink, iommu_sink) = note(recording.as_deref(), Box::new(sink), iommu_sink);
        let (sink, iommu_sink) = (travel.console(sink)?, travel.iommu_sink(iommu_sink)?);
        // Making the machine writes the beginning of a recording, which may be a pipe that nobody
        // reads.
        limit_patience(&settings);
        let start_ns = origin.start_ns();
        let types = vmlinux.only();
        let faults = (faults, &types);
        let (mut machine, recorder) =
            origin.machine(settings.seed, faults, sink, iommu_sink, record)?;
        let image = origin.config().image.as_deref();
        introduce(&machine, recording.as_deref());
        tell_of_tree(origin.config(), settings.quiet == Some(true));
        let (set, dma_api) = look_on(&mut machine, probes, types, recording, sanitizer.as_ref())?;
        if tracing {
            trace::ports(machine.board());
        }
        publish(later.as_ref())?;
        let stopper = Stopper::new(machine.stop_handle());
        // Until here a signal ends the process at once: there was no run to end in good order.
        signals::handle(stopper.clone())?;
        travel.prepare(&mut machine)?;
        if let Some(at) = settings.gdb {
            gdb::attach(&mut machine, at, travel.goes_first())?;
        }
        if travel.asks() {
            let limits = limits(&settings, start_ns, save.as_ref());
            sandbox::filter_machine(0, origin.config())?;
            return travel.answer(&mut machine, limits, &stopper);
        }
        let to_a_moment = settings.expect.is_some() || save.is_some();
        let session = Session::new(&settings, &origin, image, to_a_moment);
        // Nobody types at a console that is not shown here.
        let raw = interactive.then(|| session.attach(&machine, &stopper));
        let raw = raw.transpose()?.flatten();
        let limits = limits(&settings, start_ns, save.as_ref());
        // Anew, as the time so far was not the run's.
        limit_patience(&settings);
        // Last: what came before needed calls that the run does not.
        sandbox::filter_machine(0, origin.config())?;
        let exit = machine.run(limits);
        // The terminal is restored before anything is said on it.
        drop(raw);
        Ending {
            settings: &settings,
            origin: &origin,
            machine,
            recorder,
            probes: set,
            sanitizer,
            dma_api,
            timeline,
            watcher,
            later,
            json,
            save,
            tiers_differ: false,
        }
        .tell(exit.reason, stopper.cause())
    }

    /// Obtains the image, and checks what can be checked of its kernel and machine before that
    /// runs.
    fn obtain(&mut self) -> Result<(), UserError> {
        if let Origin::Power(config) = &mut self.origin {
            guest::obtain(config, &self.settings)?;
            self.vmlinux.check(&config.kernel)?;
        }
        let faults = self.faults.as_ref();
        faults.map_or(Ok(()), |faults| faults::check(faults, &self.origin))
    }

    /// Returns what the process has to reach for the run.
    fn policy(&self) -> Policy {
        let mut policy = Policy::default();
        policy.machine(self.origin.config());
        // A recording names it by its hash.
        if let Origin::Snapshot(_, path) = &self.origin {
            policy.read(path);
        }
        policy.listen(self.settings.gdb.map(GdbAddress::port));
        if let Console::File(file) = &self.console {
            policy.output(Some(file.path()));
        }
        let saved = self.save.as_ref().map(|moment| &moment.output);
        for output in [self.json.as_ref(), self.record.as_ref(), saved] {
            policy.output(output.map(Output::path));
        }
        policy.output(self.settings.timeline.as_deref());
        policy
    }
}

/// Returns when the run of a machine that begins at guest time `start_ns` ends at the latest.
fn limits(settings: &Settings, start_ns: u64, moment: Option<&Moment>) -> Limits {
    let timeout = settings.timeout;
    // The user counts from the start of this run, the machine's clock from power-on.
    let timeout = timeout.map(|limit| start_ns.saturating_add(limit.ns()));
    let until = timeout.into_iter().chain(moment.and_then(|m| m.guest_ns));
    Limits {
        guest_ns: until.min(),
        instructions: moment.and_then(|m| m.instructions),
        wall: settings.wall_timeout.map(|limit| limit.0),
    }
}

/// Limits the wait for readers of what is written now to as long as the run may take.
fn limit_patience(settings: &Settings) {
    if let Some(limit) = settings.wall_timeout {
        patience::end_after(limit.0);
    }
}
