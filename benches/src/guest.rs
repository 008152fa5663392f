//! One run of a guest on this machine, in a process of its own, so that its time compares with
//! another program's.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use benches::core_time::{ClockId, core_seconds};
use guest_images::Image;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vmm::devices::uart::Discard;
use vmm::machine::{Fork, code_memory};
use vmm::{BoardModel, ByteSize, Config, ConsoleSink, DiskConfig, Flow, Limits, Machine, Reason};

/// Kernel command line; the consoles have other names.
pub const CMDLINE: &str = "earlycon panic=-1 console=";
/// Longest time that a run may take.
pub const LIMIT: Duration = Duration::from_secs(600);

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial file system.
    pub initrd: PathBuf,
    /// The kernel command line.
    pub cmdline: String,
    /// Size of RAM.
    pub memory: ByteSize,
    /// The file that takes the console.
    pub console: PathBuf,
    /// A disk, whose file is not written.
    #[arg(long)]
    pub disk: Option<PathBuf>,
    /// Number of cores.
    #[arg(long, default_value_t = 1)]
    pub cpus: u8,
    /// Whether the guest's code is only interpreted.
    #[arg(long)]
    pub interpreted: bool,
    /// The device tree of the ECX-2000, if the guest is to run on that board.
    #[arg(long)]
    pub dtb: Option<PathBuf>,
    /// Instructions after which it ends, in the place of its power-off.
    #[arg(long)]
    pub instructions: Option<u64>,
    /// Whether it runs several times in this process, as `benches code` measures it.
    #[arg(long)]
    pub again: bool,
}

impl Args {
    /// A guest of `image` on one core, whose command line names console `tty` and which writes it
    /// to `console`.
    pub fn of(image: &Image, memory: ByteSize, tty: &str, console: PathBuf) -> Self {
        Self {
            kernel: image.kernel.clone(),
            initrd: image.initramfs.clone(),
            cmdline: format!("{CMDLINE}{tty}"),
            memory,
            console,
            disk: None,
            cpus: 1,
            interpreted: false,
            dtb: None,
            instructions: None,
            again: false,
        }
    }

    /// Returns the command that runs it in another process.
    ///
    /// # Errors
    /// The host does not say where this program is.
    pub fn command(&self) -> anyhow::Result<Command> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command
            .arg("guest")
            .arg(&self.kernel)
            .arg(&self.initrd)
            .arg(&self.cmdline)
            .arg(self.memory.to_string())
            .arg(&self.console)
            .arg(format!("--cpus={}", self.cpus))
            .stdin(Stdio::null());
        for (name, file) in [("--disk", &self.disk), ("--dtb", &self.dtb)] {
            if let Some(file) = file {
                command.arg(name).arg(file);
            }
        }
        if let Some(count) = self.instructions {
            command.args(["--instructions", &count.to_string()]);
        }
        for (name, given) in [("--interpreted", self.interpreted), ("--again", self.again)] {
            if given {
                command.arg(name);
            }
        }
        Ok(command)
    }
}

/// The cost of a run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Instructions retired.
    pub instructions: u64,
    /// Millions of instructions a second.
    pub mips: f64,
}

/// What the boots of a guest took that runs several times, as JSON has it: seconds of a core.
#[derive(Debug, Serialize, Deserialize)]
pub struct Boots {
    /// With nothing prepared.
    pub cold: f64,
    /// With what the runs before have made: the least of those.
    pub warm: f64,
}

struct ToFile(File);

impl ConsoleSink for ToFile {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        // A full disk shows when the console is read.
        let _ = self.0.write_all(bytes);
        Flow::Continue
    }
}

/// Runs the guest to its power-off, and prints what it took as JSON.
///
/// # Errors
/// The machine cannot be made, or the guest does not power itself off.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.interpreted {
        // Before the machine is made, whose cores find no memory for other code then.
        code_memory::seal();
    }
    let disks = args.disk.iter().map(|path| DiskConfig {
        overlay: true,
        ..DiskConfig::new(path)
    });
    let config = Config {
        board: match args.dtb {
            Some(_) => BoardModel::Ecx2000,
            None => BoardModel::default(),
        },
        dtb: args.dtb.clone(),
        rng: args.dtb.is_none(),
        kernel: args.kernel.clone(),
        initrd: Some(args.initrd.clone()),
        cmdline: args.cmdline.clone(),
        memory: args.memory,
        cpus: args.cpus,
        disks: disks.collect(),
        ..Config::default()
    };
    let console = File::create(&args.console).context("cannot write the console")?;
    let mut machine = Machine::builder(&config, Box::new(ToFile(console))).build()?;
    if args.again {
        let boots = boots(&mut machine)?;
        println!("{}", serde_json::to_string(&boots)?);
        return Ok(());
    }
    let exit = machine.run(Limits {
        wall: Some(LIMIT),
        instructions: args.instructions,
        ..Limits::default()
    });
    let wanted = match args.instructions {
        Some(_) => Reason::InstructionLimit,
        None => Reason::PowerOff,
    };
    if exit.reason != wanted {
        return Err(anyhow!("the guest {}", exit.reason.sentence()));
    }
    let summary = machine.summary();
    let cost = Cost {
        instructions: summary.instructions,
        mips: summary.mips,
    };
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

/// Boots `machine`, which has not run, again and again to its power-off.
///
/// # Errors
/// It does not power itself off.
fn boots(machine: &mut Machine) -> anyhow::Result<Boots> {
    let snapshot = machine.snapshot()?;
    let boot = || {
        let start = core_seconds(ClockId::ThreadCPUTime);
        let mut machine = snapshot.machine(Fork::new(Box::new(Discard)))?;
        let limits = Limits {
            wall: Some(LIMIT),
            ..Limits::default()
        };
        match machine.run(limits).reason {
            Reason::PowerOff => Ok(core_seconds(ClockId::ThreadCPUTime) - start),
            reason => Err(anyhow!("the guest {}", reason.sentence())),
        }
    };
    let cold = boot()?;
    let again = [boot()?, boot()?];
    Ok(Boots {
        cold,
        warm: again[0].min(again[1]),
    })
}

/// Makes another process of this program run the guest. The time is from its start to its end.
///
/// # Errors
/// The other process cannot be started, or it fails.
pub fn measure(args: &Args) -> anyhow::Result<(Duration, Cost)> {
    told(args)
}

/// As [`measure`], of a run that tells something else.
///
/// # Errors
/// The other process cannot be started, or it fails.
pub fn told<T: DeserializeOwned>(args: &Args) -> anyhow::Result<(Duration, T)> {
    let mut command = args.command()?;
    let start = Instant::now();
    let output = command
        .output()
        .context("cannot start this program again")?;
    let time = start.elapsed();
    if !output.status.success() {
        // The other process has put this program's name before its error, and `main` does so again.
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(anyhow!("{}", why.trim().trim_start_matches("benches: ")));
    }
    Ok((time, serde_json::from_slice(&output.stdout)?))
}
