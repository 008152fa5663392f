//! `benches snapshot`: what saving a machine takes, and going on from there many times.

use std::io::Seek;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, anyhow};
use benches::core_time::{ClockId, core_seconds};
use benches::statistics::median;
use guest_images::{Cache, Terminal};
use serde::Serialize;
use vmm::devices::uart::Discard;
use vmm::machine::{Fork, Snapshot};
use vmm::{
    ByteSize, Config, ConsoleSink, DiskConfig, Flow, IommuConfig, IommuModel, KernelFormat, Limits,
    Machine, Reason,
};

/// What to measure.
///
/// A guest with a disk and an entropy device behind an IPMMU boots until it is about to run its
/// command, and is saved. From there it goes on again and again: not at all, for a million
/// instructions, and to its power-off.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The guest image
    #[arg(long, default_value = "ipmmu")]
    image: String,
    /// Size of RAM
    #[arg(long, default_value = "256M")]
    memory: ByteSize,
    /// Memory that the guest fills with something other than zeros before it is saved
    #[arg(long)]
    touched: Option<ByteSize>,
    /// Snapshots and reboots
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Seconds of a core's time for each kind of run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result, as JSON has it. Rates are of one thread, by the time of a core that it had.
#[derive(Debug, Serialize)]
struct Figures {
    image: String,
    /// Bytes of memory that are not zeros.
    stored: u64,
    /// To save the machine in memory.
    save_ms: f64,
    /// To write it to a file, and to read it from there.
    write_ms: f64,
    read_ms: f64,
    /// To make a machine that goes on from there, and to drop it.
    fork_us: f64,
    /// Machines that go on for a million instructions, a second.
    short_runs_per_s: f64,
    /// Machines that go on to the guest's power-off, a second.
    scenarios_per_s: f64,
    scenario_instructions: u64,
    /// From power-on to there.
    reboot_s: f64,
    /// How much faster a scenario is from the snapshot than from power-on.
    ratio: f64,
}

/// What the guest does after the snapshot.
const COMMAND: &str = "dd if=/dev/vda of=/dev/null bs=4k count=4 iflag=direct; dd if=/dev/hwrng \
    of=/dev/null bs=64 count=1";
/// What it says before, and when it has filled memory.
const READY: &str = "guest: ready";
const FILLED: &str = "guest: filled";
/// Instructions of a short run.
const SHORT: u64 = 1_000_000;

/// Ends the run when the console has shown a text.
struct Until {
    text: &'static [u8],
    tail: Arc<Mutex<Vec<u8>>>,
}

impl ConsoleSink for Until {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        // All of it is kept, to be shown if the guest ends before.
        tail.extend_from_slice(bytes);
        if tail.ends_with(self.text) {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
}

/// Boots to where the guest has said `said`.
fn boot(config: &Config, said: &'static str) -> anyhow::Result<Machine> {
    let console = Until {
        text: said.as_bytes(),
        tail: Arc::default(),
    };
    let tail = Arc::clone(&console.tail);
    let mut machine = Machine::builder(config, Box::new(console)).build()?;
    let limits = Limits {
        wall: Some(crate::guest::LIMIT),
        ..Limits::default()
    };
    match machine.run(limits).reason {
        Reason::ConsoleStop => Ok(machine),
        reason => {
            let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = String::from_utf8_lossy(&tail);
            Err(anyhow!("the guest {}:\n{shown}", reason.sentence()))
        }
    }
}

/// Runs from `snapshot` to `limits`, and returns the instructions that it took.
fn go_on(snapshot: &Snapshot, limits: Limits, wanted: Reason) -> anyhow::Result<u64> {
    let mut machine = snapshot.machine(Fork::new(Box::new(Discard)))?;
    match machine.run(limits).reason {
        reason if reason == wanted => Ok(machine.summary().instructions - snapshot.instructions()),
        reason => Err(anyhow!("the guest {}", reason.sentence())),
    }
}

/// Does `what` again and again for `time` seconds of a core; how often, a second.
fn rate(time: f64, mut what: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = core_seconds(ClockId::ThreadCPUTime);
    let mut count = 0;
    loop {
        what()?;
        count += 1;
        let spent = core_seconds(ClockId::ThreadCPUTime) - start;
        if spent >= time {
            return Ok(f64::from(count) / spent);
        }
    }
}

/// Returns the median of what `what` takes, in milliseconds, and the last of what it gave.
fn timed<T>(runs: u32, mut what: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<(f64, T)> {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..runs {
        // What was made before is gone while the next is timed.
        drop(last.take());
        let start = Instant::now();
        last = Some(what()?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    median(&times).zip(last).context("nothing was measured")
}

/// Measures what snapshots take, and prints it.
///
/// # Errors
/// An image cannot be had, or a guest does not do what it should.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let cache = Cache::open()?;
    let image = cache.obtain(&args.image, &mut Terminal::new())?;
    let disk = tempfile::NamedTempFile::new()?;
    std::fs::write(disk.path(), vec![0x5a; 1 << 20])?;
    let (kernel, kernel_format) = match image.raw_kernel {
        Some(raw) => (raw, KernelFormat::Image),
        None => (image.kernel, KernelFormat::Zimage),
    };
    let fill = args.touched.map(|ByteSize(size)| {
        format!("head -c {size} /dev/zero | tr '\\0' x > /fill; echo {FILLED}; {COMMAND}")
    });
    let words = guest_images::encode_command(fill.as_deref().unwrap_or(COMMAND));
    let config = Config {
        kernel,
        kernel_format,
        initrd: Some(image.initramfs),
        cmdline: format!("console=ttyS0 earlycon panic=-1 {words}"),
        memory: args.memory,
        disks: vec![DiskConfig {
            // The file stays as it is, so that every run begins with the same disk.
            overlay: true,
            ..DiskConfig::new(disk.path())
        }],
        iommus: vec![IommuConfig::new(IommuModel::Ipmmu)],
        ..Config::default()
    };
    let result = measure(&config, args)?;
    if args.json {
        println!("{}", serde_json::to_string(&result)?);
    } else {
        print(&result, args.memory);
    }
    Ok(())
}

fn measure(config: &Config, args: &Args) -> anyhow::Result<Figures> {
    let said = args.touched.map_or(READY, |_| FILLED);
    let (reboot_ms, mut machine) = timed(args.runs, || boot(config, said))?;
    let (save_ms, snapshot) = timed(args.runs, || Ok(machine.snapshot()?))?;
    let mut file = tempfile::tempfile()?;
    let (write_ms, ()) = timed(args.runs, || {
        file.rewind()?;
        Ok(snapshot.write(std::io::BufWriter::new(&file))?)
    })?;
    let (read_ms, _) = timed(args.runs, || {
        file.rewind()?;
        Ok(Snapshot::read(std::io::BufReader::new(&file))?)
    })?;
    let time = args.seconds.into();
    let forks = rate(time, || {
        let machine = snapshot.machine(Fork::new(Box::new(Discard)));
        Ok(machine.map(drop)?)
    })?;
    let short = Limits {
        // The limit counts from power-on.
        instructions: Some(snapshot.instructions() + SHORT),
        ..Limits::default()
    };
    let short_runs_per_s = rate(time, || {
        go_on(&snapshot, short, Reason::InstructionLimit).map(drop)
    })?;
    let mut scenario_instructions = 0;
    let scenarios_per_s = rate(time, || {
        scenario_instructions = go_on(&snapshot, Limits::default(), Reason::PowerOff)?;
        Ok(())
    })?;
    let reboot_s = reboot_ms / 1e3;
    Ok(Figures {
        image: args.image.clone(),
        stored: snapshot.stored()?,
        save_ms,
        write_ms,
        read_ms,
        fork_us: 1e6 / forks,
        short_runs_per_s,
        scenarios_per_s,
        scenario_instructions,
        reboot_s,
        // From power-on a scenario takes the boot and what comes after the snapshot as well.
        ratio: (reboot_s + 1.0 / scenarios_per_s) * scenarios_per_s,
    })
}

fn print(result: &Figures, memory: ByteSize) {
    let Figures {
        image,
        stored,
        save_ms,
        write_ms,
        read_ms,
        fork_us,
        short_runs_per_s,
        scenarios_per_s,
        scenario_instructions,
        reboot_s,
        ratio,
    } = result;
    println!(
        "{image}: {memory} of memory, {} MiB of it not zero",
        stored >> 20
    );
    println!("  save in memory            {save_ms:9.1} ms");
    println!("  write to a file           {write_ms:9.1} ms");
    println!("  read from the file        {read_ms:9.1} ms");
    println!("  make and drop a machine   {fork_us:9.0} us");
    println!("  a million instructions    {short_runs_per_s:9.1} runs a second");
    println!("  {scenario_instructions:9} instructions    {scenarios_per_s:9.1} runs a second");
    println!("  from power-on to there    {reboot_s:9.3} s: {ratio:.0} times as long");
}
