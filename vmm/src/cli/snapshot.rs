//! `vmm snapshot`.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use vmm::ByteSize;
use vmm::introspect::probe::Probe;
use vmm::sanitizer::Options;
use vmm_files::input;
use vmm_machine::snapshot::file::{self, Header};
use vmm_machine::{Moved, Snapshot};

use super::boot::Boot;
use super::console::Destination;
use super::faults::FaultArgs;
use super::files::Files;
use super::gdb::GdbAddress;
use super::host::HostArgs;
use super::moved::{self, DiskPlace};
use super::origin::Moment;
use super::output::Output;
use super::probes;
use super::sandbox::SandboxArgs;
use super::settings::Settings;
use super::tier::BootTierArgs;
use super::values::{Idle, Seconds, Trace, word};
use super::{CommandExit, UserError, text};

/// Save a guest at a moment of its run, and go on from there any number of times.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Save(Box<Save>),
    Restore(Box<Restore>),
    Describe(Describe),
}

/// Boot a guest as `vmm boot` does, up to a moment, and save it there.
///
/// The moment is the first of those that are named: a time, a number of instructions, what --expect
/// names, or a --probe whose action is stop.
#[derive(Debug, clap::Args)]
#[command(after_help = SAVE_HELP)]
pub struct Save {
    /// The file to write
    file: PathBuf,
    /// Save when the guest's clock shows so many seconds
    #[arg(long, value_name = "SECONDS")]
    at: Option<Seconds>,
    /// Save when the cores have retired so many instructions
    #[arg(long, value_name = "N")]
    at_instruction: Option<u64>,
    /// Read settings from a file with the same keys; flags override it
    #[arg(long, value_name = "machine.toml")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    host: HostArgs,
}

const SAVE_HELP: &str = "\
Examples:
  vmm snapshot save ready.snap --image ipmmu --shell --expect 'guest: ready'
  vmm snapshot save fault.snap --image ipmmu --iommu ipmmu --probe 'ipmmu_irq { stop }'

Exit codes:
  0    the file was written
  1    the guest ended before the moment
  2    a mistake in the flags, the configuration or the files, or the file could not be written
  4    --sanitize found mistakes: in place of 0, 1 and 124
  124  --timeout or --wall-timeout was reached before the moment";

/// Go on from a snapshot, as `vmm boot` does from power-on.
#[derive(Debug, clap::Args)]
#[command(after_help = RESTORE_HELP)]
pub struct Restore {
    /// The file to read
    file: PathBuf,
    /// Where a disk's file is now, if it was moved: disk0 is the first one. May be given more than
    /// once
    #[arg(long, value_name = "diskN=FILE")]
    disk: Vec<DiskPlace>,
    /// Another seed: the entropy device's bytes follow from this one from here on
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// End the run, with exit code 124, after so many more seconds of the guest's clock
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<Seconds>,
    /// End the run, with exit code 124, after so many real seconds
    #[arg(long, value_name = "SECONDS")]
    wall_timeout: Option<Seconds>,
    /// What happens in virtual time while the guest idles; see `vmm boot --help`
    #[arg(long, value_name = "auto|skip|wait", value_parser = word::<Idle>)]
    idle: Option<Idle>,
    /// End the run, with exit code 0, when the console shows this from here on
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    expect: Option<String>,
    /// Where the console goes: stdio, none or a file [default: stdio]
    #[arg(long, value_name = "stdio|none|FILE")]
    console: Option<Destination>,
    /// Wait for a debugger (GDB) at this port before the first instruction; see `vmm boot --help`
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    gdb: Option<GdbAddress>,
    /// Write all that reaches the guest from outside from here on to this file, for
    /// `vmm boot --replay`
    #[arg(long, value_name = "FILE", conflicts_with = "gdb")]
    record: Option<PathBuf>,
    #[command(flatten)]
    faults: FaultArgs,
    /// Print on stderr what happens, as it happens: iommu
    #[arg(long, value_name = "WHAT", value_parser = word::<Trace>)]
    trace: Vec<Trace>,
    /// Look into the guest's kernel; see `vmm boot --help`. May be given more than once
    #[arg(long, value_name = "PROBE")]
    probe: Vec<String>,
    /// The vmlinux of the guest's kernel, for probes; see `vmm boot --help`
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
    /// Look for mistakes that the guest makes with DMA from here on; see `vmm boot --help`
    #[arg(long, value_name = "dma[=KIND,...]")]
    sanitize: Option<Options>,
    /// Write what happens from here on to this file; see `vmm boot --help`
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// Write a summary of the run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Do not say on stderr how the run ended
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    tier: BootTierArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

const RESTORE_HELP: &str = "\
Examples:
  vmm snapshot restore ready.snap --expect 'login: ' --timeout 60
  vmm snapshot restore ready.snap --disk disk0=/mnt/disk.img
  vmm snapshot restore ready.snap --record run.rec; vmm boot --replay run.rec
  vmm snapshot restore ready.snap --faults deferral --faults-seed 7 --record run.rec

Exit codes are those of `vmm boot`.";

/// Check a snapshot and say what it holds.
#[derive(Debug, clap::Args)]
pub struct Describe {
    /// The file to read
    file: PathBuf,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(command: Command) -> Result<CommandExit, UserError> {
    match command {
        Command::Save(args) => save(*args),
        Command::Restore(args) => restore(*args),
        Command::Describe(args) => describe(&args),
    }
}

fn save(args: Save) -> Result<CommandExit, UserError> {
    args.host.apply()?;
    let settings = args.settings.with_file(args.config.as_deref())?;
    let mut files = Files::default();
    files.inputs("configuration", &args.config);
    files.settings(&settings);
    files.output("the snapshot", Some(&args.file));
    files.check()?;
    let moment = Moment {
        guest_ns: args.at.map(Seconds::ns),
        instructions: args.at_instruction,
        output: Output::at(&args.file, "snapshot")?,
    };
    // A probe that stops is a moment too; whether it is ever hit is not known before the run.
    let stops = probes::parse(&settings.probe)?.iter().any(Probe::stops);
    let named = settings.expect.is_some() || stops || moment.instructions.is_some();
    if !named && moment.guest_ns.is_none() {
        return Err(UserError::new(
            "no moment to save at is named: say --at SECONDS, --at-instruction N, --expect REGEX or --probe \
                '... { stop }'",
        ));
    }
    let boot = Boot::prepare(settings)?;
    boot.can_be("saved")?;
    boot.saving(moment).run()
}

fn restore(args: Restore) -> Result<CommandExit, UserError> {
    args.sandbox.apply();
    let both = args.tier.apply()?;
    let settings = Settings {
        seed: args.seed,
        idle: args.idle,
        timeout: args.timeout,
        wall_timeout: args.wall_timeout,
        expect: args.expect,
        console: args.console,
        gdb: args.gdb,
        trace: args.trace,
        probe: args.probe,
        vmlinux: args.vmlinux,
        sanitize: args.sanitize,
        timeline: args.timeline,
        json: args.json,
        quiet: Some(args.quiet),
        ..Settings::default()
    };
    let moved = Moved {
        disks: moved::disks(args.disk)?,
        ..Moved::default()
    };
    let mut files = Files::default();
    files.input("snapshot", &args.file);
    files.inputs("disk", moved.disks.values());
    files.inputs("vmlinux", &settings.vmlinux);
    files.outputs_of(&settings);
    args.faults.name(&mut files);
    files.output("--record", args.record.as_deref());
    files.check()?;
    let faults = args.faults.read()?;
    let snapshot = Snapshot::read_moved(open(&args.file)?, &moved)
        .map_err(|why| unusable(&args.file, &why))?;
    // Checked again: only the snapshot tells which files the machine has.
    files.machine(snapshot.config());
    files.check()?;
    let boot = Boot::resume(settings, snapshot, args.file, args.record.as_deref())?;
    boot.with_faults(faults).by_both(both)?.run()
}

fn open(path: &Path) -> Result<BufReader<File>, UserError> {
    let file = input::open_stream(path).map_err(|why| unusable(path, &why))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> UserError {
    UserError::new(format!("cannot use the snapshot {}: {why}", path.display()))
}

fn describe(args: &Describe) -> Result<CommandExit, UserError> {
    let header = file::describe(open(&args.file)?).map_err(|why| unusable(&args.file, &why))?;
    let text = if args.json {
        serde_json::to_string_pretty(&header).map(|text| text + "\n")
    } else {
        Ok(table(&header))
    };
    let fail = |why: &dyn std::fmt::Display| UserError::new(format!("cannot print it: {why}"));
    let text = text.map_err(|why| fail(&why))?;
    let mut stdout = std::io::stdout();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // A reader that has seen enough, such as head, is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(fail(&error)),
        _ => Ok(CommandExit::Success),
    }
}

fn table(header: &Header) -> String {
    let Header {
        producer,
        guest_ns,
        instructions,
        config,
        disks,
    } = header;
    let mut lines = vec![
        ("written by", producer.clone()),
        ("guest time", text::seconds(*guest_ns)),
        ("instructions", text::count(*instructions)),
        (
            "image",
            config.image.clone().unwrap_or_else(|| "none".into()),
        ),
        ("kernel", config.kernel.display().to_string()),
        ("command line", config.cmdline.clone()),
        ("memory", config.memory.to_string()),
        ("cores", config.cpus.to_string()),
        ("seed", config.seed.to_string()),
    ];
    for (config, disk) in config.disks.iter().zip(disks) {
        let path = config.path.display();
        let (size, changed) = (ByteSize(disk.size), disk.changed);
        lines.push(("disk", format!("{path}, {size}, {changed} blocks changed")));
    }
    let line = |(name, value): (&str, String)| format!("{name:14}{value}\n");
    lines.into_iter().map(line).collect()
}
